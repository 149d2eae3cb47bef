"""The room log: the events from which the room view is computed, each kept once."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from hookline.schemas.events import (
    ParticipantJoined,
    ParticipantLeft,
    ParticipantRoleChanged,
    RecordingCompleted,
    RecordingStarted,
    RecordingUploaded,
    RoomCreated,
    RoomEnded,
    RoomUpdated,
    SeatsChanged,
)

RoomEvent: TypeAlias = (
    RoomCreated
    | RoomUpdated
    | RoomEnded
    | ParticipantJoined
    | ParticipantLeft
    | ParticipantRoleChanged
    | SeatsChanged
    | RecordingStarted
    | RecordingCompleted
    | RecordingUploaded
)

KEEP_S = 30 * 24 * 3600.0
PURGE_EVERY = 1000
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[RoomEvent] = msgspec.json.Decoder(RoomEvent)


def encode(event: RoomEvent) -> bytes:
    """JSON, in UTF-8."""
    return _encoder.encode(event)


def decode(body: bytes | str) -> RoomEvent:
    return _decoder.decode(body)


class RoomLog(Protocol):
    """Keeps room events. Every method raises Unreachable."""

    async def add(self, event: RoomEvent) -> None:
        """Keep the event. Of several versions of one event, the earliest is kept."""

    async def events(self) -> Sequence[RoomEvent]:
        """All events, in no particular order."""
