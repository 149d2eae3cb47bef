"""The room log in PostgreSQL."""

from collections.abc import Sequence
from functools import partial

from hookline.workers.room_log import KEEP_S, PURGE_EVERY, RoomEvent, decode, encode
from hookline.workers.stores.postgresql import schema
from hookline.workers.stores.postgresql.pool import Connection, ConnectionPool, connection_settings

TIMEOUT_S = 5.0
_CONNECTIONS = 2
_PURGE_AT_MOST = 2000


class PostgresqlRoomLog:
    """Implements `RoomLog`. Every so often, `add` drops events older than `keep_s` by the provider's time."""

    def __init__(self, pool: ConnectionPool, keep_s: float) -> None:
        self._pool = pool
        self._keep_s = keep_s
        self._added = 0

    @classmethod
    async def open(cls, url: str, keep_s: float = KEEP_S, timeout_s: float = TIMEOUT_S) -> "PostgresqlRoomLog":
        """Bring the tables forward. Raises Unreachable, or SettingsError for a wrong URL and for refused tables."""
        pool = ConnectionPool(connection_settings(url, timeout_s), _CONNECTIONS, timeout_s)
        try:
            await pool.open()
            await pool.run(schema.bring_forward)
        except BaseException:
            await pool.close()
            raise
        return cls(pool, keep_s)

    async def close(self) -> None:
        await self._pool.close()

    async def add(self, event: RoomEvent) -> None:
        self._added += 1
        keep_s = self._keep_s if self._added % PURGE_EVERY == 0 else None
        await self._pool.run(partial(_add, event=event, keep_s=keep_s))

    async def events(self) -> Sequence[RoomEvent]:
        return [decode(body) for body in await self._pool.run(_bodies)]


async def _add(connection: Connection, event: RoomEvent, keep_s: float | None) -> None:
    await connection.execute(_ADD, (event.id, event.occurred_at, encode(event)))
    if keep_s is not None:
        await connection.execute(_PURGE, (keep_s, _PURGE_AT_MOST))


async def _bodies(connection: Connection) -> list[bytes]:
    cursor = await connection.execute("SELECT event FROM hookline_room_events")
    return [bytes(body) for (body,) in await cursor.fetchall()]


_ADD = """INSERT INTO hookline_room_events AS r VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE
    SET occurred_at = excluded.occurred_at, event = excluded.event WHERE excluded.occurred_at < r.occurred_at"""
_PURGE = """DELETE FROM hookline_room_events WHERE id IN (SELECT id FROM hookline_room_events
    WHERE occurred_at < now() - %s * interval '1 s' ORDER BY occurred_at LIMIT %s)"""
