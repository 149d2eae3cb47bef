"""What the room view is made from: the events of each room, each kept once."""

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
    """Remembers room events. Raises Unreachable."""

    async def add(self, event: RoomEvent) -> None:
        """Keep the event; of one that is told again with another time, the earliest."""

    async def events(self) -> Sequence[RoomEvent]:
        """All events, in no particular order."""
