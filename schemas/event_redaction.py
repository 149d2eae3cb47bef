"""Keeps tokens, and URLs that let anybody in, out of events."""

from typing import Any

import msgspec

from hookline.schemas.events import (
    EVENT_TYPES,
    CanonicalEvent,
    Event,
    ModerationFlagged,
    Recording,
    RoomUpdated,
    Transcript,
    Unknown,
)
from hookline.schemas.provider import Provider
from hookline.schemas.redaction import redacted

_SENSITIVE = frozenset(
    event
    for event in EVENT_TYPES.values()
    if issubclass(event, Recording | Transcript | ModerationFlagged | RoomUpdated | Unknown)
)


class Redaction:
    """What of a provider's events nobody may keep. `keep_urls` keeps the URLs, and never the tokens."""

    def __init__(self, provider: Provider[Any], *, keep_urls: bool) -> None:
        self._hidden = provider.secret_fields if keep_urls else provider.secret_fields | provider.url_fields
        self._keep_urls = keep_urls

    def __call__(self, events: tuple[Event, ...]) -> tuple[CanonicalEvent, ...]:
        """The events without them."""
        for event in events:
            if type(event) in _SENSITIVE:
                return tuple(self._without(each) for each in events)
        return events

    def _without(self, event: Event) -> CanonicalEvent:
        match event:
            case Unknown() if self._hidden:
                return msgspec.structs.replace(event, payload=redacted(event.payload, self._hidden))
            case RoomUpdated() if self._hidden:
                return msgspec.structs.replace(event, changes=redacted(event.changes, self._hidden))
            case Recording() | Transcript() | ModerationFlagged() if event.url is not None and not self._keep_urls:
                return msgspec.structs.replace(event, url=None)
            case _:
                return event
