"""The spool on the event loop: what it holds, and whether it takes more. Its disk is used in two threads."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from hookline.aio.deadlines import Deadlines
from hookline.aio.lasting_task import start_lasting
from hookline.aio.pulse import Pulse
from hookline.aio.throttle import Throttle, said_less
from hookline.broker.spool import records
from hookline.broker.spool.buckets import Buckets, Taken
from hookline.broker.spool.journal import Journal
from hookline.broker.spool.lanes import Lane
from hookline.broker.spool.records import Entry
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable

log = logging.getLogger("hookline.spool")

T = TypeVar("T")

_STALLED_S = 0.8
"""A write that takes longer makes others be refused at once."""

_LOOK_EVERY_S = 1.0
_ADOPT_EVERY_S = 10.0
_QUICK_S = 1.0
_LOAD_S = 15.0
_FAILING_S = 5.0
"""So long a start waits for a disk that fails: what is on it can be published in its order only if it is known."""

_SAY_EVERY_S = 10.0
_CLOSE_S = 3.0
_MAX_WAITING_BYTES = 32 * 2**20
_MAX_GROUP = 1024
_WRITE = 0  # there is one at a time
_MAX_GROUP_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """Above `max_bytes`, or while its oldest event is older than `max_age_s`, the spool takes no more events."""

    max_bytes: int = 2**30
    max_age_s: float = 7 * 24 * 3600


@dataclass(slots=True)
class SpoolCounts:
    """What happened since the start. `set_aside` counts records that could not be read."""

    spooled: int = 0
    drained: int = 0
    set_aside: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """What the spool holds now. `fault` says why it takes nothing; None if it does."""

    events: int
    bytes: int
    oldest_age_s: float
    fault: str | None


@dataclass(slots=True)
class _Append:
    entry: Entry
    done: "asyncio.Future[None]"


class Spool:
    """Keeps envelopes on disk until they are published.

    `held` counts the records of each bucket, including those that are being written. Their order is kept only if no
    event of such a bucket is published past the spool.
    """

    def __init__(
        self, journal: Journal, limits: SpoolLimits, writer: Lane, reader: Lane, clock: Callable[[], float] = time.time
    ) -> None:
        self.held: dict[int, int] = {}
        self.counts = SpoolCounts()
        self.changed = Pulse()
        self._is_loading = True  # records of an earlier process may be there that `held` does not count yet
        self._journal = journal
        self._limits = limits
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._buckets = Buckets()
        self._waiting: list[_Append] = []
        self._waiting_bytes = 0
        self._is_writing = False
        self._is_stalled = False
        self._writes = Deadlines[int](_STALLED_S, self._note_stalled)
        self._removed: list[int] = []
        self._is_removing = False
        self._bytes = 0
        self._age_s = 0.0
        self._disk_fault: str | None = "its folder is not open yet"
        self._said: str | None = None
        self._is_used_said = False
        self._has_adopted = False
        self._used_said_s = 0.0
        self._throttle = Throttle(_SAY_EVERY_S)
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> SpoolStatus:
        return SpoolStatus(self._buckets.count, self._bytes, self._oldest_age_s(), self.fault)

    @property
    def events(self) -> int:
        """How many events are on disk and not published."""
        return self._buckets.count

    @property
    def in_flight(self) -> int:
        """How many events are taken, and neither done nor put back."""
        return self._buckets.in_flight

    @property
    def fault(self) -> str | None:
        """Why nothing can be appended now; None if something can."""
        if self._disk_fault is not None:
            return self._disk_fault
        if self._is_stalled:
            return "its disk does not answer"
        if self._bytes + self._waiting_bytes >= self._limits.max_bytes:
            return "it is full (spool.max_bytes)"
        if self._waiting_bytes >= _MAX_WAITING_BYTES:
            return "its disk is too slow"
        if self._age_s > self._limits.max_age_s:
            return "its oldest event is too old (spool.max_age_s)"
        return None

    async def open(self) -> None:
        """Return once the folder is open and what earlier processes left is known, or that fails or takes too long."""
        opened = self._loop.create_future()
        self._task = start_lasting(self._look_after(opened), "looking after the spool")
        await asyncio.wait([opened], timeout=_QUICK_S)
        if not opened.done():
            log.warning("the start waits up to %.0f s for the disk of the spool %s", _LOAD_S, self._journal.folder)
            await asyncio.wait([opened], timeout=_LOAD_S - _QUICK_S)
        if self._is_loading:
            self._is_loading = False
            log.error("the spool: what earlier processes left is not known yet; order is not kept against it")

    def append(self, envelope: Envelope, bucket: int) -> "asyncio.Future[None]":
        """The future ends once the envelope is on disk, or with NotDurable. Raises NotDurable at once if that is known.

        The caller waits as long as it wants to: a disk may hang.
        """
        if self.fault is not None:
            self.counts.refused += 1
            raise NotDurable("neither the broker nor the spool can take the event now")
        entry = Entry(bucket, self._clock(), records.pack(envelope))
        append = _Append(entry, self._loop.create_future())
        self.held[bucket] = self.held.get(bucket, 0) + 1
        self._waiting.append(append)
        self._waiting_bytes += len(entry.payload)
        if not self._is_writing:
            self._write()
        return append.done

    def take(self, limit: int) -> list[Taken]:
        """Up to `limit` records to publish, one of each bucket. Each is then done, put back or set aside."""
        return self._buckets.take(limit, self._loop.time())

    def resumes_in_s(self) -> float | None:
        """In how many seconds a bucket that was paused may be taken from again; None if none is paused."""
        return self._buckets.resumes_in_s(self._loop.time())

    async def read(self, taken: Sequence[Taken]) -> list[Envelope | ValueError | OSError]:
        """The envelopes of records; an error for each that is damaged or cannot be read now."""
        return await self._reader.run(partial(self._journal.read, [each.position for each in taken]))

    def done(self, taken: Taken) -> None:
        """A record was published. Its place on disk is given up soon."""
        self.counts.drained += 1
        self._leave(taken)
        if not self._removed and not self._is_removing:
            self._loop.call_soon(self._remove)
        self._removed.append(taken.position)

    def put_back(self, taken: Sequence[Taken], after_s: float = 0.0) -> None:
        """Records were not published. They are taken again, at the earliest after this time."""
        resumes_s = self._loop.time() + after_s if after_s else 0.0
        for each in taken:
            self._buckets.put_back(each, resumes_s)
        self.changed.send()

    def set_aside(self, taken: Taken, why: str) -> None:
        """Give up a record that cannot be read or published. A copy is kept for a person."""
        self.counts.set_aside += 1
        held_back = self._throttle.admit(why)
        if held_back is not None:
            log.error("the spool: an event is set aside: %s%s", why, said_less(held_back))
        self._leave(taken)
        self._writer.run(partial(self._journal.set_aside, taken.position)).add_done_callback(self._note_size)

    async def close(self) -> None:
        """Refuse new events, write those that wait, and leave what is left to the next process."""
        self._disk_fault = "its process stops"
        until_s = self._loop.time() + _CLOSE_S
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        while self._is_writing and self._loop.time() < until_s:
            await self.changed.wait(until_s - self._loop.time())
        self._remove()
        closing = self._writer.run(self._journal.close)
        await asyncio.wait([closing], timeout=max(until_s - self._loop.time(), 0.1))
        if self.events:
            log.warning("%d events stay in the spool; the next process publishes them", self.events)
        self._writer.close()
        self._reader.close()

    def _write(self) -> None:
        """Hand over the events that wait. All of them share one fsync."""
        group, size = 0, 0
        while group < min(len(self._waiting), _MAX_GROUP) and size < _MAX_GROUP_BYTES:
            size += len(self._waiting[group].entry.payload)
            group += 1
        writing, self._waiting = self._waiting[:group], self._waiting[group:]
        self._is_writing = True
        self._writes.start(_WRITE)
        entries = [each.entry for each in writing]
        self._writer.run(partial(self._journal.append, entries)).add_done_callback(partial(self._written, writing))

    def _written(self, group: Sequence[_Append], writing: "asyncio.Future[list[int]]") -> None:
        self._is_writing = self._is_stalled = False
        self._writes.stop(_WRITE)
        self._waiting_bytes -= sum(len(each.entry.payload) for each in group)
        error = asyncio.CancelledError() if writing.cancelled() else writing.exception()
        if error is None:
            for each, position in zip(group, writing.result(), strict=True):
                self._buckets.add(each.entry.bucket, position, each.entry.at_s)
                if not each.done.done():
                    each.done.set_result(None)
            self.counts.spooled += len(group)
            self._say_used()
        else:
            self._note(error)
            self._fail([*group, *self._waiting])
        self._bytes = self._journal.size
        self.changed.send()
        if self._waiting:
            self._write()

    def _note_stalled(self, _: int) -> None:
        self._is_stalled = True

    def _fail(self, failed: Sequence[_Append]) -> None:
        """Refuse these events, and those that wait behind them."""
        self._waiting_bytes -= sum(len(each.entry.payload) for each in self._waiting)
        self._waiting = []
        for each in failed:
            self._release(each.entry.bucket)
            self.counts.refused += 1
            if not each.done.done():
                each.done.set_exception(NotDurable("the event could not be written to the spool"))

    def _leave(self, taken: Taken) -> None:
        self._buckets.done(taken)
        self._release(taken.bucket)
        if not self._buckets.count and (self._is_used_said or self._has_adopted):
            self._is_used_said = self._has_adopted = False
            log.info("the spool is empty again")
        self.changed.send()

    def _release(self, bucket: int) -> None:
        left = self.held[bucket] - 1
        if left:
            self.held[bucket] = left
        else:
            del self.held[bucket]

    def _remove(self) -> None:
        """Remove what was published. One call at a time: on a slow disk, appends would wait behind many."""
        removed, self._removed = self._removed, []
        if removed:
            self._is_removing = True
            self._writer.run(partial(self._journal.remove, removed)).add_done_callback(self._has_removed)

    def _has_removed(self, removing: "asyncio.Future[None]") -> None:
        self._is_removing = False
        self._note_size(removing)
        self._remove()

    def _note_size(self, removing: "asyncio.Future[None]") -> None:
        _retrieve(removing)
        self._bytes = self._journal.size

    async def _look_after(self, opened: "asyncio.Future[None]") -> None:
        """Open the folder, again after a fault; and take over, now and then, what processes that ended have left."""
        adopt_s, gives_up_s = 0.0, self._loop.time() + _FAILING_S
        while True:
            if self._disk_fault is not None:
                await self._check()
            if self._disk_fault is None and self._loop.time() >= adopt_s and await self._adopt():
                adopt_s = self._loop.time() + _ADOPT_EVERY_S
                self._is_loading = False
            if not opened.done() and (not self._is_loading or self._loop.time() >= gives_up_s):
                opened.set_result(None)
            self._age_s = self._oldest_age_s()
            self._say(self.fault)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _check(self) -> None:
        try:
            await self._writer.run(self._journal.check)
        except OSError as error:
            self._note(error)
        else:
            self._disk_fault = None

    async def _adopt(self) -> bool:
        """Whether everything was taken over that processes that ended have left."""
        try:
            adopted = await self._writer.run(self._journal.adopt)
        except OSError as error:
            self._note(error)
            return False
        for bucket, (positions, _) in adopted.waiting.items():
            self.held[bucket] = self.held.get(bucket, 0) + len(positions)
        events = self._buckets.add_before(adopted.waiting)
        self._bytes = self._journal.size
        self.counts.set_aside += adopted.damaged
        self._has_adopted |= bool(events)
        if events or adopted.damaged:
            log.warning(
                "the spool holds %d events of earlier processes (%d bytes, the oldest %.0f s old); %d were set aside",
                events,
                self._bytes,
                self._oldest_age_s(),
                adopted.damaged,
            )
            self.changed.send()
        return adopted.is_complete

    def _oldest_age_s(self) -> float:
        oldest_s = self._buckets.oldest_s()
        return 0.0 if oldest_s is None else max(self._clock() - oldest_s, 0.0)

    def _note(self, error: BaseException) -> None:
        """Take nothing more until the disk has been looked at again."""
        # Without the file, which has a new name each time.
        said = error.strerror if isinstance(error, OSError) else None
        self._disk_fault = f"its disk cannot be used: {said or error}"
        self._say(self._disk_fault)

    def _say_used(self) -> None:
        """Log that events are spooled: once until the spool is empty again, and not more often than every 10 s."""
        if not self._is_used_said and self._loop.time() >= self._used_said_s:
            self._is_used_said, self._used_said_s = True, self._loop.time() + _SAY_EVERY_S
            log.warning("events are kept in the spool %s until the broker takes them", self._journal.folder)

    def _say(self, fault: str | None) -> None:
        """Log a fault once, and its end."""
        if fault == self._said:
            return
        self._said = fault
        if fault is None:
            log.info("the spool takes events again")
        else:
            log.error("the spool %s takes no events: %s", self._journal.folder, fault)


def _retrieve(future: "asyncio.Future[T]") -> None:
    """Log an error of ours: none is expected."""
    with suppress(asyncio.CancelledError):
        error = future.exception()
        if error is not None:
            log.error("the spool: an error of ours", exc_info=error)
