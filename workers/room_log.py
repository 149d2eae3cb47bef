"""What the room view is made from: the events of each room, each kept once."""

import sqlite3
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
from hookline.workers.stores.sqlite.store import Database

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


class SqliteRoomLog:
    """Implements `RoomLog`. Events older than `keep_s`, by the provider's time, are dropped in passing."""

    def __init__(self, database: Database, keep_s: float) -> None:
        self._database = database
        self._keep_s = keep_s
        self._added = 0

    @classmethod
    async def open(cls, database: Database, keep_s: float = KEEP_S) -> "SqliteRoomLog":
        await database.run(_create)
        return cls(database, keep_s)

    async def add(self, event: RoomEvent) -> None:
        row = (event.id, event.occurred_at.timestamp(), encode(event))
        self._added += 1
        purge = self._added % PURGE_EVERY == 0

        def step(connection: sqlite3.Connection) -> None:
            connection.execute(_ADD, row)
            if purge:
                connection.execute("DELETE FROM room_events WHERE occurred_at < now() - ?", (self._keep_s,))

        await self._database.run(step)

    async def events(self) -> Sequence[RoomEvent]:
        def step(connection: sqlite3.Connection) -> list[bytes]:
            return [body for (body,) in connection.execute("SELECT event FROM room_events")]

        return [decode(body) for body in await self._database.run(step)]


_ADD = """INSERT INTO room_events VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE
    SET occurred_at = excluded.occurred_at, event = excluded.event WHERE excluded.occurred_at < occurred_at"""


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS room_events"
        " (id TEXT PRIMARY KEY, occurred_at REAL NOT NULL, event BLOB NOT NULL) WITHOUT ROWID"
    )
    connection.execute("CREATE INDEX IF NOT EXISTS room_events_by_age ON room_events (occurred_at)")
