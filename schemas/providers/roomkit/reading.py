"""What the readers of the other families of callbacks at RoomKit's URL share."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from hookline.schemas.drafts import Draft
from hookline.schemas.envelope import Identity


class Reader(NamedTuple):
    """Reads the bodies of one family.

    `form` is what a body is decoded to. `drafts(command, notice, body)` are the events, and none of a body that does
    not say what it should. `identify(command, notice, body)` makes nothing, since the ingress needs the identity only:
    its topic is that of the first event. It is None where there is none, unless a recording is in a state of its own.
    Both raise Unreadable.
    """

    form: msgspec.json.Decoder[Any]
    identify: Callable[[str, Any, bytes], Identity | None]
    drafts: Callable[[str, Any, bytes], Sequence[Draft]]
