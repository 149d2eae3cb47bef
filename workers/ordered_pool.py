"""Runs an ordered worker: one event of a subject at a time, in order, and many subjects at a time."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, cast

import msgspec

from hookline.schemas.broker import Again, Parked, Queue, Received
from hookline.schemas.envelope import Envelope, from_headers, ordering_facts
from hookline.schemas.errors import Unreachable, Unreadable
from hookline.workers.api import Order, Worker
from hookline.workers.blocked_partitions import BlockedPartitions
from hookline.workers.draining import drain
from hookline.workers.partitions import Open, Partitions
from hookline.workers.pipeline import Pipeline, event_key
from hookline.workers.pool import Report, prefetch, prefetch_while_slow
from hookline.workers.settler import Settler
from hookline.workers.store import Store
from hookline.workers.subject_queues import MAX_WAIT_S, Slot, SubjectQueues
from hookline.workers.unwanted import UNWANTED
from hookline.workers.work import DUPLICATE, Work

_NOT_TRIED = frozenset({"busy", UNWANTED, Unreachable.reason})
_MANY = 16
_MIN_PREFETCH = 256
_MIN_PREFETCH_TO_REORDER = 1024


class _Message(msgspec.Struct, frozen=True):
    """A message with the queue to settle it in."""

    received: Received
    queue: Queue


def partition_prefetch(worker: Worker[Any]) -> int:
    """How many events of a partition a process takes: enough that others get past a subject that waits."""
    reorders = worker.order is not None and worker.order.reorder_s
    return max(_MIN_PREFETCH_TO_REORDER if reorders else _MIN_PREFETCH, 4 * worker.concurrency)


class OrderedPool:
    """An ordered worker in one process. `open_` opens a consumer on a partition."""

    def __init__(self, pipeline: Pipeline, store: Store, open_: Open, report: Report) -> None:
        worker = pipeline.worker
        order = worker.order or Order()
        max_waiting = partition_prefetch(worker) // 4
        self._pipeline = pipeline
        self._report = report
        self._reorders = bool(order.reorder_s)
        self._subject_queues: SubjectQueues[_Message] = SubjectQueues(
            hold_s=order.hold_s, reorder_s=order.reorder_s, max_waiting=max_waiting
        )
        self._settler = Settler(pipeline.unsynced)
        self._blocked = BlockedPartitions(partition_prefetch(worker) // 2)
        self._partitions = Partitions(worker.queue, store, open_, self._arrived, self._leave_partition)
        self._most, self._most_while_slow = prefetch(worker), prefetch_while_slow(worker)
        self._is_full = False
        self._wake = asyncio.Event()
        self._in_flight: dict[asyncio.Task[None], str] = {}
        self._stopping = False
        self._leaving: set[str] = set()
        self._died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks = [
            self._start(self._partitions.keep()),
            self._start(self._dispatch()),
            self._start(self._settler.keep()),
        ]

    @property
    def in_flight(self) -> int:
        """How many deliveries it works on."""
        return len(self._in_flight)

    async def run(self) -> None:
        """Work until `close` is called. Raises what a part of it fails with."""
        await self._died

    async def drain(self, grace_s: float) -> None:
        """Take nothing new, let events in flight finish for `grace_s` seconds, and cancel the rest."""
        self._stopping = True
        self._pipeline.admission.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await drain(self._in_flight.keys(), grace_s, self._pipeline.handler.is_calling)

    async def close(self) -> None:
        """After `drain`: return what is not settled to the queues, and the partitions to other processes."""
        try:
            await asyncio.gather(self._pipeline.ahead.give_back_all(), self._settle_all())
            await self._partitions.close()
        finally:
            if not self._died.done():
                self._died.set_result(None)

    def _start(self, part: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(part)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self._died.done():
            self._died.set_exception(error)

    def _arrived(self, partition: str, queue: Queue, received: Received) -> None:
        self._pipeline.observer.fetched(self._pipeline.worker.queue, received)
        facts = ordering_facts(received.headers, with_time=self._reorders)
        self._subject_queues.add(
            _Message(received, queue),
            subject=facts.ordered_by,
            partition=partition,
            event_id=event_key(facts.event_id, received.headers),
            occurred_s=facts.occurred_s,
            now_s=time.monotonic(),
        )
        self._wake.set()

    async def _dispatch(self) -> None:
        while True:
            await self._pipeline.breaker.admitted()
            slot = await self._next()
            task = self._start(self._work_until_idle(slot))
            self._in_flight[task] = slot.partition
            task.add_done_callback(self._task_ended)

    async def _next(self) -> Slot[_Message]:
        """Wait for the next event that may be handled, and for room among those in flight."""
        while not self._has_room() or (slot := self._ready()) is None:
            self._wake.clear()
            due_s = None if self._is_full else self._subject_queues.due_s()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due_s is None else max(0.0, due_s - time.monotonic())):
                    await self._wake.wait()
        return slot

    def _limit(self) -> int:
        """How many events may be in flight. More than are handled at a time help only while calls are short."""
        return self._most if self._pipeline.handler.latency.is_quick else self._most_while_slow

    def _has_room(self) -> bool:
        self._is_full = len(self._in_flight) >= self._limit()
        return not self._is_full

    def _ready(self) -> Slot[_Message] | None:
        """The next event, if one may be handled now. Lost deliveries are skipped: they come again, in their order."""
        while (slot := self._subject_queues.next(time.monotonic())) is not None:
            if slot.item.queue.holds(slot.item.received):
                return slot
            self._subject_queues.done(slot, time.monotonic())
        return None

    async def _work_until_idle(self, slot: Slot[_Message] | None) -> None:
        """Handle an event and then what is ready next. A task for each event would double its cost."""
        this = cast("asyncio.Task[None]", asyncio.current_task())
        while slot is not None:
            self._in_flight[this] = slot.partition
            await self._work(slot)
            if self._subject_queues.due_s() is not None or self._has_new_room():
                self._wake.set()  # what the dispatcher waits for has changed
            slot = None if self._must_end(slot.partition) else self._ready()

    def _has_new_room(self) -> bool:
        return self._is_full and len(self._in_flight) < self._limit()

    def _must_end(self, partition: str) -> bool:
        is_open = self._pipeline.breaker.is_open
        return self._stopping or partition in self._leaving or is_open or len(self._in_flight) > self._limit()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        del self._in_flight[task]
        self._wake.set()

    async def _work(self, slot: Slot[_Message]) -> None:
        message, started = slot.item, time.monotonic()
        work = _repeat(message.received) if slot.is_repeat else await self._try(slot)
        outcome = work.outcome
        if isinstance(outcome, Again) and not self._goes_last(slot, outcome):
            was_tried = outcome.reason not in _NOT_TRIED
            await self._pipeline.let_go(work)
            delay_s = self._subject_queues.again(slot, outcome.delay_s, time.monotonic(), was_tried=was_tried)
            work = msgspec.structs.replace(work, outcome=msgspec.structs.replace(outcome, delay_s=round(delay_s, 3)))
            self._report(self._pipeline.worker.queue, work, time.monotonic() - started)
        elif work.held:
            await self._pipeline.settle(message.queue, work, partial(self._settled, slot, work, started))
        else:
            if not self._settler.takes(message.queue, message.received, outcome):
                await message.queue.settle(message.received, outcome)
            self._settled(slot, work, started)
        if isinstance(outcome, Again):
            await asyncio.sleep(0)  # an event that is retried at once lets others run

    def _settled(self, slot: Slot[_Message], work: Work, started: float) -> None:
        parked = isinstance(work.outcome, Parked) and slot.item.queue.holds(slot.item.received)
        self._subject_queues.done(slot, time.monotonic(), parked=parked)
        self._report(self._pipeline.worker.queue, work, time.monotonic() - started)

    def _try(self, slot: Slot[_Message]) -> Coroutine[Any, Any, Work]:
        self._claim_next(slot)
        working = self._pipeline.take(slot.item.received, last=slot.last)
        return self._with_claim_ahead(slot.event_id, working) if slot.event_id in self._pipeline.ahead else working

    async def _with_claim_ahead(self, event_id: str, working: Coroutine[Any, Any, Work]) -> Work:
        """The work on an event whose claim was asked for ahead. It may be left over, where the event is not wanted."""
        try:
            work = await working
        except BaseException:
            await self._pipeline.ahead.give_back(event_id)
            raise
        try:
            await self._pipeline.ahead.give_back(event_id)
        except BaseException:
            await self._pipeline.let_go(work)
            raise
        return work

    def _claim_next(self, slot: Slot[_Message]) -> None:
        """Claim the next event of a subject with many events, while calls are short."""
        if len(slot.queue.waiting) >= _MANY and self._pipeline.handler.latency.is_quick:
            following = slot.queue.waiting[0]
            if following.event_id != slot.event_id:
                self._pipeline.ahead.ask(following.event_id, slot.queue.subject, slot.partition)

    def _goes_last(self, slot: Slot[_Message], outcome: Again) -> bool:
        """Decline the partition of an unwanted event. It keeps its place, unless that leaves no room for others."""
        if outcome.reason != UNWANTED:
            return False
        self._partitions.decline(slot.partition)
        now_s = time.monotonic()
        if now_s >= slot.arrived_s + MAX_WAIT_S:
            return True
        return self._blocked.must_make_room(slot.partition, self._subject_queues.blocked(slot, now_s), now_s)

    async def _leave_partition(self, partition: str, lost: bool) -> None:  # noqa: FBT001  a callback's
        if lost:
            self._pipeline.observer.partition_lost(self._pipeline.worker.queue)
        self._subject_queues.leave(partition)
        self._blocked.leave(partition)
        self._leaving.add(partition)
        try:
            ours = {task for task, theirs in self._in_flight.items() if theirs == partition}
            self._pipeline.admission.turn_away(ours)
            await self._end(ours, 0 if lost else None)
            await self._pipeline.ahead.give_back_all(partition)
            await self._settle_all()
        finally:
            self._leaving.discard(partition)

    async def _settle_all(self) -> None:
        with suppress(Unreachable):  # what is not settled comes again, and is a duplicate
            await self._settler.flush()

    async def _end(self, tasks: set[asyncio.Task[None]], grace_s: float | None) -> None:
        """Wait for tasks, and cancel those that take longer."""
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=grace_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)


def _repeat(received: Received) -> Work:
    envelope: Envelope | None = None
    with suppress(Unreadable):
        envelope = from_headers(received.headers, received.content_type, received.body)
    return Work(received, envelope, (), DUPLICATE)
