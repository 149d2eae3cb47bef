"""Drafts of events: everything but the fields that the envelope gives them.

A provider whose callback becomes one of several types, or several events, decides once what they are: `identify` takes
the type of the first draft, and `normalise` finishes all of them. A draft is `partial(RoomEnded, room_id="r")`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from hookline.schemas.envelope import Envelope
from hookline.schemas.events import CanonicalEvent, Event


class Draft(Protocol):
    """A `functools.partial` of an event's class."""

    @property
    def func(self) -> Callable[..., CanonicalEvent]: ...

    def __call__(self, /, *args: Any, **kwargs: Any) -> Event: ...


def draft_topic(draft: Draft) -> str:
    """The topic of the event that a draft becomes."""
    return str(draft.func.__struct_config__.tag)  # type: ignore[attr-defined]  # it is a class


def finished(envelope: Envelope, provider_type: str | int, drafts: Sequence[Draft]) -> tuple[Event, ...]:
    """The events of the drafts. A single event has the id of the envelope, several have numbers."""
    if len(drafts) == 1:
        return (drafts[0](**envelope.head(provider_type)),)
    return tuple([draft(**envelope.head(provider_type, member)) for member, draft in enumerate(drafts)])
