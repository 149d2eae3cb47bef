"""Looks at the embedded broker's queues through a connection of its own, so that no writer waits."""

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from hookline.broker.embedded.tables import OF_QUEUE, of_queue
from hookline.schemas import topics
from hookline.schemas.envelope import RECEIVED_AT_HEADER
from hookline.schemas.queue_states import QueueState
from hookline.sqlite.faults import not_opened
from hookline.sqlite.writer_thread import LIVING

T = TypeVar("T")

_BUSY_S = 5.0
_NAMES = "SELECT DISTINCT queue FROM bindings UNION SELECT DISTINCT queue FROM dead"
# Where very many wait, counting them takes most of the time: it is done in one pass.
_ALL_AND_TAKEN = f"""SELECT count(*), coalesce(sum(owner IN ({LIVING})), 0) FROM deliveries
    WHERE {OF_QUEUE}"""  # noqa: S608  of constants
_ALL = f"SELECT count(*) FROM deliveries WHERE {OF_QUEUE}"  # noqa: S608  of constants
_DELAYED = f"SELECT count(*) FROM delayed WHERE {OF_QUEUE}"  # noqa: S608  of constants
_DEAD = "SELECT count(*) FROM dead WHERE queue = :name"
# Each queue is read up to its first message that nobody has taken.
_OLDEST = f"""SELECT headers FROM envelopes WHERE seq = (SELECT min(first) FROM (
    SELECT (SELECT seq FROM deliveries WHERE queue = value AND (owner IS NULL OR owner NOT IN ({LIVING}))
        ORDER BY seq LIMIT 1) AS first FROM json_each(:queues)))"""  # noqa: S608  of constants
_STEPS = 100_000  # of SQLite, about a millisecond, between two looks at whether to stop


class EmbeddedQueueStates:
    """Implements `schemas.queue_states.QueueStates` for a file. Knows no consumers: processes only poll the file."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now

    async def names(self) -> Sequence[str]:
        return await self._read(_names)

    async def states(self, queues: Collection[str], *, retrying: bool = False) -> Sequence[QueueState]:  # noqa: ARG002  it costs little
        now_s = self._now()
        return await self._read(lambda connection: [_state(connection, each, now_s) for each in queues])

    async def unrouted(self) -> int:
        return await self._read(lambda connection: _count(connection, _ALL, topics.UNROUTED))

    async def _read(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """What the step returns. If this is cancelled, as by a time-out, the step ends, too."""
        stopped = threading.Event()
        try:
            return await asyncio.to_thread(self._read_now, step, stopped)
        finally:
            stopped.set()

    def _read_now(self, step: Callable[[sqlite3.Connection], T], stopped: threading.Event) -> T:
        try:
            with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", timeout=_BUSY_S, uri=True)) as connection:
                connection.set_progress_handler(stopped.is_set, _STEPS)
                return step(connection)
        except sqlite3.Error as error:
            raise not_opened(self._path, error) from None


def _names(connection: sqlite3.Connection) -> list[str]:
    names = {topics.whole_name(name) for (name,) in connection.execute(_NAMES)}
    return sorted(topics.short_name(name) for name in names if name != topics.UNROUTED)


def _state(connection: sqlite3.Connection, queue: str, now_s: float) -> QueueState:
    name = topics.queue_name(queue)
    there, taken = connection.execute(_ALL_AND_TAKEN, of_queue(name)).fetchone()
    oldest = connection.execute(_OLDEST, of_queue(name)).fetchone()
    return QueueState(
        queue=queue,
        waiting=there - taken,
        in_flight=taken,
        retrying=_count(connection, _DELAYED, name),
        dead=_count(connection, _DEAD, name),
        consumers=None,
        oldest_s=None if oldest is None else _age_s(oldest[0], now_s),
    )


def _count(connection: sqlite3.Connection, statement: str, name: str) -> int:
    return int(connection.execute(statement, of_queue(name)).fetchone()[0])


def _age_s(headers: str, now_s: float) -> float:
    received_at = datetime.fromisoformat(json.loads(headers)[RECEIVED_AT_HEADER])
    return max(now_s - received_at.astimezone(UTC).timestamp(), 0.0)
