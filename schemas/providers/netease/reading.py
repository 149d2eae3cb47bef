"""What the readers of all services share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from hookline.schemas.envelope import Identity
from hookline.schemas.events import CanonicalEvent
from hookline.schemas.payload import Whole

T = TypeVar("T")


class Made(NamedTuple):
    """An event without its head."""

    event: type[CanonicalEvent]
    fields: Mapping[str, Any]


class Reader(NamedTuple):
    """Reads the bodies of one type of one service.

    `form` is what a body is decoded to. `make(type, notice, body)` makes the events, and none of a body that says too
    little. `identify(type, notice, body)` makes nothing, since the ingress needs the identity only: its topic is that
    of the first event, and it is None where there is none.
    """

    form: msgspec.json.Decoder[Any]
    identify: Callable[[str, Any, bytes], Identity | None]
    make: Callable[[str, Any, bytes], Sequence[Made]]


class WithoutOthers(Whole, frozen=True, kw_only=True, rename="camel"):
    """A callback of A or B, without what would make it one of C, D or F."""

    request_id: None = None
    room_uuid: None = None
    data: None = None


def optional_number(value: int | str | None) -> int | None:
    """A `Number` as an int."""
    return None if value is None else int(value)


def milliseconds(at_s: float, form: Callable[[int], T]) -> T:
    return form(int(at_s * 1000))
