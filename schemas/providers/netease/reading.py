"""What the readers of all services make of a callback."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

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


class Reading(NamedTuple):
    """What a callback of a known type says; the first event's topic is that of the envelope."""

    facts: tuple[str | int | None, ...]
    subject: str
    occurred_s: float | None
    made: Sequence[Made]


Reader: TypeAlias = Callable[[str, bytes], Reading | None]
"""Reads a body of one type of one service; None for one that says too little to be an event."""


def optional_number(value: int | str | None) -> int | None:
    return None if value is None else number(value)


def milliseconds(at_s: float, form: Callable[[int], T]) -> T:
    return form(int(at_s * 1000))
