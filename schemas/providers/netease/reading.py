"""What the readers of all services share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from hookline.schemas.envelope import Identity
from hookline.schemas.events import (
    CanonicalEvent,
)
from hookline.schemas.payload import (
    number,
)

T = TypeVar("T")


class Made(NamedTuple):
    """An event without its head."""

    event: type[CanonicalEvent]
    fields: Mapping[str, Any]


class Reader(NamedTuple):
    """Reads the bodies of one type of one service.

    `make(type, body)` makes the events, and none of a body that says too little. `identify(type, body)` makes nothing,
    since the ingress needs the identity only: its topic is that of the first event, and it is None where there is none.
    """

    identify: Callable[[str, bytes], Identity | None]
    make: Callable[[str, bytes], Sequence[Made]]


def optional_number(value: int | str | None) -> int | None:
    return None if value is None else number(value)


def milliseconds(at_s: float, form: Callable[[int], T]) -> T:
    return form(int(at_s * 1000))
