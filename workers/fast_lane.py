"""The fast lane of a worker: deliveries in groups. Each step is taken for all that are ready, without a task for each.

Ordinary deliveries take it: those with one event, which is wanted. A task takes any other through `Pipeline.take`; so
it does all of a store that is not asked in groups, and of a transactional worker.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from hookline.schemas.broker import Done, Received
from hookline.workers.admission import Turn
from hookline.workers.draining import drain
from hookline.workers.pipeline import Pipeline
from hookline.workers.prefetch import prefetch, prefetch_while_slow
from hookline.workers.store import Acquired
from hookline.workers.work import HANDLED, Work

T = TypeVar("T")

_STEPS = 3  # a call ends, is finished or its claim is given up, and is settled
_ENOUGH = 4  # a fraction of what may be in flight: when so much was called, nothing more is waited for
_LAST_S = 2.0  # for what comes after a call that was cancelled
_AT_ONCE_S = 0.002  # after so long a task lets the event loop go on, although none of its calls has waited
_AT_ONCE_BYTES = 2**20  # are decoded in some milliseconds


class Entry(msgspec.Struct, Generic[T], eq=False):
    """A delivery in flight. `place` is where its pool has it from. The rest is known one step after the other."""

    received: Received
    place: T
    started_s: float
    last: bool = False
    case: Any = None  # a Case, of an ordinary one
    claim: Any = None
    ending: Any = None
    task: "asyncio.Task[None] | None" = None  # that has begun to work on nothing else
    is_left: bool = False


class FastLane(Generic[T]):
    """`work` takes a delivery that is not an ordinary one, and `end` settles and reports it.

    `done` does so for ordinary ones that are done. `left` is called when some are no longer in flight. What was called
    is finished together with what is called in the next `gather_s`, unless that is much.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        work: Callable[[Entry[T]], Awaitable[Work]],
        end: Callable[[Entry[T], Work], Awaitable[None]],
        done: Callable[[Sequence[Entry[T]], Sequence[Work]], None],
        left: Callable[[], object],
        *,
        gather_s: float = 0.0,
    ) -> None:
        self._pipeline = pipeline
        self._expected, self._call = pipeline.calls.expected, pipeline.handler.call
        self._advance = pipeline.watermark.advance
        self._work = work
        self._end = end
        self._done = done
        self._left = left
        self._gather_s = gather_s
        self._most, self._most_while_slow = prefetch(pipeline.worker), prefetch_while_slow(pipeline.worker)
        self._loop = asyncio.get_running_loop()
        self._entries: set[Entry[T]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready: deque[Entry[T]] = deque()
        self._called: list[Entry[T]] = []
        self._finishing: asyncio.Handle
        self._enough = 0
        self._calling = 0
        self._is_starting = False
        self._is_closed = False
        self._changed = asyncio.Event()
        self._died: asyncio.Future[None] = self._loop.create_future()

    @property
    def in_flight(self) -> int:
        return len(self._entries)

    @property
    def limit(self) -> int:
        """How many deliveries may be in flight. More than are handled at a time help only while calls are short."""
        return self._most if self._pipeline.handler.latency.is_quick else self._most_while_slow

    def begin(self, entries: Sequence[Entry[T]]) -> None:
        """Take these deliveries as far as they go. Large ones wait for another turn of the event loop."""
        self._entries.update(entries)
        rest = self._begin_some(entries)
        if rest:
            self._start(self._begin_rest(rest))

    def settle(self, entry: Entry[T], work: Work) -> None:
        """End a delivery whose outcome is known."""
        self._entries.add(entry)
        self._start(self._settle(entry, _at_once(work)))

    async def run(self) -> None:
        """Raise what a part of it fails with. Otherwise this never ends."""
        await self._died

    async def leave(self, belongs: Callable[[T], bool], *, at_once: bool) -> None:
        """Return when deliveries from some places are no longer in flight.

        Those whose call has not begun are given back. Running calls finish, or are cancelled `at_once`.
        """
        theirs = {entry for entry in self._entries if belongs(entry.place)}
        for entry in theirs:
            entry.is_left = True
        self._give_back_ready()
        begun = {entry.task for entry in theirs if entry.task is not None}
        self._pipeline.admission.turn_away(begun)
        for task in begun if at_once else ():
            task.cancel()
        while not theirs.isdisjoint(self._entries):
            self._changed.clear()
            await self._changed.wait()

    def stop(self) -> None:
        """Call nothing more: what is claimed for it is given back."""
        self._is_closed = True
        self._give_back_ready()

    async def drain(self, grace_s: float) -> bool:
        """Stop, and let what is in flight finish for `grace_s` seconds, with what comes after it; cancel the rest.

        Whether broker or store answered nothing.
        """
        self.stop()
        is_silent, until_s = False, time.monotonic() + grace_s
        stuck: set[asyncio.Task[None]] = set()
        await asyncio.sleep(0)  # every task has begun
        for _ in range(_STEPS):
            self._finish_called()
            drained = await drain(self._tasks - stuck, grace_s, self._pipeline.handler.is_calling)
            is_silent |= drained.is_silent
            stuck.update(drained.stuck)
            grace_s = _LAST_S if is_silent else max(until_s - time.monotonic(), _LAST_S)
        return is_silent

    def _start(self, step: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._died.done():
            self._died.set_exception(error)

    def _leave(self, entries: Iterable[Entry[T]]) -> None:
        self._entries.difference_update(entries)
        self._changed.set()
        self._left()

    def _begin_some(self, entries: Sequence[Entry[T]]) -> Sequence[Entry[T]]:
        """Begin with as many as one turn of the event loop may decode; the others."""
        group, ordinary = [], self._pipeline.ordinary
        begun = size = 0
        for entry in entries:
            begun += 1
            size += len(entry.received.body)
            entry.case = ordinary(entry.received, last=entry.last)
            if entry.case is None:
                self._start(self._work_alone(entry))
            else:
                group.append(entry)
            if size >= _AT_ONCE_BYTES:
                break
        if group:
            self._start(self._claim(group))
        return entries[begun:]

    async def _begin_rest(self, entries: Sequence[Entry[T]]) -> None:
        try:
            while entries and not self._is_closed:
                await asyncio.sleep(0)
                entries = self._begin_some(entries)
        finally:
            self._leave(entries)

    async def _work_alone(self, entry: Entry[T]) -> None:
        if entry.is_left or self._is_closed:
            self._leave([entry])
        else:
            await self._settle(entry, self._work(entry))

    async def _claim(self, group: Sequence[Entry[T]]) -> None:
        try:
            claims = await self._pipeline.claim_all([entry.case for entry in group])
        except asyncio.CancelledError:  # the store may have carried out the claims
            self._give_back(group)
            raise
        for entry, claim in zip(group, claims, strict=True):
            if not isinstance(claim, Acquired) or claim.failures or claim.copy or claim.tried or claim.deaths:
                self._start(self._settle(entry, self._pipeline.work_on(entry.case, claim)))
            elif entry.is_left or self._is_closed:
                self._give_back([entry])
            else:
                entry.claim = claim
                self._ready.append(entry)
        self._call_ready()

    def _call_ready(self) -> None:
        """Start a task that calls the function for what is ready, one after the other, unless there are enough."""
        if self._ready and not self._is_starting and self._calling < self._pipeline.worker.concurrency:
            self._is_starting = True
            self._calling += 1
            self._start(self._call_each())

    async def _call_each(self) -> None:
        """While a call waits for something, the next task goes on with what is ready."""
        self._is_starting = False
        turn = self._pipeline.admission.turn()
        try:
            await self._call_in_turn(turn)
        finally:
            turn.end()
            self._calling -= 1
            self._call_ready()

    async def _call_in_turn(self, turn: Turn) -> None:
        """Call the function for one delivery after the other, as long as any is ready."""
        task, expected, call = asyncio.current_task(self._loop), self._expected, self._call
        until_s = time.monotonic() + _AT_ONCE_S
        while self._ready:
            entry = self._ready.popleft()
            if not self._is_starting:
                self._call_ready()
            entry.task = task
            try:
                if not turn.has_begun and not turn.try_begin():
                    await turn.begin()
                entry.ending = ending = expected(entry.case, entry.claim)
                if ending.outcome is HANDLED:
                    await call(entry.case, late=ending.late)
            except Exception as error:  # noqa: BLE001  a function may raise anything
                self._fail(entry, error)
            except asyncio.CancelledError:  # the call has not finished either
                turn.end()
                await self._give_up(entry)
                raise
            else:
                self._note_called(entry)
            turn.give_way()
            if entry.is_left:  # this task is turned away, whatever it would do next
                break
            if time.monotonic() > until_s:
                await asyncio.sleep(0)
                until_s = time.monotonic() + _AT_ONCE_S

    def _fail(self, entry: Entry[T], error: Exception) -> None:
        entry.task = None  # it goes on with another delivery
        self._start(self._settle(entry, self._pipeline.failed(entry.case, entry.claim, error)))

    def _note_called(self, entry: Entry[T]) -> None:
        entry.task = None
        case = entry.case
        if case.subject is not None:  # now, and not when it is finished: the next call of its subject may be sooner
            self._advance(case.subject, case.occurred_s)
        self._called.append(entry)
        if len(self._called) == 1:
            self._enough = self.limit // _ENOUGH
            wait_s = self._gather_s if self._enough > 1 else 0.0  # then after this turn of the event loop
            self._finishing = self._loop.call_later(wait_s, self._finish_called)
        elif len(self._called) == self._enough:
            self._loop.call_soon(self._finish_called)

    def _finish_called(self) -> None:
        if self._called:
            group, self._called = self._called, []
            self._finishing.cancel()
            self._start(self._finish(group))

    async def _finish(self, group: Sequence[Entry[T]]) -> None:
        left: Sequence[Entry[T]] = group
        try:
            works = await self._pipeline.finish_all([(entry.case, entry.ending) for entry in group])
            failed = [each for each in zip(group, works, strict=True) if not isinstance(each[1].outcome, Done)]
            if failed:
                left = [entry for entry, work in zip(group, works, strict=True) if isinstance(work.outcome, Done)]
                works = [work for work in works if isinstance(work.outcome, Done)]
            for entry, work in failed:
                self.settle(entry, work)
            if works:
                self._done(left, works)
        finally:
            self._leave(left)

    async def _settle(self, entry: Entry[T], working: Awaitable[Work]) -> None:
        """End one delivery by itself, which may take long."""
        entry.task = asyncio.current_task(self._loop)
        try:
            await self._end(entry, await working)
        finally:
            self._leave([entry])

    def _give_back_ready(self) -> None:
        """Give back what is ready, and is not called any more."""
        ready, self._ready = self._ready, deque()
        for entry in ready:
            if entry.is_left or self._is_closed:
                self._give_back([entry])
            else:
                self._ready.append(entry)

    def _give_back(self, entries: Iterable[Entry[T]]) -> None:
        """Give up the claims on deliveries that are not settled here."""
        for entry in entries:
            entry.task = None
            self._start(self._give_up(entry))

    async def _give_up(self, entry: Entry[T]) -> None:
        try:
            await self._pipeline.give_up(entry.case)
        finally:
            self._leave([entry])


async def _at_once(work: Work) -> Work:
    return work
