"""One SQLite file, written by one thread in groups: as many steps as are waiting share one transaction and one fsync.

Durable means `synchronous=FULL` in WAL mode: when `run` returns, what the step wrote survives a power cut. Steps of
one kind that wait together are done as one (`share`): each statement costs the thread two turns at Python's lock, which
a busy event loop does not give up at once, so that few large statements are much cheaper than many small ones.

Several processes on one machine may use the file at the same time. Each has an `owner` name, kept alive by a heartbeat
of the writer thread (not of the event loop, which a busy handler may hold up); the view `alive` lists the names that
are, so that what a dead process had taken is free again after `LEASE_S`.
"""

import asyncio
import os
import queue
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from schemas.errors import Unreachable

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741  an item
Clock = Callable[[], float]
Step = Callable[[sqlite3.Connection], T]
"""What one caller does in a transaction. It may run again after it ran in vain: it touches only the database."""

SharedStep = Callable[[sqlite3.Connection, Sequence[I]], Sequence[T | Exception]]
"""What is done for several callers at once, whose items these are: the answer to each, or what it shall raise."""

LEASE_S = 6
_BEAT_S = 1.0
_MAX_GROUP = 512
_BUSY_S = 5.0
_CACHED_STATEMENTS = 512
_FSYNCED = "PRAGMA synchronous = FULL"
_UNSYNCED = "PRAGMA synchronous = NORMAL"  # in WAL mode: not synced by itself, but with the next that is


@dataclass(slots=True, eq=False)
class _Pending:
    step: SharedStep[Any, Any]
    item: Any
    durable: bool
    future: "asyncio.Future[Any]"
    answer: Any = None


class Database:
    """An open file with its writer thread. Belongs to the event loop that awaited `open`."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self.owner = uuid.uuid4().hex
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._asked: list[_Pending] = []
        self._waiting: queue.SimpleQueue[list[_Pending] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name=f"sqlite {path.name}", daemon=True)
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._closed = False
        self._beat_due_s = 0.0

    @classmethod
    async def open(cls, path: Path, clock: Clock = time.time) -> "Database":
        """Create the file if there is none (mode 600), and start the writer. Raises Unreachable."""
        database = cls(path, clock)
        database._thread.start()
        await database._opened
        return database

    async def run(self, step: Step[T], *, durable: bool = True) -> T:
        """Do the step in the next transaction; return its result once that is on disk. Raises Unreachable.

        What is not durable may be undone by a power cut, and by nothing else: right for what means nothing after one,
        such as who has what in hand.
        """
        return await self.share(_do_each, step, durable=durable)

    def share(self, step: SharedStep[I, T], item: I, *, durable: bool = True) -> "asyncio.Future[T]":
        """Have a step done once for this item and all others that wait for an equal step; the future is its answer.

        Otherwise as `run`, which a step of one's own is for.
        """
        if self._closed:
            raise Unreachable(f"{self.path.name} is closed")
        if not self._asked:
            self._loop.call_soon(self._hand_over)
        future: asyncio.Future[T] = self._loop.create_future()
        self._asked.append(_Pending(step, item, durable, future))
        return future

    async def close(self) -> None:
        """Do what is waiting, give up the owner's name, and close the file."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)

    def _hand_over(self) -> None:
        """All that was asked for in one turn of the loop goes to the writer at once."""
        asked, self._asked = self._asked, []
        if asked:
            self._waiting.put(asked)

    def _write(self) -> None:
        """The writer thread."""
        try:
            connection = _connect(self.path, self._clock)
            self._beat(connection)
        except (sqlite3.Error, OSError) as error:
            failure = Unreachable(f"{self.path} cannot be opened: {error}")
            self._loop.call_soon_threadsafe(self._opened.set_exception, failure)
            return
        self._loop.call_soon_threadsafe(self._opened.set_result, None)
        ending = False
        while not ending:
            group, ending = self._next_group()
            _run_group(connection, group)
            if group and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._resolve, group)
            self._beat_if_due(connection)
        self._forget_owner(connection)

    def _next_group(self) -> tuple[list[_Pending], bool]:
        """What is waiting (nothing, after a while without work), and whether it is the last."""
        group: list[_Pending] = []
        try:
            asked = self._waiting.get(timeout=_BEAT_S)
            while asked is not None:
                group += asked
                if len(group) >= _MAX_GROUP:
                    return group, False
                asked = self._waiting.get_nowait()
        except queue.Empty:
            return group, False
        return group, True

    def _resolve(self, group: list[_Pending]) -> None:
        for pending in group:
            if pending.future.done():  # the caller stopped waiting
                continue
            if isinstance(pending.answer, sqlite3.Error):
                pending.future.set_exception(Unreachable(f"{self.path.name} cannot be used: {pending.answer}"))
            elif isinstance(pending.answer, Exception):
                pending.future.set_exception(pending.answer)
            else:
                pending.future.set_result(pending.answer)

    def _beat(self, connection: sqlite3.Connection) -> None:
        connection.execute("INSERT OR REPLACE INTO owners VALUES (?, now())", (self.owner,))
        self._beat_due_s = time.monotonic() + _BEAT_S

    def _beat_if_due(self, connection: sqlite3.Connection) -> None:
        if time.monotonic() >= self._beat_due_s:
            try:
                self._beat(connection)
                connection.execute("DELETE FROM owners WHERE owner NOT IN (SELECT owner FROM alive)")
            except sqlite3.OperationalError:  # locked or full: tried again at once, long before the lease ends
                return

    def _forget_owner(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("DELETE FROM owners WHERE owner = ?", (self.owner,))
        except sqlite3.OperationalError:  # then the name dies of age
            pass
        finally:
            connection.close()


def _connect(path: Path, clock: Clock) -> sqlite3.Connection:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(
        path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=_CACHED_STATEMENTS
    )
    connection.create_function("now", 0, clock)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(_FSYNCED)
    connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the platter there
    connection.execute("CREATE TABLE IF NOT EXISTS owners (owner TEXT PRIMARY KEY, seen REAL NOT NULL) WITHOUT ROWID")
    # A time stamp from the future is a clock that was set back, not a long life.
    span = f"now() - {LEASE_S} AND now() + {LEASE_S}"
    connection.execute(f"CREATE TEMP VIEW alive AS SELECT owner FROM owners WHERE seen BETWEEN {span}")  # noqa: S608
    return connection


def _do_each(connection: sqlite3.Connection, steps: Sequence[Step[Any]]) -> list[Any]:
    return [step(connection) for step in steps]


def _run_group(connection: sqlite3.Connection, group: Sequence[_Pending]) -> None:
    """All in one transaction; if a step fails, each step in its own; if that fails, each item, so it harms no other."""
    if not group or _in_transaction(connection, group):
        return
    for kind in _by_step(group):
        if not _in_transaction(connection, kind):
            for pending in kind:
                _in_transaction(connection, [pending])


def _by_step(group: Iterable[_Pending]) -> Iterable[list[_Pending]]:
    kinds: dict[SharedStep[Any, Any], list[_Pending]] = {}
    for pending in group:
        kinds.setdefault(pending.step, []).append(pending)
    return kinds.values()


def _in_transaction(connection: sqlite3.Connection, group: Sequence[_Pending]) -> bool:
    """Whether the caller is done with the group; if not, a step failed and nothing was written."""
    try:
        connection.execute(_FSYNCED if any(pending.durable for pending in group) else _UNSYNCED)
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        return _fail(group, error)
    try:
        for kind in _by_step(group):
            answers = kind[0].step(connection, [pending.item for pending in kind])
            for pending, answer in zip(kind, answers, strict=True):
                pending.answer = answer
    except Exception as error:  # noqa: BLE001  the caller gets it, whatever it is
        connection.execute("ROLLBACK")
        return len(group) == 1 and _fail(group, error)
    try:
        connection.execute("COMMIT")
    except sqlite3.Error as error:  # a failed fsync is never tried again and trusted
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return _fail(group, error)
    return True


def _fail(group: Sequence[_Pending], error: Exception) -> bool:
    for pending in group:
        pending.answer = error
    return True
