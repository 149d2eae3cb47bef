"""The event log in SQLite. Each step handles many events by few statements, in one transaction."""

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from functools import cache

from hookline.sqlite.database import Database
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
from hookline.workers.stores.sqlite.statements import flat, insert, parts

_MOVED_AT_ONCE = 500


class SqliteEventStorage:
    """Implements `EventStorage`. An event is kept for `keep_s` after its receipt, or a little longer."""

    def __init__(self, database: Database, keep_s: float = KEEP_S) -> None:
        self._database = database
        self._keep_us = round(keep_s * 1e6)
        self._appended = 0

    @classmethod
    async def open(cls, database: Database, keep_s: float = KEEP_S) -> "SqliteEventStorage":
        """Moves the events of the room log of earlier versions, if there are any. Raises Unreachable."""
        storage = cls(database, keep_s)
        while await database.run(storage._move):
            pass
        return storage

    async def append(self, entry: Entry) -> None:
        await self._database.share(self._append, entry)

    async def scan(self, keys: Collection[str], since_us: int, before: Position, count: int) -> Sequence[Found]:
        def step(connection: sqlite3.Connection) -> list[Found]:
            found: list[tuple[int, str]] = []
            for key in keys:
                found += connection.execute(_SCAN, (key, since_us, *before, count))
            latest = sorted(found, reverse=True)[:count]
            bodies = _bodies(connection, [event_id for _, event_id in latest])
            return [Found(Position(*each), bodies[each[1]]) for each in latest if each[1] in bodies]

        return await self._database.run(step, durable=False)

    async def received(self, since_us: int, before: Position, count: int) -> Sequence[Found]:
        def step(connection: sqlite3.Connection) -> list[Found]:
            rows = connection.execute(_RECEIVED, (since_us, before.occurred_us, *before, count))
            return [Found(Position(received_us, event_id), body) for received_us, event_id, body in rows]

        return await self._database.run(step, durable=False)

    async def body(self, event_id: str) -> bytes | None:
        return (await self._database.run(lambda each: _bodies(each, [event_id]), durable=False)).get(event_id)

    async def repeats(self, event_ids: Sequence[str]) -> Sequence[Repeats]:
        def step(connection: sqlite3.Connection) -> list[Repeats]:
            found = (connection.execute(_REPEATS, (event_id,)).fetchone() for event_id in event_ids)
            return [Repeats(*row) for row in found if row is not None]

        return await self._database.run(step, durable=False)

    async def rooms(self, before: Latest, count: int) -> Sequence[Latest]:
        def step(connection: sqlite3.Connection) -> list[Latest]:
            return [Latest(*row) for row in connection.execute(_ROOMS, (*before, count))]

        return await self._database.run(step, durable=False)

    async def places(self, room_id: str) -> Sequence[str]:
        def step(connection: sqlite3.Connection) -> list[str]:
            return [place for (place,) in connection.execute(_PLACES, (room_id,))]

        return await self._database.run(step, durable=False)

    def _append(self, connection: sqlite3.Connection, entries: Sequence[Entry]) -> list[None]:
        """Belongs to the writer thread."""
        append(connection, entries)
        before, self._appended = self._appended, self._appended + len(entries)
        if before // PURGE_EVERY != self._appended // PURGE_EVERY:
            purge(connection, self._keep_us)
        return [None] * len(entries)

    def _move(self, connection: sqlite3.Connection) -> int:
        """Move some events of the old room log; how many there were."""
        rows = connection.execute("SELECT id, event FROM room_events LIMIT ?", (_MOVED_AT_ONCE,)).fetchall()
        events = [event for _, body in rows if (event := decode(body)) is not None]
        append(connection, [entry(with_possible_time(event)) for event in events])
        connection.executemany("DELETE FROM room_events WHERE id = ?", [(event_id,) for event_id, _ in rows])
        return len(rows)


def append(connection: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    """Keep the earliest version of each event, and note the latest delivery of each room."""
    earliest: dict[str, Entry] = {}
    for each in entries:
        other = earliest.setdefault(each.event_id, each)
        if each is other:
            continue
        _note_repeat(connection, each, other.received_us)
        if each.version < other.version:
            earliest[each.event_id] = each
    kept = [each for part in parts([*earliest.values()]) for each in _keep(connection, part)]
    rows = [(key, each.occurred_us, each.event_id) for each in kept for key in each.keys]
    for part in parts(rows):
        connection.execute(insert("OR IGNORE INTO logged_event_keys", "(?, ?, ?)", len(part)), flat(part))
    _note_rooms(connection, entries)


def purge(connection: sqlite3.Connection, keep_us: int) -> None:
    """Delete a bounded number of events and rooms that were received longer ago than that."""
    old = connection.execute(_OLD, (keep_us, PURGE_AT_MOST)).fetchall()
    connection.executemany("DELETE FROM logged_events WHERE id = ?", [(event_id,) for event_id, _, _ in old])
    for event_id, occurred_us, keys in old:
        _delete_keys(connection, event_id, occurred_us, keys)
    connection.execute(_PURGE_REPEATS, (keep_us, PURGE_AT_MOST))
    connection.execute(_PURGE_ROOMS, (keep_us // 1_000_000, PURGE_AT_MOST))


def _keep(connection: sqlite3.Connection, entries: Sequence[Entry]) -> Sequence[Entry]:
    """Keep these, except where an earlier version is kept already. The result is what is kept of them."""
    rows = [(each.event_id, each.occurred_us, each.received_us, " ".join(each.keys), each.body) for each in entries]
    statement = insert("INTO logged_events", "(?, ?, ?, ?, ?)", len(rows)) + " ON CONFLICT (id) DO NOTHING"
    if connection.execute(statement, flat(rows)).rowcount == len(rows):  # as nearly always
        return entries
    return [each for each in entries if _is_kept(connection, each)]


def _is_kept(connection: sqlite3.Connection, entry: Entry) -> bool:
    """Whether this version of an event is the one that is kept. It takes the place of a later one."""
    statement = "SELECT occurred_at, received_at, event, keys FROM logged_events WHERE id = ?"
    occurred_us, received_us, body, keys = connection.execute(statement, (entry.event_id,)).fetchone()
    _note_repeat(connection, entry, received_us)
    if entry.version < (occurred_us, received_us, body):
        _delete_keys(connection, entry.event_id, occurred_us, keys)
        row = (entry.occurred_us, entry.received_us, " ".join(entry.keys), entry.body, entry.event_id)
        connection.execute(_UPDATE, row)
        return True
    return entry.version == (occurred_us, received_us, body)


def _note_repeat(connection: sqlite3.Connection, entry: Entry, received_us: int) -> None:
    """Count a delivery of an event of which another was received at this time, if it is one of its own."""
    if entry.received_us != received_us:
        connection.execute(_REPEATED, (entry.event_id, max(entry.received_us, received_us)))


def _delete_keys(connection: sqlite3.Connection, event_id: str, occurred_us: int, keys: str) -> None:
    rows = [(key, occurred_us, event_id) for key in keys.split()]
    connection.executemany("DELETE FROM logged_event_keys WHERE key = ? AND occurred_at = ? AND id = ?", rows)


def _note_rooms(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    latest: dict[str, tuple[str, str, int]] = {}
    for each in entries:
        if each.place:
            received_s = max(each.received_s, latest.get(each.place, ("", "", 0))[2])
            latest[each.place] = (each.place, each.room_id, received_s)
    for part in parts([*latest.values()]):
        connection.execute(insert("INTO logged_rooms", "(?, ?, ?)", len(part)) + _IF_LATER, flat(part))


def _bodies(connection: sqlite3.Connection, event_ids: Sequence[str]) -> dict[str, bytes]:
    bodies: dict[str, bytes] = {}
    for part in parts(event_ids):
        bodies |= connection.execute(_of_ids(len(part)), part).fetchall()
    return bodies


@cache
def _of_ids(count: int) -> str:
    return f"SELECT id, event FROM logged_events WHERE id IN ({', '.join('?' * count)})"  # noqa: S608  constants only


_UPDATE = "UPDATE logged_events SET occurred_at = ?, received_at = ?, keys = ?, event = ? WHERE id = ?"
_REPEATED = """INSERT INTO logged_repeats VALUES (?, 1, ?) ON CONFLICT (id) DO UPDATE
    SET count = count + 1, received_at = excluded.received_at WHERE excluded.received_at > received_at"""
_REPEATS = "SELECT id, count, received_at FROM logged_repeats WHERE id = ?"
_IF_LATER = """ ON CONFLICT (place) DO UPDATE SET received_at = excluded.received_at
    WHERE excluded.received_at > received_at"""
_SCAN = """SELECT occurred_at, id FROM logged_event_keys
    WHERE key = ? AND occurred_at >= ? AND (occurred_at, id) < (?, ?) ORDER BY occurred_at DESC, id DESC LIMIT ?"""
_RECEIVED = """SELECT received_at, id, event FROM logged_events
    WHERE received_at >= ? AND received_at <= ? AND (received_at, id) < (?, ?)
    ORDER BY received_at DESC, id DESC LIMIT ?"""
_ROOMS = """SELECT received_at, place FROM logged_rooms WHERE (received_at, place) < (?, ?)
    ORDER BY received_at DESC, place DESC LIMIT ?"""
_PLACES = "SELECT place FROM logged_rooms WHERE room_id = ?"
_OLD = """SELECT id, occurred_at, keys FROM logged_events WHERE received_at < now() * 1000000 - ?
    ORDER BY received_at LIMIT ?"""
_PURGE_REPEATS = """DELETE FROM logged_repeats WHERE id IN (SELECT id FROM logged_repeats
    WHERE received_at < now() * 1000000 - ? ORDER BY received_at LIMIT ?)"""
_PURGE_ROOMS = """DELETE FROM logged_rooms WHERE place IN (SELECT place FROM logged_rooms
    WHERE received_at < now() - ? ORDER BY received_at LIMIT ?)"""
