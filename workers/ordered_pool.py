"""Runs an ordered worker: one event of a subject at a time, in order, and many subjects at a time."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from hookline.schemas.broker import Again, Done, Parked, Queue, Received
from hookline.schemas.envelope import Envelope, from_headers, ordering_facts
from hookline.schemas.errors import Unreachable, Unreadable
from hookline.schemas.process_states import HeldBackState
from hookline.workers.api import Order
from hookline.workers.attempts import copy_number, starts_anew
from hookline.workers.blocked_partitions import BlockedPartitions
from hookline.workers.fast_lane import Entry, FastLane
from hookline.workers.partitions import Open, Partitions
from hookline.workers.pipeline import Pipeline
from hookline.workers.pool import Report, timed
from hookline.workers.prefetch import partition_prefetch
from hookline.workers.settler import Settler
from hookline.workers.store import Store
from hookline.workers.subject_queues import MANY, MAX_WAIT_S, Slot, SubjectQueues
from hookline.workers.unwanted import UNWANTED
from hookline.workers.work import DUPLICATE, Work, event_key

_NOT_TRIED = frozenset({"busy", UNWANTED, Unreachable.reason})


class _Message(msgspec.Struct, frozen=True):
    """A message with the queue to settle it in."""

    received: Received
    queue: Queue


class OrderedPool:
    """An ordered worker in one process. `open_` opens a consumer on a partition."""

    def __init__(self, pipeline: Pipeline, store: Store, open_: Open, report: Report) -> None:
        worker = pipeline.worker
        order = worker.order or Order()
        most_of_partition = partition_prefetch(worker)
        self._pipeline = pipeline
        self._report = report
        self._reorders = bool(order.reorder_s)
        self._subject_queues: SubjectQueues[_Message] = SubjectQueues(
            hold_s=order.hold_s,
            reorder_s=order.reorder_s,
            max_taken=most_of_partition,
            has_same_end=_has_same_end,
        )
        self._settler = Settler(pipeline.unsynced)
        self._blocked = BlockedPartitions(most_of_partition)
        self._partitions = Partitions(worker.queue, store, open_, self._arrived, self._leave_partition)
        self._wake = asyncio.Event()
        self._lane = FastLane(pipeline, self._work, self._end, self._done, self._wake.set)
        self._died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks = [
            self._start(self._partitions.keep()),
            self._start(self._dispatch()),
            self._start(self._settler.keep()),
            self._start(self._lane.run()),
        ]

    @property
    def in_flight(self) -> int:
        """How many deliveries it works on."""
        return self._lane.in_flight

    @property
    def unsettled(self) -> int:
        """How many messages it has of the broker and has not settled: some wait behind others of their subject."""
        return self._partitions.unsettled

    @property
    def held_back(self) -> HeldBackState | None:
        """The subjects that wait behind an event which failed; None if there are none."""
        return self._subject_queues.held_back(time.monotonic())

    async def run(self) -> None:
        """Work until `close` is called. Raises what a part of it fails with."""
        await self._died

    async def drain(self, grace_s: float) -> bool:
        """Take nothing new, let events in flight finish for `grace_s` seconds, and cancel the rest.

        Whether broker or store answered nothing.
        """
        self._pipeline.admission.close()
        self._lane.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        return await self._lane.drain(grace_s)

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

    def _arrived(self, partition: str, queue: Queue, received: Sequence[Received]) -> None:
        self._pipeline.observer.fetched(self._pipeline.worker.queue, received)
        now_s = time.monotonic()
        for each in received:
            facts = ordering_facts(each.headers, with_time=self._reorders)
            self._subject_queues.add(
                _Message(each, queue),
                subject=facts.ordered_by,
                partition=partition,
                event_id=event_key(facts.event_id, each.headers),
                occurred_s=facts.occurred_s,
                now_s=now_s,
            )
        self._wake.set()

    async def _dispatch(self) -> None:
        """Begin with all events that may be handled, as many as may be in flight."""
        while True:
            await self._pipeline.breaker.admitted()
            while not (slots := self._ready(room := self._room())):
                await self._change(is_full=not room)
            self._begin(slots)

    async def _change(self, *, is_full: bool) -> None:
        """Wait until another event may be handled, or until there is room if the pool is full."""
        self._wake.clear()
        due_s = None if is_full else self._subject_queues.due_s()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if due_s is None else max(0.0, due_s - time.monotonic())):
                await self._wake.wait()

    def _room(self) -> int:
        """How many events may be taken now: only one while the breaker is open."""
        room = max(0, self._lane.limit - self.in_flight)
        return min(room, 1) if self._pipeline.breaker.is_open else room

    def _ready(self, most: int) -> Sequence[Slot[_Message]]:
        """The next events that may be handled now. Lost deliveries are skipped: they come again, in their order."""
        slots: list[Slot[_Message]] = []
        now_s = time.monotonic()
        while len(slots) < most and (slot := self._subject_queues.next(now_s)) is not None:
            if slot.item.queue.holds(slot.item.received):
                slots.append(slot)
            else:
                self._subject_queues.done(slot, now_s)
        return slots

    def _begin(self, slots: Sequence[Slot[_Message]]) -> None:
        entries, now_s = [], time.monotonic()
        for slot in slots:
            entry = Entry(slot.item.received, slot, now_s, last=slot.last)
            if slot.is_repeat:
                self._lane.settle(entry, _repeat(entry.received))
            else:
                if len(slot.queue.waiting) >= MANY:
                    self._claim_next(slot)
                entries.append(entry)
        self._lane.begin(entries)

    async def _end(self, entry: Entry[Slot[_Message]], work: Work) -> None:
        if isinstance(work.outcome, Again) and not self._goes_last(entry.place, work.outcome):
            await self._again(entry, work, work.outcome)
        elif isinstance(work.outcome, Done) and not work.held:
            self._done([entry], [work])
        else:
            settled = partial(self._settled, entry, work)
            await self._pipeline.settle(entry.place.item.queue, work, settled)

    async def _again(self, entry: Entry[Slot[_Message]], work: Work, outcome: Again) -> None:
        """Try the event again at its place."""
        was_tried = outcome.reason not in _NOT_TRIED
        await self._pipeline.let_go(work)
        delay_s = self._subject_queues.again(entry.place, outcome.delay_s, time.monotonic(), was_tried=was_tried)
        tried_again = msgspec.structs.replace(outcome, delay_s=round(delay_s, 3))
        self._reported([entry], [msgspec.structs.replace(work, outcome=tried_again)])

    def _done(self, entries: Sequence[Entry[Slot[_Message]]], works: Sequence[Work]) -> None:
        self._settler.done([(entry.place.item.queue, entry.received) for entry in entries])
        now_s = time.monotonic()
        for entry in entries:
            self._subject_queues.done(entry.place, now_s)
        self._reported(entries, works)

    def _settled(self, entry: Entry[Slot[_Message]], work: Work) -> None:
        message = entry.place.item
        parked = isinstance(work.outcome, Parked) and message.queue.holds(message.received)
        self._subject_queues.done(entry.place, time.monotonic(), parked=parked)
        self._reported([entry], [work])

    def _reported(self, entries: Sequence[Entry[Slot[_Message]]], works: Sequence[Work]) -> None:
        self._report(self._pipeline.worker.queue, timed(entries, works))

    def _work(self, entry: Entry[Slot[_Message]]) -> Coroutine[Any, Any, Work]:
        """Work on an event that is not an ordinary one, or whose claim was asked for ahead."""
        working = self._pipeline.take(entry.received, last=entry.last)
        key = entry.place.event_id
        return self._with_claim_ahead(key, working) if key in self._pipeline.ahead.asked else working

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
        if self._pipeline.handler.latency.is_quick:
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
        blocked, taken = self._subject_queues.blocked(slot, now_s), self._subject_queues.taken(slot.partition)
        return self._blocked.must_make_room(slot.partition, blocked, taken, now_s)

    async def _leave_partition(self, partition: str, lost: bool) -> None:  # noqa: FBT001  a callback's
        if lost:
            self._pipeline.observer.partition_lost(self._pipeline.worker.queue)
        self._subject_queues.leave(partition)
        self._blocked.leave(partition)
        await self._lane.leave(lambda slot: slot.partition == partition, at_once=lost)
        await self._pipeline.ahead.give_back_all(partition)
        await self._settle_all()

    async def _settle_all(self) -> None:
        with suppress(Unreachable):  # what is not settled comes again, and is a duplicate
            await self._settler.flush()


def _has_same_end(parked: _Message, other: _Message) -> bool:
    return not starts_anew(copy_number(other.received.headers), copy_number(parked.received.headers))


def _repeat(received: Received) -> Work:
    envelope: Envelope | None = None
    with suppress(Unreadable):
        envelope = from_headers(received.headers, received.content_type, received.body)
    return Work(received, envelope, (), DUPLICATE)
