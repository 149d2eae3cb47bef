"""Dead letters of the embedded broker: those of workers' queues, and unrouted events."""

import json
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from hookline.broker.embedded.tables import bound_to, forget, with_replays
from hookline.schemas import topics
from hookline.schemas.dead_letters import UNROUTED, Action, DeadLetter, Scanned
from hookline.schemas.errors import UnknownQueue
from hookline.sqlite.database import Database

_PAGE = 200
_DROPPED_AT_ONCE = 10_000


class EmbeddedDeadLetters:
    """Implements `schemas.broker.DeadLetters`."""

    def __init__(self, database: Database, wake: Callable[[], None]) -> None:
        self._database = database
        self._wake = wake

    async def counts(self) -> Mapping[str, int]:
        return await self._database.run(_counts)

    async def count(self, queue: str) -> int:
        return await self._database.run(partial(_count, queue=queue))

    async def drop_unrouted(self, max_events: int) -> int:
        last = await self._database.run(partial(_last_excess, max_events=max_events), durable=False)
        dropped = 0
        while dropped < _DROPPED_AT_ONCE and (count := await self._database.run(partial(_drop_oldest, last=last))):
            dropped += count
        return dropped

    async def wanted(self) -> frozenset[str]:
        return await self._database.run(_wanted)

    async def scan(
        self, queue: str, decide: Callable[[DeadLetter], Action]
    ) -> AsyncGenerator[Scanned[DeadLetter], None]:
        await self.count(queue)  # raises if there is no such queue
        after, last = 0, await self._database.run(_last)
        while page := await self._database.run(partial(_page, queue=queue, after=after, last=last)):
            chosen = [(seq, dead, decide(dead)) for seq, dead in page]
            step = partial(_carry_out, queue=queue, actions=[(seq, action) for seq, _, action in chosen])
            done = await self._database.run(step)
            self._wake()
            for seq, dead, action in chosen:
                yield Scanned(dead, action if seq in done else Action.KEEP)
            after = page[-1][0]


def _wanted(connection: sqlite3.Connection) -> frozenset[str]:
    return frozenset(pattern for (pattern,) in connection.execute("SELECT DISTINCT pattern FROM bindings"))


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    rows = connection.execute("SELECT queue, count(*) FROM dead GROUP BY queue ORDER BY queue")
    return {topics.short_name(queue): count for queue, count in rows}


def _count(connection: sqlite3.Connection, *, queue: str) -> int:
    """Raises UnknownQueue if there is no such queue."""
    if queue == UNROUTED:
        statement = "SELECT count(*) FROM deliveries WHERE queue = ?"
        return int(connection.execute(statement, (topics.UNROUTED,)).fetchone()[0])
    name = topics.queue_name(queue)
    count = int(connection.execute("SELECT count(*) FROM dead WHERE queue = ?", (name,)).fetchone()[0])
    if not count and not bound_to(connection, queue=name):
        raise UnknownQueue(queue)
    return count


def _last_excess(connection: sqlite3.Connection, *, max_events: int) -> int:
    """The number of the newest of the unrouted events that are too many; 0 if none is."""
    statement = "SELECT seq FROM deliveries WHERE queue = ? ORDER BY seq DESC LIMIT 1 OFFSET ?"
    row = connection.execute(statement, (topics.UNROUTED, max_events)).fetchone()
    return int(row[0]) if row else 0


def _drop_oldest(connection: sqlite3.Connection, *, last: int) -> int:
    """Drop unrouted events up to this number, one page of them at most, and return how many."""
    statement = "SELECT seq FROM deliveries WHERE queue = ? AND seq <= ? ORDER BY seq LIMIT ?"
    seqs = [seq for (seq,) in connection.execute(statement, (topics.UNROUTED, last, _PAGE))]
    for seq in seqs:
        _remove(connection, UNROUTED, seq)
    if seqs:
        forget(connection, topics.UNROUTED, seqs)
    return len(seqs)


def _last(connection: sqlite3.Connection) -> int:
    """The number of the newest envelope. A scan ends there, or it might never end."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM envelopes").fetchone()[0])


_DEAD = """SELECT d.seq, e.headers, e.content_type, e.body, d.reason, d.detail, d.attempts, d.parked_at,
    r.replays, r.at, r.events
    FROM dead d JOIN envelopes e USING (seq) LEFT JOIN replayed r ON r.queue = d.queue AND r.seq = d.seq
    WHERE d.queue = ? AND d.seq > ? AND d.seq <= ? ORDER BY d.seq LIMIT ?"""
_UNWANTED = """SELECT d.seq, e.headers, e.content_type, e.body, 'unrouted', '', 0, NULL, NULL, NULL, NULL
    FROM deliveries d JOIN envelopes e USING (seq)
    WHERE d.queue = ? AND d.seq > ? AND d.seq <= ? ORDER BY d.seq LIMIT ?"""


def _page(connection: sqlite3.Connection, *, queue: str, after: int, last: int) -> list[tuple[int, DeadLetter]]:
    statement, name = (_UNWANTED, topics.UNROUTED) if queue == UNROUTED else (_DEAD, topics.queue_name(queue))
    rows = connection.execute(statement, (name, after, last, _PAGE)).fetchall()
    return [(row[0], _dead_letter(*row[1:])) for row in rows]


def _dead_letter(  # noqa: PLR0913, PLR0917  # a row
    headers: str,
    content_type: str,
    body: bytes,
    reason: str,
    detail: str,
    attempts: int,
    parked_s: float | None,
    replays: int | None,
    replayed_s: float | None,
    events: str | None,
) -> DeadLetter:
    return DeadLetter(
        headers=with_replays(json.loads(headers), replays, replayed_s, events),
        content_type=content_type,
        body=body,
        reason=reason,
        detail=detail,
        attempts=attempts,
        parked_at=None if parked_s is None else datetime.fromtimestamp(parked_s, UTC),
        replays=replays or 0,
    )


def _carry_out(connection: sqlite3.Connection, *, queue: str, actions: Sequence[tuple[int, Action]]) -> set[int]:
    """Replay and drop as chosen; return the numbers of the messages for which that was done.

    A message that another process has replayed or dropped is left out.
    """
    done = set()
    for seq, action in actions:
        if action is Action.REPLAY and (
            _route(connection, seq) if queue == UNROUTED else _replay(connection, queue, seq)
        ):
            done.add(seq)
        if action is Action.DROP and _remove(connection, queue, seq):
            forget(connection, _stored_as(queue), [seq])
            done.add(seq)
    return done


def _stored_as(queue: str) -> str:
    return topics.UNROUTED if queue == UNROUTED else topics.queue_name(queue)


def _remove(connection: sqlite3.Connection, queue: str, seq: int) -> bool:
    table = "deliveries" if queue == UNROUTED else "dead"
    statement = f"DELETE FROM {table} WHERE queue = ? AND seq = ?"  # noqa: S608  # one of two tables
    return connection.execute(statement, (_stored_as(queue), seq)).rowcount == 1


def _replay(connection: sqlite3.Connection, queue: str, seq: int) -> bool:
    if not _remove(connection, queue, seq):
        return False
    name = topics.queue_name(queue)
    connection.execute("INSERT INTO deliveries VALUES (?, ?, 1, NULL)", (name, seq))
    _note_replay(connection, name, seq)
    return True


def _route(connection: sqlite3.Connection, seq: int) -> bool:
    """Route an event again; return whether a queue wants it now."""
    row = connection.execute("SELECT routing_key FROM envelopes WHERE seq = ?", (seq,)).fetchone()
    bindings = connection.execute("SELECT queue, pattern FROM bindings")
    queues = {queue for queue, pattern in bindings if row is not None and topics.matches(pattern, row[0])}
    if not queues or not _remove(connection, UNROUTED, seq):
        return False
    connection.executemany("INSERT INTO deliveries VALUES (?, ?, 1, NULL)", [(queue, seq) for queue in queues])
    connection.execute("UPDATE envelopes SET waiting = waiting + ? WHERE seq = ?", (len(queues) - 1, seq))
    for queue in queues:
        _note_replay(connection, topics.whole_name(queue), seq, 0)
    return True


def _note_replay(connection: sqlite3.Connection, name: str, seq: int, replays: int = 1) -> None:
    """Count a replay, and let the age of the message start again. Routing an unrouted event counts as none."""
    statement = """INSERT INTO replayed (queue, seq, replays, at) VALUES (?, ?, ?, now())
        ON CONFLICT DO UPDATE SET replays = replays + excluded.replays, at = now()"""
    connection.execute(statement, (name, seq, replays))
