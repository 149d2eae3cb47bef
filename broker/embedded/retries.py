"""Pending retries of the embedded broker: the rows of `delayed`. Each page of a scan is one transaction."""

import json
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from hookline.broker.embedded.tables import OF_QUEUE, bound_to, forget, of_queue, with_replays
from hookline.schemas import topics
from hookline.schemas.dead_letters import Action, Scanned
from hookline.schemas.errors import UnknownQueue
from hookline.schemas.retries import PendingRetry
from hookline.sqlite.database import Database

_PAGE = 200
_COUNT = f"SELECT count(*) FROM delayed WHERE {OF_QUEUE}"  # noqa: S608  of constants
_ROWS = f"""SELECT d.queue, d.ready_at, d.seq, d.attempt, d.ready_at - c.offset - monotonic() + now(),
    coalesce(t.reason, ''), coalesce(t.error, ''), e.headers, e.content_type, e.body, r.replays, r.at, r.events
    FROM (SELECT * FROM delayed WHERE {OF_QUEUE} AND (ready_at, seq) > (:ready_at, :seq)
        ORDER BY ready_at, seq LIMIT :most) d
    JOIN envelopes e USING (seq) CROSS JOIN retry_clock c
    LEFT JOIN retry_errors t ON t.queue = d.queue AND t.seq = d.seq
    LEFT JOIN replayed r ON r.queue = :name AND r.seq = d.seq
    ORDER BY d.ready_at, d.seq"""  # noqa: S608  of constants
_OF_KEY = "queue = ? AND ready_at = ? AND seq = ?"
_PUT_BACK = f"INSERT INTO deliveries SELECT queue, seq, attempt, NULL FROM delayed WHERE {_OF_KEY}"  # noqa: S608  see above
_REMOVE = f"DELETE FROM delayed WHERE {_OF_KEY}"  # noqa: S608  of constants


class _Key(NamedTuple):
    """Of a row of `delayed`."""

    queue: str
    ready_at: float
    seq: int


_FIRST = _Key("", float("-inf"), 0)


class EmbeddedRetries:
    """Implements `schemas.broker.Retries`."""

    def __init__(self, database: Database, wake: Callable[[], None]) -> None:
        self._database = database
        self._wake = wake

    async def counts(self) -> Mapping[str, int]:
        return await self._database.run(_counts)

    async def count(self, queue: str) -> int:
        return await self._database.run(partial(_count, queue=queue))

    async def scan(
        self, queue: str, decide: Callable[[PendingRetry], Action]
    ) -> AsyncGenerator[Scanned[PendingRetry], None]:
        left, after = await self.count(queue), _FIRST  # those that begin to wait during the scan come after so many
        while page := await self._database.run(partial(_page, queue=queue, after=after, most=min(left, _PAGE))):
            chosen = [(key, retry, decide(retry)) for key, retry in page]
            done = await self._database.run(partial(_carry_out, actions=[(key, action) for key, _, action in chosen]))
            self._wake()
            for key, retry, action in chosen:
                yield Scanned(retry, action if key in done else Action.KEEP)
            left, after = left - len(page), page[-1][0]


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for name, count in connection.execute("SELECT queue, count(*) FROM delayed GROUP BY queue ORDER BY queue"):
        queue = topics.short_name(topics.whole_name(name))
        numbers[queue] = numbers.get(queue, 0) + count
    return numbers


def _count(connection: sqlite3.Connection, *, queue: str) -> int:
    """Raises UnknownQueue if there is no such queue."""
    name = topics.queue_name(queue)
    count = int(connection.execute(_COUNT, of_queue(name)).fetchone()[0])
    if not count and not bound_to(connection, queue=name):
        raise UnknownQueue(queue)
    return count


def _page(connection: sqlite3.Connection, *, queue: str, after: _Key, most: int) -> list[tuple[_Key, PendingRetry]]:
    parameters = {**of_queue(topics.queue_name(queue)), "ready_at": after.ready_at, "seq": after.seq, "most": most}
    return [(_Key(*row[:3]), _pending_retry(*row[3:])) for row in connection.execute(_ROWS, parameters).fetchall()]


def _pending_retry(  # noqa: PLR0913, PLR0917  # a row
    attempt: int,
    due_s: float,
    reason: str,
    error: str,
    headers: str,
    content_type: str,
    body: bytes,
    replays: int | None,
    replayed_s: float | None,
    events: str | None,
) -> PendingRetry:
    return PendingRetry(
        headers=with_replays(json.loads(headers), replays, replayed_s, events),
        content_type=content_type,
        body=body,
        attempt=attempt,
        due_at=datetime.fromtimestamp(due_s, UTC),
        reason=reason,
        error=error,
    )


def _carry_out(connection: sqlite3.Connection, *, actions: Sequence[tuple[_Key, Action]]) -> set[_Key]:
    """Make due and drop as chosen; return the keys for which that was done. Others return to their queue meanwhile."""
    done = set()
    for key, action in actions:
        if action is Action.REPLAY and connection.execute(_PUT_BACK, key).rowcount:
            connection.execute(_REMOVE, key)
            done.add(key)
        if action is Action.DROP and connection.execute(_REMOVE, key).rowcount:
            forget(connection, key.queue, [key.seq])
            done.add(key)
    return done
