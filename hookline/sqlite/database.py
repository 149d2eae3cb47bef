"""One SQLite file, written by one thread in groups: all steps that are waiting share one transaction and one fsync.

Durable means that the write-ahead log is synced after the commit: when `run` returns, what the step wrote survives a
power cut. A second thread syncs. Meanwhile the next group is written, unless it is small: then it waits for the disk,
and for what comes until then. The answers of a step of which nothing is durable do not wait for the sync.

Steps of one kind that wait together run as one (`share`). Each statement costs the thread two acquisitions of Python's
global lock, which a busy event loop holds for a while, so that few large statements are much cheaper than many small
ones.

Several processes on one machine may use the file at the same time. Each has an `owner` name with a lease. The writer
thread sends its heartbeat, since a busy handler may delay the event loop. The view `alive` lists the names whose lease
has not ended, and this process's own; what a dead process had taken is free again after `LEASE_S`. Leases are judged by
a clock in the file, which only heartbeats advance: neither the wall clock nor a pause of the machine ends one.
"""

import asyncio
import queue
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from hookline.aio.threads import ended
from hookline.schemas.errors import HooklineError, Unreachable
from hookline.sqlite.batch import Batch, Share, SharedStep
from hookline.sqlite.faults import not_opened, not_used
from hookline.sqlite.log import WriteAheadLog
from hookline.sqlite.writer_thread import BEAT_S, Clock, Renewal, SqliteWriterThread

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741  an item
Step = Callable[[sqlite3.Connection], T]
"""What one caller does in a transaction. It may run again after a failed transaction, so it only uses the database."""

_MAX_GROUP = 512
_ENOUGH = 64  # items to begin a group while the disk syncs another: fewer would gain nothing, and cost a transaction


class Database:
    """An open file with its writer thread. Belongs to the event loop on which `open` was awaited."""

    def __init__(self, path: Path, clock: Clock, monotonic: Clock) -> None:
        self.path = path
        self.owner = uuid.uuid4().hex
        self._clock = clock
        self._monotonic = monotonic
        self._renewals: list[Renewal] = []
        self._after_writes: list[Callable[[], None]] = []
        self._loop = asyncio.get_running_loop()
        self._requested: dict[SharedStep[Any, Any], Batch] = {}
        self._joined: dict[SharedStep[Any, Any], Share] = {}
        self._waiting: queue.SimpleQueue[Collection[Batch] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name=f"sqlite {path.name}", daemon=True)
        self._written: queue.SimpleQueue[tuple[WriteAheadLog, list[Batch]] | None] = queue.SimpleQueue()
        self._syncing = threading.Thread(target=self._sync, name=f"sync {path.name}", daemon=True)
        self._written_count = self._synced_count = 0
        self._is_held_up = False
        """Whether the writer waits for more, or for the disk."""
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._closed = False
        self.unwritten = 0
        """How many joined items the writer holds, also those whose callers no longer wait; and their sizes."""
        self.unwritten_bytes = 0

    @classmethod
    async def open(cls, path: Path, clock: Clock = time.time, monotonic: Clock = time.monotonic) -> "Database":
        """Create the file if there is none (mode 600), bring its schema forward, and start the writer.

        Raises Unreachable; Locked while another process has the write lock for long, as to bring a large file forward;
        SettingsError for a file that a newer version or another program has written.
        """
        database = cls(path, clock, monotonic)
        database._thread.start()
        try:
            await database._opened
        except asyncio.CancelledError:
            database._waiting.put(None)
            raise
        return database

    async def run(self, step: Step[T], *, durable: bool = True) -> T:
        """Run the step in the next transaction; return its result once that is on disk. Raises Unreachable.

        With `durable=False` a power cut, and nothing else, may undo the step. That is right for what means nothing
        after one, such as which process has which message.
        """
        return await self.share(_do_each, step, durable=durable)

    def share(self, step: SharedStep[I, T], item: I, *, durable: bool = True) -> "asyncio.Future[T]":
        """Run a step once for this item and all others that wait for an equal step. The future is the item's answer.

        Otherwise as `run`, which is for a step with a single caller.
        """
        return self._add(step, Share([item], [], self._loop.create_future(), is_single=True), durable=durable).future

    def share_all(
        self, step: SharedStep[I, T], items: Sequence[I], *, durable: bool = True
    ) -> "asyncio.Future[Sequence[T | Exception]]":
        """As `share` for several items, with one future for all their answers and errors."""
        return self._add(step, Share([*items], [], self._loop.create_future()), durable=durable).future

    def join(self, step: SharedStep[I, T], item: I, size: int) -> "asyncio.Future[Sequence[T | Exception]]":
        """As `share`, with one future for all that join in this turn of the event loop. Its answers are in their order.

        `size` is how many bytes the item adds to the file.
        """
        share = self._joined.get(step)
        if share is None:
            share = self._joined[step] = self._add(step, Share([], [], self._loop.create_future()), durable=True)
        share.items.append(item)
        share.sizes.append(size)
        self.unwritten += 1
        self.unwritten_bytes += size
        return share.future

    def _add(self, step: SharedStep[Any, Any], share: Share, *, durable: bool) -> Share:
        """Have a share handed over at the end of this turn of the event loop."""
        if self._closed:
            raise Unreachable(f"{self.path.name} is closed")
        if not self._requested:
            self._loop.call_soon(self._hand_over)
        batch = self._requested.setdefault(step, Batch(step, []))
        batch.shares.append(share)
        batch.is_durable |= durable
        return share

    def on_heartbeat(self, renewal: Renewal) -> None:
        """Run this in the transaction of each heartbeat from now on."""
        self._renewals.append(renewal)

    def on_written(self, call: Callable[[], None]) -> None:
        """Call this from now on whenever steps have been run: the writer holds less than before."""
        self._after_writes.append(call)

    async def close(self) -> None:
        """Run the waiting steps, end the lease, and close the file. It may be cancelled: a disk may hang."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._waiting.put(None)
        await ended(self._thread)

    def _hand_over(self) -> None:
        """Give the writer all steps of one turn of the event loop at once."""
        requested, self._requested, self._joined = self._requested, {}, {}
        if requested:
            self._waiting.put(requested.values())

    def _write(self) -> None:
        """The writer thread."""
        try:
            writer = self._start_writing()
        except Exception as error:  # noqa: BLE001  the caller gets it, whatever it is
            self._tell(self._end_opening, not_opened(self.path, error))
            return
        self._tell(self._end_opening, None)
        ending = False
        while not ending:
            group, ending = self._next_group()
            writer.beat_if_due()  # first, so that a process that was frozen does nothing with a lease that has ended
            writer.run(group)
            if durable := [batch for batch in group if batch.is_durable]:
                self._written_count += 1
                self._written.put((writer.log, durable))
            if others := [batch for batch in group if not batch.is_durable]:
                self._tell(self._resolve, others)
        self._written.put(None)
        self._syncing.join()
        writer.close()

    def _start_writing(self) -> SqliteWriterThread:
        """The open file, once the thread that syncs it runs. Without that thread the file is closed again."""
        writer = SqliteWriterThread(self.path, self.owner, self._clock, self._monotonic, self._renewals)
        try:
            self._syncing.start()
        except RuntimeError:
            writer.close()
            raise
        return writer

    def _sync(self) -> None:
        """The thread that waits for the disk. One sync serves all groups that were written during the one before."""
        while written := self._take_written():
            for log in {log for log, _ in written}:
                with suppress(OSError):  # it has the fault then
                    log.sync()
            for log, group in written:
                if log.fault is not None:
                    self._deny(group, log.fault)
                self._tell(self._resolve, group)
            self._synced_count += len(written)
            if self._is_held_up:
                self._waiting.put(())

    def _take_written(self) -> list[tuple[WriteAheadLog, list[Batch]]]:
        """What was written and is to be synced; nothing in the end."""
        written = []
        each = self._written.get()
        while each is not None:
            written.append(each)
            if self._written.empty():
                return written
            each = self._written.get()
        self._written.put(None)
        return written

    def _deny(self, group: list[Batch], fault: OSError) -> None:
        """Answer with the fault what would be called durable otherwise."""
        for batch in group:
            answers = batch.answers
            batch.answers = [each if isinstance(each, Exception) else not_used(self.path, fault) for each in answers]

    def _tell(self, call: Callable[..., object], *arguments: object) -> None:
        """Have the event loop make a call, unless it is closed: then nobody waits any more."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)

    def _end_opening(self, error: HooklineError | None) -> None:
        if self._opened.done():  # the caller has stopped waiting
            return
        if error is None:
            self._opened.set_result(None)
        else:
            self._opened.set_exception(error)

    def _next_group(self) -> tuple[list[Batch], bool]:
        """The waiting steps (none after a while without work), and whether they are the last."""
        group: dict[SharedStep[Any, Any], Batch] = {}
        count = 0
        until_s = time.monotonic() + BEAT_S  # a heartbeat is due then, also while single steps come and the disk hangs
        try:
            requested = self._waiting.get(timeout=BEAT_S)
            while requested is not None:
                for batch in requested:
                    count += batch.count
                    if (first := group.setdefault(batch.step, batch)) is not batch:
                        first.add_all(batch)
                if count >= _MAX_GROUP:
                    return list(group.values()), False
                requested = self._take_requested(count, until_s)
        except queue.Empty:
            return list(group.values()), False
        return list(group.values()), True

    def _take_requested(self, count: int, until_s: float) -> Collection[Batch] | None:
        """What else waits, or comes until then. Raises queue.Empty if a group of so many items is to begin."""
        self._is_held_up = 0 < count < _ENOUGH
        try:
            if self._is_held_up and self._written_count != self._synced_count:
                return self._waiting.get(timeout=max(0.0, until_s - time.monotonic()))
            return self._waiting.get_nowait()
        finally:
            self._is_held_up = False

    def _resolve(self, group: list[Batch]) -> None:
        for batch in group:
            answers = iter(batch.answers)
            for share in batch.shares:
                self._answer(share, list(islice(answers, len(share.items))))
        for call in self._after_writes:
            call()

    def _answer(self, share: Share, answers: Sequence[Any]) -> None:
        self.unwritten -= len(share.sizes)
        self.unwritten_bytes -= sum(share.sizes)
        future = share.future
        if future.done():  # the caller has stopped waiting
            return
        if not share.is_single:
            future.set_result(answers)
        elif isinstance(answers[0], Exception):
            future.set_exception(answers[0])
        else:
            future.set_result(answers[0])


def _do_each(connection: sqlite3.Connection, steps: Sequence[Step[Any]]) -> list[Any]:
    return [step(connection) for step in steps]
