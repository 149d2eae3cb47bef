"""The event log in PostgreSQL. What arrives while one group of events is written is written as the next group."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from hookline.schemas.errors import Unreachable
from hookline.workers.event_log import (
    KEEP_S,
    PURGE_AT_MOST,
    PURGE_EVERY,
    Entry,
    Found,
    Latest,
    Position,
    Repeats,
    decode,
    entry,
    with_possible_time,
)
from hookline.workers.stores.postgresql import schema
from hookline.workers.stores.postgresql.pool import Connection, ConnectionPool, connection_settings
from hookline.workers.stores.request_batcher import RequestBatcher

TIMEOUT_S = 5.0
_CONNECTIONS = 2
_MOVED_AT_ONCE = 500


class PostgresqlEventStorage:
    """Implements `EventStorage`. An event is kept for `keep_s` after its receipt, or a little longer."""

    def __init__(self, pool: ConnectionPool, keep_s: float, timeout_s: float) -> None:
        self._pool = pool
        self._keep_us = round(keep_s * 1e6)
        self._batcher = RequestBatcher[Entry, None](self._append, timeout_s)
        self._appended = 0

    @classmethod
    async def open(cls, url: str, keep_s: float = KEEP_S, timeout_s: float = TIMEOUT_S) -> "PostgresqlEventStorage":
        """Bring the tables forward, and move the events of the room log of earlier versions, if there are any.

        Raises Unreachable, or SettingsError for a wrong URL and for refused tables.
        """
        pool = ConnectionPool(connection_settings(url, timeout_s), _CONNECTIONS, timeout_s)
        try:
            await pool.open()
            await pool.run(schema.bring_forward)
            while await pool.run(_move):
                pass
        except BaseException:
            await pool.close()
            raise
        return cls(pool, keep_s, timeout_s)

    async def close(self) -> None:
        try:
            await self._batcher.close()
        finally:
            await self._pool.close()

    async def append(self, entry: Entry) -> None:
        await self._batcher.ask(entry)

    async def scan(self, keys: Collection[str], since_us: int, before: Position, count: int) -> Sequence[Found]:
        wanted = {"keys": [*keys], "since": since_us, "at": before.occurred_us, "id": before.event_id, "count": count}
        rows = await self._pool.run(partial(_rows, statement=_SCAN, parameters=wanted))
        return [Found(Position(occurred_us, event_id), body) for occurred_us, event_id, body in rows]

    async def received(self, since_us: int, before: Position, count: int) -> Sequence[Found]:
        wanted = {"since": since_us, "at": before.occurred_us, "id": before.event_id, "count": count}
        rows = await self._pool.run(partial(_rows, statement=_RECEIVED, parameters=wanted))
        return [Found(Position(received_us, event_id), body) for received_us, event_id, body in rows]

    async def body(self, event_id: str) -> bytes | None:
        statement = "SELECT event FROM hookline_events WHERE id = %(id)s"
        rows = await self._pool.run(partial(_rows, statement=statement, parameters={"id": event_id}))
        return bytes(rows[0][0]) if rows else None

    async def repeats(self, event_ids: Sequence[str]) -> Sequence[Repeats]:
        wanted = {"ids": [*event_ids]}
        return [Repeats(*row) for row in await self._pool.run(partial(_rows, statement=_REPEATS, parameters=wanted))]

    async def rooms(self, before: Latest, count: int) -> Sequence[Latest]:
        wanted = {"at": before.received_s, "place": before.place, "count": count}
        rows = await self._pool.run(partial(_rows, statement=_ROOMS, parameters=wanted))
        return [Latest(*row) for row in rows]

    async def places(self, room_id: str) -> Sequence[str]:
        statement = "SELECT place FROM hookline_rooms WHERE name = md5(%(room_id)s::bytea)"
        parameters = {"room_id": room_id.encode()}
        return [place for (place,) in await self._pool.run(partial(_rows, statement=statement, parameters=parameters))]

    async def _append(self, entries: list[Entry]) -> list[None]:
        await self._pool.run(partial(_append, entries=entries))
        before, self._appended = self._appended, self._appended + len(entries)
        if before // PURGE_EVERY != self._appended // PURGE_EVERY:
            with suppress(Unreachable):  # it is retried after the next events
                await self._pool.run(partial(_purge, keep_us=self._keep_us))
        return [None] * len(entries)


async def _append(connection: Connection, entries: Sequence[Entry]) -> None:
    """Keep new events by one statement, with their keys and rooms. Repeats are rare, and take a second one."""
    keys = [(key, each.occurred_us, each.event_id) for each in entries for key in each.keys]
    key_texts, key_times, key_ids = _columns(keys, 3)
    rooms: dict[str, Entry] = {}
    for each in sorted(entries, key=lambda each: each.received_us):
        if each.place:
            rooms[each.place] = each
    inserted = await connection.execute(
        _APPEND,
        {
            **_of_entries(entries),
            "key_texts": key_texts,
            "key_times": key_times,
            "key_ids": key_ids,
            "places": [*rooms],
            "names": [each.room_id.encode() for each in rooms.values()],
            "room_times": [each.received_s for each in rooms.values()],
        },
    )
    new = {event_id for (event_id,) in await inserted.fetchall()}
    if repeats := [each for each in entries if each.event_id not in new]:
        await _replace_later_versions(connection, repeats)


async def _replace_later_versions(connection: Connection, entries: Sequence[Entry]) -> None:
    """Put these versions of events in the places of those that are kept, where these are earlier, and count repeats."""
    async with connection.transaction():
        kept = await connection.execute(_LOCK, (sorted(each.event_id for each in entries),))
        versions = {row[0]: (row[1], row[2], bytes(row[3])) for row in await kept.fetchall()}
        repeated = {
            each.event_id: max(each.received_us, versions[each.event_id][1])
            for each in entries
            if each.event_id in versions and each.received_us != versions[each.event_id][1]
        }
        if repeated:
            await connection.execute(_REPEATED, ([*repeated], [*repeated.values()]))
        # One that is not there any more has just been purged.
        earlier = [each for each in entries if each.version < versions.get(each.event_id, (0, 0, b""))]
        if not earlier:
            return
        await connection.execute(_DELETE_KEYS, ([each.event_id for each in earlier],))
        await connection.execute(_UPDATE, _of_entries(earlier))
        rows = [(key, each.occurred_us, each.event_id) for each in earlier for key in each.keys]
        await connection.execute(_INSERT_KEYS, _columns(rows, 3))


async def _purge(connection: Connection, keep_us: int) -> None:
    """Delete a bounded number of events and rooms that were received longer ago than that."""
    await connection.execute(_PURGE, (keep_us, PURGE_AT_MOST))
    await connection.execute(_PURGE_REPEATS, (keep_us, PURGE_AT_MOST))
    await connection.execute(_PURGE_ROOMS, (keep_us // 1_000_000, PURGE_AT_MOST))


async def _move(connection: Connection) -> int:
    """Move some events of the old room log; how many there were."""
    found = await connection.execute(
        "SELECT id, event FROM hookline_room_events ORDER BY id LIMIT %s", (_MOVED_AT_ONCE,)
    )
    rows = await found.fetchall()
    events = [event for _, body in rows if (event := decode(bytes(body))) is not None]
    if events:
        await _append(connection, [entry(with_possible_time(event)) for event in events])
    ids = [event_id for event_id, _ in rows]
    await connection.execute("DELETE FROM hookline_room_events WHERE id = ANY(%s)", (ids,))
    return len(rows)


async def _rows(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return await (await connection.execute(statement, parameters)).fetchall()


def _of_entries(entries: Sequence[Entry]) -> dict[str, Sequence[object]]:
    return {
        "ids": [each.event_id for each in entries],
        "occurred": [each.occurred_us for each in entries],
        "received": [each.received_us for each in entries],
        "keys": [" ".join(each.keys) for each in entries],
        "bodies": [each.body for each in entries],
    }


def _columns(rows: Iterable[Sequence[object]], count: int) -> list[list[object]]:
    columns = [list(column) for column in zip(*rows, strict=True)]
    return columns or [[] for _ in range(count)]


# Rows are written in the order of their keys, so that groups of several processes never deadlock.
_ENTRIES = "unnest(%(ids)s::text[], %(occurred)s::int8[], %(received)s::int8[], %(keys)s::text[], %(bodies)s::bytea[])"
_APPEND = f"""WITH new AS (
        INSERT INTO hookline_events (id, occurred_at, received_at, keys, event) SELECT * FROM {_ENTRIES} ORDER BY 1
        ON CONFLICT (id) DO NOTHING RETURNING id),
    keyed AS (
        INSERT INTO hookline_event_keys (key, occurred_at, id)
        SELECT key, occurred_at, id
        FROM unnest(%(key_texts)s::text[], %(key_times)s::int8[], %(key_ids)s::text[]) AS k (key, occurred_at, id)
        JOIN new USING (id)),
    noted AS (
        INSERT INTO hookline_rooms AS r (place, name, received_at)
        SELECT place, md5(name), received_at
        FROM unnest(%(places)s::text[], %(names)s::bytea[], %(room_times)s::int8[]) AS room (place, name, received_at)
        ORDER BY place
        ON CONFLICT (place) DO UPDATE SET received_at = excluded.received_at
        WHERE excluded.received_at > r.received_at)
    SELECT id FROM new"""  # noqa: S608  of constants
_LOCK = """SELECT id, occurred_at, received_at, event FROM hookline_events WHERE id = ANY(%s) ORDER BY id FOR UPDATE"""
_UPDATE = f"""UPDATE hookline_events e SET occurred_at = given.occurred_at, received_at = given.received_at,
        keys = given.keys, event = given.event
    FROM {_ENTRIES} AS given (id, occurred_at, received_at, keys, event) WHERE e.id = given.id"""  # noqa: S608
_REPEATED = """INSERT INTO hookline_event_repeats AS r (id, count, received_at)
    SELECT id, 1, received_at FROM unnest(%s::text[], %s::int8[]) AS given (id, received_at) ORDER BY id
    ON CONFLICT (id) DO UPDATE SET count = r.count + 1, received_at = excluded.received_at
    WHERE excluded.received_at > r.received_at"""
_REPEATS = "SELECT id, count, received_at FROM hookline_event_repeats WHERE id = ANY(%(ids)s)"
_DELETE_KEYS = """DELETE FROM hookline_event_keys k USING (
        SELECT unnest(string_to_array(keys, ' ')) AS key, occurred_at, id FROM hookline_events WHERE id = ANY(%s)) old
    WHERE (k.key, k.occurred_at, k.id) = (old.key, old.occurred_at, old.id)"""
_INSERT_KEYS = """INSERT INTO hookline_event_keys (key, occurred_at, id)
    SELECT * FROM unnest(%s::text[], %s::int8[], %s::text[])"""
_SCAN = """SELECT found.occurred_at, found.id, e.event FROM (
        SELECT each.occurred_at, each.id FROM unnest(%(keys)s::text[]) AS wanted (key) CROSS JOIN LATERAL (
            SELECT occurred_at, id FROM hookline_event_keys k WHERE k.key = wanted.key AND k.occurred_at >= %(since)s
            AND (k.occurred_at, k.id) < (%(at)s, %(id)s) ORDER BY k.occurred_at DESC, k.id DESC LIMIT %(count)s) each
        ORDER BY 1 DESC, 2 DESC LIMIT %(count)s) found
    JOIN hookline_events e USING (id) ORDER BY 1 DESC, 2 DESC"""
# The bound on the time alone is the one that the index can use.
_RECEIVED = """SELECT received_at, id, event FROM hookline_events
    WHERE received_at BETWEEN %(since)s AND %(at)s AND (received_at, id) < (%(at)s, %(id)s)
    ORDER BY received_at DESC, id DESC LIMIT %(count)s"""
_ROOMS = """SELECT received_at, place FROM hookline_rooms WHERE (received_at, place) < (%(at)s, %(place)s)
    ORDER BY received_at DESC, place DESC LIMIT %(count)s"""
_NOW_S = "extract(epoch FROM clock_timestamp())"
_PURGE = f"""WITH old AS (
        DELETE FROM hookline_events WHERE id = ANY(ARRAY(SELECT id FROM hookline_events
            WHERE received_at < ({_NOW_S} * 1000000)::int8 - %s ORDER BY received_at LIMIT %s FOR UPDATE SKIP LOCKED))
        RETURNING id, occurred_at, keys)
    DELETE FROM hookline_event_keys k
    USING (SELECT unnest(string_to_array(keys, ' ')) AS key, occurred_at, id FROM old) gone
    WHERE (k.key, k.occurred_at, k.id) = (gone.key, gone.occurred_at, gone.id)"""  # noqa: S608  of constants
_PURGE_REPEATS = f"""DELETE FROM hookline_event_repeats WHERE id = ANY(ARRAY(SELECT id FROM hookline_event_repeats
    WHERE received_at < ({_NOW_S} * 1000000)::int8 - %s ORDER BY received_at LIMIT %s
    FOR UPDATE SKIP LOCKED))"""  # noqa: S608  of constants
_PURGE_ROOMS = f"""DELETE FROM hookline_rooms WHERE place = ANY(ARRAY(SELECT place FROM hookline_rooms
    WHERE received_at < {_NOW_S}::int8 - %s ORDER BY received_at LIMIT %s FOR UPDATE SKIP LOCKED))"""  # noqa: S608
