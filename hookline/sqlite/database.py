"""One SQLite file, written by one thread in groups: as many steps as are waiting share one transaction and one fsync.

Durable means `synchronous=FULL` in WAL mode: when `run` returns, what the step wrote survives a power cut. Steps of
one kind that wait together are done as one (`share`): each statement costs the thread two turns at Python's lock, which
a busy event loop does not give up at once, so that few large statements are much cheaper than many small ones.

Several processes on one machine may use the file at the same time. Each has an `owner` name, kept alive by a heartbeat
of the writer thread (not of the event loop, which a busy handler may hold up); the view `alive` lists the names that
are, so that what a dead process had taken is free again after `LEASE_S`.
"""

import asyncio
import queue
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hookline.schemas.errors import HooklineError, SettingsError, Unreachable
from hookline.sqlite.writer_thread import BEAT_S, Clock, Pending, SharedStep, SqliteWriterThread

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741  an item
Step = Callable[[sqlite3.Connection], T]
"""What one caller does in a transaction. It may run again after it ran in vain: it touches only the database."""

_MAX_GROUP = 512


class Database:
    """An open file with its writer thread. Belongs to the event loop that awaited `open`."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self.owner = uuid.uuid4().hex
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._asked: list[Pending] = []
        self._waiting: queue.SimpleQueue[list[Pending] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name=f"sqlite {path.name}", daemon=True)
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._closed = False

    @classmethod
    async def open(cls, path: Path, clock: Clock = time.time) -> "Database":
        """Create the file if there is none (mode 600), bring its schema forward, and start the writer.

        Raises Unreachable, or SettingsError for a file that a newer version or another program has written.
        """
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
        self._asked.append(Pending(step, item, durable, future))
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
            writer = SqliteWriterThread(self.path, self.owner, self._clock)
        except (sqlite3.Error, OSError, SettingsError) as error:
            self._loop.call_soon_threadsafe(self._opened.set_exception, _not_opened(self.path, error))
            return
        self._loop.call_soon_threadsafe(self._opened.set_result, None)
        ending = False
        while not ending:
            group, ending = self._next_group()
            writer.run(group)
            if group and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._resolve, group)
            writer.beat_if_due()
        writer.close()

    def _next_group(self) -> tuple[list[Pending], bool]:
        """What is waiting (nothing, after a while without work), and whether it is the last."""
        group: list[Pending] = []
        try:
            asked = self._waiting.get(timeout=BEAT_S)
            while asked is not None:
                group += asked
                if len(group) >= _MAX_GROUP:
                    return group, False
                asked = self._waiting.get_nowait()
        except queue.Empty:
            return group, False
        return group, True

    def _resolve(self, group: list[Pending]) -> None:
        for pending in group:
            if pending.future.done():  # the caller stopped waiting
                continue
            if isinstance(pending.answer, sqlite3.Error):
                pending.future.set_exception(Unreachable(f"{self.path.name} cannot be used: {pending.answer}"))
            elif isinstance(pending.answer, Exception):
                pending.future.set_exception(pending.answer)
            else:
                pending.future.set_result(pending.answer)


def _not_opened(path: Path, error: Exception) -> HooklineError:
    if isinstance(error, SettingsError):
        return error
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    hint = ""
    if isinstance(error, PermissionError) or code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        hint = "; this user must be able to write to the file and to its folder"
    return Unreachable(f"{path} cannot be opened: {error}{hint}")


def _do_each(connection: sqlite3.Connection, steps: Sequence[Step[Any]]) -> list[Any]:
    return [step(connection) for step in steps]
