"""The events of the room view in PostgreSQL."""

from collections.abc import Sequence
from functools import partial

from hookline.workers.room_log import KEEP_S, PURGE_EVERY, RoomEvent, decode, encode
from hookline.workers.stores.postgresql.pool import Connection, ConnectionPool, connection_settings

TIMEOUT_S = 5.0
_CONNECTIONS = 2
_PURGE_AT_MOST = 2000


class PostgresqlRoomLog:
    """Implements `RoomLog`. Events older than `keep_s`, by the provider's time, are dropped in passing."""

    def __init__(self, pool: ConnectionPool, keep_s: float) -> None:
        self._pool = pool
        self._keep_s = keep_s
        self._added = 0

    @classmethod
    async def open(cls, url: str, keep_s: float = KEEP_S, timeout_s: float = TIMEOUT_S) -> "PostgresqlRoomLog":
        """Raises Unreachable, or SettingsError for a URL that is none."""
        pool = ConnectionPool(connection_settings(url, timeout_s), _CONNECTIONS, timeout_s)
        try:
            await pool.run(_create)
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


async def _create(connection: Connection) -> None:
    found = await (await connection.execute("SELECT to_regclass('hookline_room_events') IS NULL")).fetchone()
    if found == (False,):
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('hookline tables'))")
        for statement in _CREATE:
            await connection.execute(statement)


async def _add(connection: Connection, event: RoomEvent, keep_s: float | None) -> None:
    await connection.execute(_ADD, (event.id, event.occurred_at, encode(event)))
    if keep_s is not None:
        await connection.execute(_PURGE, (keep_s, _PURGE_AT_MOST))


async def _bodies(connection: Connection) -> list[bytes]:
    cursor = await connection.execute("SELECT event FROM hookline_room_events")
    return [bytes(body) for (body,) in await cursor.fetchall()]


_CREATE = (
    """CREATE TABLE IF NOT EXISTS hookline_room_events (
        id text PRIMARY KEY, occurred_at timestamptz NOT NULL, event bytea NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS hookline_room_events_by_age ON hookline_room_events (occurred_at)",
)
_ADD = """INSERT INTO hookline_room_events AS r VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE
    SET occurred_at = excluded.occurred_at, event = excluded.event WHERE excluded.occurred_at < r.occurred_at"""
_PURGE = """DELETE FROM hookline_room_events WHERE id IN (SELECT id FROM hookline_room_events
    WHERE occurred_at < now() - %s * interval '1 s' ORDER BY occurred_at LIMIT %s)"""
