"""Runs an ordered worker: one event of a subject at a time, in order, and many subjects at a time."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from datetime import datetime
from typing import Any, cast

import msgspec

from hookline.schemas.broker import Again, Done, Parked, Queue, Received
from hookline.schemas.envelope import Envelope, from_headers
from hookline.schemas.errors import Unreachable, Unreadable
from hookline.workers.api import Order, Worker
from hookline.workers.partitions import Open, Partitions
from hookline.workers.pipeline import Pipeline, Work, mark
from hookline.workers.pool import Report, in_hand
from hookline.workers.store import Store
from hookline.workers.subject_queues import Lines, Turn

_NO_TURN = frozenset({"busy", Unreachable.reason})
_MIN_PREFETCH = 256
_MIN_PREFETCH_TO_REORDER = 1024


class _Message(msgspec.Struct, frozen=True):
    """A message with the queue to settle it in."""

    received: Received
    queue: Queue


def partition_prefetch(worker: Worker[Any]) -> int:
    """How much of a partition a process takes ahead: enough that others find their way past a subject that waits."""
    reorders = worker.order is not None and worker.order.reorder_s
    return max(_MIN_PREFETCH_TO_REORDER if reorders else _MIN_PREFETCH, 4 * worker.concurrency)


class OrderedPool:
    """An ordered worker in one process; `open_` opens the queue of a partition."""

    def __init__(self, pipeline: Pipeline, store: Store, open_: Open, report: Report) -> None:
        worker = pipeline.worker
        order = worker.order or Order()
        crowd = partition_prefetch(worker) // 4
        self._pipeline = pipeline
        self._report = report
        self._lines: Lines[_Message] = Lines(hold_s=order.hold_s, reorder_s=order.reorder_s, crowd=crowd)
        self._partitions = Partitions(worker.queue, store, open_, self._arrived, self._leave)
        self._hands = asyncio.Semaphore(in_hand(worker))
        self._news = asyncio.Event()
        self._in_hand: dict[asyncio.Task[None], str] = {}
        self._stopping = False
        self._leaving: set[str] = set()
        self._died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks = [self._start(self._partitions.keep()), self._start(self._hand_out())]

    async def run(self) -> None:
        """Work until `stop` is called. Raises whatever a part of it dies of."""
        await self._died

    async def stop(self, grace_s: float) -> None:
        """Take nothing new, let what is in hand finish for `grace_s` seconds, and give back the rest."""
        self._stopping = True
        self._pipeline.begin_nothing()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._end(set(self._in_hand), grace_s)
        await self._partitions.close()
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
        headers = received.headers
        subject = headers.get("cloudEvents_subject")
        self._lines.add(
            _Message(received, queue),
            subject=f"{headers.get('cloudEvents_source')}/{subject}" if subject else None,
            partition=partition,
            event_id=mark(str(headers.get("cloudEvents_id", "")), headers),
            occurred_s=_occurred_s(headers.get("cloudEvents_time")),
            now_s=time.monotonic(),
        )
        self._news.set()

    async def _hand_out(self) -> None:
        while True:
            await self._hands.acquire()
            turn = await self._next()
            task = self._start(self._work_on(turn))
            self._in_hand[task] = turn.partition
            task.add_done_callback(self._set_down)

    async def _next(self) -> Turn[_Message]:
        """The next event whose turn it is."""
        while (turn := self._ready()) is None:
            self._news.clear()
            due_s = self._lines.due_s()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due_s is None else max(0.0, due_s - time.monotonic())):
                    await self._news.wait()
        return turn

    def _ready(self) -> Turn[_Message] | None:
        """An event whose turn it is now. What was lost meanwhile comes again, before all that came after it."""
        while (turn := self._lines.next(time.monotonic())) is not None:
            if turn.item.queue.holds(turn.item.received):
                return turn
            self._lines.done(turn, time.monotonic())
        return None

    async def _work_on(self, turn: Turn[_Message] | None) -> None:
        """Handle an event, and then what is ready by then: a task for each would cost as much as all the rest."""
        this = cast("asyncio.Task[None]", asyncio.current_task())
        while turn is not None:
            self._in_hand[this] = turn.partition
            await self._work(turn)
            if self._lines.due_s() is not None:  # somebody waits for that, or for what was due before
                self._news.set()
            turn = None if self._stopping or turn.partition in self._leaving else self._ready()

    def _set_down(self, task: asyncio.Task[None]) -> None:
        del self._in_hand[task]
        self._hands.release()
        self._news.set()

    async def _work(self, turn: Turn[_Message]) -> None:
        message, started = turn.item, time.monotonic()
        work = _repeat(message.received) if turn.is_repeat else await self._try(turn)
        outcome = work.outcome
        if isinstance(outcome, Again):
            had_its_turn = outcome.reason not in _NO_TURN
            delay_s = self._lines.again(turn, outcome.delay_s, time.monotonic(), had_its_turn=had_its_turn)
            work = msgspec.structs.replace(work, outcome=msgspec.structs.replace(outcome, delay_s=round(delay_s, 3)))
        else:
            await message.queue.settle(message.received, outcome)
            parked = isinstance(outcome, Parked) and message.queue.holds(message.received)
            self._lines.done(turn, time.monotonic(), parked=parked)
        self._report(self._pipeline.worker.queue, work, time.monotonic() - started)
        if isinstance(outcome, Again):
            await asyncio.sleep(0)  # one that is tried again at once does not keep everything else from its turn

    async def _try(self, turn: Turn[_Message]) -> Work:
        return await self._pipeline.work(turn.item.received, last=turn.last)

    async def _leave(self, partition: str, lost: bool) -> None:  # noqa: FBT001  a callback's
        self._lines.leave(partition)
        self._leaving.add(partition)
        try:
            ours = {task for task, theirs in self._in_hand.items() if theirs == partition}
            self._pipeline.turn_away(ours)
            await self._end(ours, 0 if lost else None)
        finally:
            self._leaving.discard(partition)

    async def _end(self, tasks: set[asyncio.Task[None]], grace_s: float | None) -> None:
        """Wait for tasks, and cut short those that take longer."""
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
    return Work(received, envelope, (), Done("duplicate"))


def _occurred_s(text: object) -> float:
    """0 for what is none of ours: it goes on as soon as it may, and is parked."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0
