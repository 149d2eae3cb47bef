"""The room log in SQLite."""

import sqlite3
from collections.abc import Sequence

from hookline.sqlite.database import Database
from hookline.workers.room_log import KEEP_S, PURGE_EVERY, RoomEvent, decode, encode


class SqliteRoomLog:
    """Implements `RoomLog`. Every so often, `add` drops events older than `keep_s` by the provider's time."""

    def __init__(self, database: Database, keep_s: float = KEEP_S) -> None:
        self._database = database
        self._keep_s = keep_s
        self._added = 0

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
