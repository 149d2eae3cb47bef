"""The queues in which the events of an ordered worker wait, one for each subject. Time is an argument.

The first event of each queue is in flight, one at a time. An event that failed stays first and is tried again later.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, count, islice
from typing import Generic, TypeVar

import msgspec

from hookline.schemas.broker import MAX_UNSETTLED_S
from hookline.schemas.process_states import HeldBackState

T = TypeVar("T")

MAX_WAIT_S = MAX_UNSETTLED_S / 2
HURRIED_S = 5.0
"""How long the events of a subject that stands in the way of others are tried again, all that fail in a row."""
MANY = 16
"""A subject with so many waiting events has every second turn, and its next event is claimed ahead."""


class Slot(msgspec.Struct, Generic[T], eq=False):
    """An event in its queue. `last`: it is not tried again, however its next attempt ends.

    `is_repeat`: another delivery of the same event was parked while this one waited.
    """

    item: T
    event_id: str
    arrived_s: float
    queue: "_SubjectQueue[T]"
    failed_s: float | None = None  # when it first failed
    last: bool = False
    is_repeat: bool = False
    is_held: bool = False

    @property
    def partition(self) -> str:
        """The word of its partition."""
        return self.queue.partition.word


class _SubjectQueue(msgspec.Struct, Generic[T], eq=False):
    subject: str | None
    partition: "_Partition[T]"
    waiting: deque[Slot[T]] = msgspec.field(default_factory=deque)
    held: list[tuple[float, int, Slot[T]]] = msgspec.field(default_factory=list)  # a heap, by the time of the event
    arrivals: deque[Slot[T]] | None = None  # of events that are held back, or were, if there are any
    in_flight: bool = False
    ready_s: float = 0.0  # the first event is not tried before
    hurried_s: float | None = None  # when the first of the events failed that have failed in a row while it is hurried
    wake_s: float | None = None  # its entry among the queues that wait
    is_ready: bool = False

    def __iter__(self) -> Iterator[Slot[T]]:
        return chain(self.waiting, (slot for _, _, slot in self.held))


class _Partition(msgspec.Struct, Generic[T], eq=False):
    """The queues of a partition. Once it `is_left`, another takes its place, if it comes back."""

    word: str
    taken: int = 0
    by_subject: dict[str, _SubjectQueue[T]] = msgspec.field(default_factory=dict)
    without_subject: set[_SubjectQueue[T]] = msgspec.field(default_factory=set)
    is_left: bool = False

    def __iter__(self) -> Iterator[_SubjectQueue[T]]:
        return chain(self.by_subject.values(), self.without_subject)


class SubjectQueues(Generic[T]):
    """The queues of one worker in one process.

    An event is tried again for `hold_s` seconds after it first failed. Its subject waits meanwhile.
    A subject is hurried if its first event has waited for too long, or if others stand still behind it: `max_taken`
    events of its partition are here, which is all that a process takes, most of them wait, and more than a quarter are
    its own. Its events are then tried again for `HURRIED_S` seconds in all, until one succeeds, and after that have one
    attempt each.
    Subjects that are ready take turns. Those with `MANY` waiting events have every second turn: each of their events
    waits for the one before, so that they would still go on after all others have ended.
    Events are held back for `reorder_s` seconds, and go on by the time at which they occurred. `has_same_end` says
    of two deliveries of one event whether the end of the first is that of the second: a replay starts anew.
    """

    def __init__(
        self,
        *,
        hold_s: float,
        reorder_s: float = 0.0,
        max_taken: int = 256,
        has_same_end: Callable[[T, T], bool] = lambda *_: True,
    ) -> None:
        self._hold_s = hold_s
        self._reorder_s = reorder_s
        self._max_taken = max_taken
        self._has_same_end = has_same_end
        self._partitions: dict[str, _Partition[T]] = {}
        self._ready: deque[_SubjectQueue[T]] = deque()
        self._ready_with_many: deque[_SubjectQueue[T]] = deque()
        self._had_many = False  # the queue that had the last turn
        self._later: list[tuple[float, int, _SubjectQueue[T]]] = []
        self._numbers = count()

    def add(
        self, item: T, *, subject: str | None, partition: str, event_id: str, occurred_s: float, now_s: float
    ) -> None:
        """Add an event that arrived. Without a subject it gets a queue of its own."""
        queue = self._queue(subject, partition)
        slot = Slot(item, event_id, now_s, queue)
        if self._reorder_s and subject is not None:
            self._hold(slot, occurred_s)
        else:
            queue.waiting.append(slot)
        queue.partition.taken += 1
        if queue.ready_s > now_s + HURRIED_S and self._has_many(queue):
            queue.ready_s = now_s + HURRIED_S
        if slot.is_held or not (queue.in_flight or queue.is_ready):
            self._schedule(queue, now_s)

    def next(self, now_s: float) -> Slot[T] | None:
        """The next event that may be handled, in flight from now on; None if there is none."""
        if self._later:
            self._wake(now_s)
        while self._ready or self._ready_with_many:
            self._had_many = bool(self._ready_with_many) and not (self._had_many and self._ready)
            queue = (self._ready_with_many if self._had_many else self._ready).popleft()
            queue.is_ready = False
            if queue.waiting and not queue.in_flight:
                return self._take(queue, now_s)
        return None

    def due_s(self) -> float | None:
        """When `next` has something although nothing arrived or ended; None if never."""
        return self._later[0][0] if self._later else None

    def blocked(self, slot: Slot[T], now_s: float) -> int:
        """How many events of its partition wait for a later time, or behind this one, which is in flight."""
        theirs = slot.queue.partition
        return 1 + sum(len(each.waiting) for each in theirs if each.ready_s > now_s or each is slot.queue)

    def held_back(self, now_s: float) -> HeldBackState | None:
        """The subjects that an event holds back which waits for its next attempt; None if there are none."""
        failed = [
            (first.failed_s, first.event_id, len(queue.waiting) - 1)
            for partition in self._partitions.values()
            for queue in partition.by_subject.values()
            for first in islice(queue.waiting, 1)
            if first.failed_s is not None
        ]
        if not failed:
            return None
        failed_s, event_id, _ = min(failed)
        return HeldBackState(
            subjects=len(failed),
            events=sum(events for _, _, events in failed),
            event_id=event_id,
            seconds=now_s - failed_s,
        )

    def taken(self, partition: str) -> int:
        """How many events of a partition are here: in flight, waiting, or held back."""
        return self._partitions[partition].taken if partition in self._partitions else 0

    def done(self, slot: Slot[T], now_s: float, *, parked: bool = False) -> None:
        """End an event that was in flight and is settled: the next of its queue may go on."""
        queue = slot.queue
        if parked:
            for other in queue:
                if other.event_id == slot.event_id and self._has_same_end(slot.item, other.item):
                    other.is_repeat = True
        else:
            queue.hurried_s = None
        queue.partition.taken -= 1
        queue.in_flight = False
        queue.ready_s = now_s
        self._schedule(queue, now_s)

    def again(self, slot: Slot[T], delay_s: float, now_s: float, *, was_tried: bool = True) -> float:
        """End an event that was in flight and is tried again. Returns the delay, cut to the time that it has left.

        An event that was not really tried, because the store was away for example, loses none of its time.
        """
        queue = slot.queue
        if was_tried:
            slot.failed_s = now_s if slot.failed_s is None else slot.failed_s
            left_s = max(0.0, self._limit_s(slot, now_s) - now_s)
            slot.last = delay_s >= left_s
            delay_s = min(delay_s, left_s)
            if not slot.last and self._has_many(queue):  # others may stand still by then
                delay_s = min(delay_s, HURRIED_S)
        queue.in_flight = False
        queue.ready_s = now_s + delay_s
        if not queue.partition.is_left:
            queue.waiting.appendleft(slot)
        self._schedule(queue, now_s)
        return delay_s

    def leave(self, partition: str) -> None:
        """Forget the waiting events of a partition. An event in flight is still settled."""
        left = self._partitions.pop(partition, None)
        if left is None:
            return
        left.is_left = True
        for queue in left:
            queue.waiting.clear()
            queue.held.clear()
            queue.arrivals = None

    def _queue(self, subject: str | None, word: str) -> _SubjectQueue[T]:
        partition = self._partitions.get(word)
        if partition is None:
            partition = self._partitions[word] = _Partition(word)
        if subject is None:
            queue: _SubjectQueue[T] = _SubjectQueue(None, partition)
            partition.without_subject.add(queue)
            return queue
        found = partition.by_subject.get(subject)
        if found is None:
            found = partition.by_subject[subject] = _SubjectQueue(subject, partition)
        return found

    def _hold(self, slot: Slot[T], occurred_s: float) -> None:
        """Hold an event back that has arrived."""
        queue, slot.is_held = slot.queue, True
        heapq.heappush(queue.held, (occurred_s, next(self._numbers), slot))
        if queue.arrivals is None:
            queue.arrivals = deque()
        queue.arrivals.append(slot)

    def _wake(self, now_s: float) -> None:
        """Schedule the queues whose time has come."""
        while self._later and self._later[0][0] <= now_s:
            wake_s, _, queue = heapq.heappop(self._later)
            if queue.wake_s == wake_s:
                queue.wake_s = None
                self._schedule(queue, now_s)

    def _take(self, queue: _SubjectQueue[T], now_s: float) -> Slot[T]:
        slot = queue.waiting.popleft()
        queue.in_flight = True
        if slot.failed_s is None and queue.hurried_s is None:
            slot.last = not self._hold_s
        elif not slot.last:
            slot.last = now_s >= self._limit_s(slot, now_s)
        return slot

    def _limit_s(self, slot: Slot[T], now_s: float) -> float:
        """Until when an event is tried again. Either it has failed, or others of its subject while that was hurried."""
        queue, limit_s = slot.queue, (now_s if slot.failed_s is None else slot.failed_s) + self._hold_s
        if not self._is_hurried(slot, now_s):
            return limit_s
        queue.hurried_s = now_s if queue.hurried_s is None else queue.hurried_s
        return min(limit_s, queue.hurried_s + HURRIED_S)

    def _is_hurried(self, slot: Slot[T], now_s: float) -> bool:
        if now_s >= slot.arrived_s + MAX_WAIT_S + self._reorder_s:
            return True
        is_full = slot.queue.partition.taken >= self._max_taken
        return is_full and self._has_many(slot.queue) and self.blocked(slot, now_s) > self._max_taken // 2

    def _has_many(self, queue: _SubjectQueue[T]) -> bool:
        return len(queue.waiting) > self._max_taken // 4

    def _schedule(self, queue: _SubjectQueue[T], now_s: float) -> None:
        """Put a queue among the ready ones, among those that wait for their time, or nowhere."""
        if queue.arrivals:
            self._release(queue, queue.arrivals, now_s)
        if queue.in_flight or queue.is_ready:
            return
        if queue.waiting:
            ready_s = queue.ready_s
        elif queue.arrivals:
            ready_s = queue.arrivals[0].arrived_s + self._reorder_s
        else:
            _forget(queue)
            return
        if ready_s <= now_s:
            queue.is_ready, queue.wake_s = True, None
            (self._ready if len(queue.waiting) < MANY else self._ready_with_many).append(queue)
        elif queue.wake_s != ready_s:
            queue.wake_s = ready_s
            heapq.heappush(self._later, (ready_s, next(self._numbers), queue))

    def _release(self, queue: _SubjectQueue[T], arrivals: deque[Slot[T]], now_s: float) -> None:
        """Release what was held back for long enough, each behind what occurred before it."""
        while arrivals and arrivals[0].arrived_s + self._reorder_s <= now_s:
            oldest = arrivals[0]
            while oldest.is_held:
                slot = heapq.heappop(queue.held)[2]
                slot.is_held = False
                queue.waiting.append(slot)
            while arrivals and not arrivals[0].is_held:
                arrivals.popleft()


def _forget(queue: _SubjectQueue[T]) -> None:
    partition = queue.partition
    if queue.subject is None:
        partition.without_subject.discard(queue)
    elif partition.by_subject.get(queue.subject) is queue:
        del partition.by_subject[queue.subject]
