"""The lines in which the events of an ordered worker wait, one for each subject. Time is an argument.

Of each line one event at a time is in hand, the first. One that failed stays first, and is tried again later.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_WAIT_S = 900.0  # RabbitMQ takes back what has no acknowledgement after half an hour


@dataclass(slots=True, eq=False)
class Turn(Generic[T]):
    """An event in its line. It is the `last` turn if it shall not be tried again, however it ends.

    `is_repeat`: while it waited, another delivery of the same event was parked.
    """

    item: T
    event_id: str
    partition: str
    occurred_s: float
    arrived_s: float
    number: int
    line: "_Line[T]"
    taken_s: float = 0.0
    failed_s: float | None = None  # for the first time
    last: bool = False
    is_repeat: bool = False
    is_held: bool = False


@dataclass(slots=True, eq=False)
class _Line(Generic[T]):
    subject: str | None
    partition: str
    waiting: deque[Turn[T]] = field(default_factory=deque)
    held: list[tuple[float, int, Turn[T]]] = field(default_factory=list)  # a heap, by time
    arrivals: deque[Turn[T]] = field(default_factory=deque)  # of what is held, or was
    in_hand: bool = False
    left: bool = False
    ready_s: float = 0.0  # the first is not tried before
    wake_s: float | None = None  # where it stands among those that wait for their time
    is_ready: bool = False

    def __iter__(self) -> Iterator[Turn[T]]:
        return chain(self.waiting, (turn for _, _, turn in self.held))


class Lines(Generic[T]):
    """All lines of one worker in one process.

    An event is tried again for `hold_s` seconds after it first failed. So long its subject waits, unless more than
    `crowd` events wait behind it, or it has waited itself for too long: then each has one turn. Events are held back
    for `reorder_s` seconds, and go on by the time at which they occurred.
    """

    def __init__(self, *, hold_s: float, reorder_s: float = 0.0, crowd: int = 64) -> None:
        self._hold_s = hold_s
        self._reorder_s = reorder_s
        self._crowd = crowd
        self._lines: dict[tuple[str, str], _Line[T]] = {}
        self._nobodys: set[_Line[T]] = set()
        self._ready: deque[_Line[T]] = deque()
        self._later: list[tuple[float, int, _Line[T]]] = []
        self._numbers = count()

    def add(
        self, item: T, *, subject: str | None, partition: str, event_id: str, occurred_s: float, now_s: float
    ) -> None:
        """An event arrives. Without a subject it has a line of its own."""
        line = self._line(subject, partition)
        turn = Turn(item, event_id, partition, occurred_s, now_s, next(self._numbers), line)
        if self._reorder_s and subject is not None:
            turn.is_held = True
            heapq.heappush(line.held, (occurred_s, turn.number, turn))
            line.arrivals.append(turn)
        else:
            line.waiting.append(turn)
        if not line.in_hand and len(line.waiting) > self._crowd + 1:
            line.ready_s = now_s
        self._schedule(line, now_s)

    def next(self, now_s: float) -> Turn[T] | None:
        """The next event that may be handled; it is in hand from now on."""
        while self._later and self._later[0][0] <= now_s:
            wake_s, _, line = heapq.heappop(self._later)
            if line.wake_s == wake_s:
                line.wake_s = None
                self._schedule(line, now_s)
        while self._ready:
            line = self._ready.popleft()
            line.is_ready = False
            if line.waiting and not line.in_hand:
                return self._take(line, now_s)
        return None

    def due_s(self) -> float | None:
        """When `next` may have something though nothing arrived or ended; None if never."""
        return self._later[0][0] if self._later else None

    def done(self, turn: Turn[T], now_s: float, *, parked: bool = False) -> None:
        """An event that was in hand is settled: the next of its line may go on."""
        line = turn.line
        if parked:
            for other in line:
                other.is_repeat |= other.event_id == turn.event_id
        line.in_hand = False
        line.ready_s = now_s
        self._schedule(line, now_s)

    def again(self, turn: Turn[T], delay_s: float, now_s: float, *, had_its_turn: bool = True) -> float:
        """An event that was in hand is to be tried again; after how many seconds, since the time for that is limited.

        One that had not had its turn, because the store was away or the like, is waited for.
        """
        line = turn.line
        if had_its_turn:
            turn.failed_s = now_s if turn.failed_s is None else turn.failed_s
            left_s = 0.0 if self._is_crowded(turn, now_s) else max(0.0, self._limit_s(turn) - now_s)
            turn.last = delay_s >= left_s
            delay_s = min(delay_s, left_s)
        line.in_hand = False
        line.ready_s = now_s + delay_s
        if not line.left:
            line.waiting.appendleft(turn)
        self._schedule(line, now_s)
        return delay_s

    def leave(self, partition: str) -> None:
        """Forget what waits in a partition; what is in hand is settled all the same."""
        for line in [line for line in (*self._lines.values(), *self._nobodys) if line.partition == partition]:
            line.left = True
            line.waiting.clear()
            line.held.clear()
            line.arrivals.clear()
            self._forget(line)

    def _line(self, subject: str | None, partition: str) -> _Line[T]:
        if subject is None:
            line: _Line[T] = _Line(None, partition)
            self._nobodys.add(line)
            return line
        key = (partition, subject)
        if key not in self._lines:
            self._lines[key] = _Line(subject, partition)
        return self._lines[key]

    def _take(self, line: _Line[T], now_s: float) -> Turn[T]:
        turn = line.waiting.popleft()
        line.in_hand = True
        turn.taken_s = now_s
        turn.last = turn.last or now_s >= self._limit_s(turn) or self._is_crowded(turn, now_s)
        return turn

    def _limit_s(self, turn: Turn[T]) -> float:
        return (turn.taken_s if turn.failed_s is None else turn.failed_s) + self._hold_s

    def _is_crowded(self, turn: Turn[T], now_s: float) -> bool:
        return len(turn.line.waiting) > self._crowd or now_s >= turn.arrived_s + MAX_WAIT_S + self._reorder_s

    def _schedule(self, line: _Line[T], now_s: float) -> None:
        """Put a line where it belongs: among the ready, among those that wait for their time, or nowhere."""
        self._release(line, now_s)
        if line.in_hand or line.is_ready:
            return
        if line.waiting:
            self._wait(line, line.ready_s, now_s)
        elif line.arrivals:
            self._wait(line, line.arrivals[0].arrived_s + self._reorder_s, now_s)
        else:
            self._forget(line)

    def _wait(self, line: _Line[T], ready_s: float, now_s: float) -> None:
        if ready_s <= now_s:
            line.is_ready, line.wake_s = True, None
            self._ready.append(line)
        elif line.wake_s != ready_s:
            line.wake_s = ready_s
            heapq.heappush(self._later, (ready_s, next(self._numbers), line))

    def _release(self, line: _Line[T], now_s: float) -> None:
        """Let go on what was held back for long enough, and before each what occurred before it."""
        while line.arrivals and line.arrivals[0].arrived_s + self._reorder_s <= now_s:
            oldest = line.arrivals[0]
            while oldest.is_held:
                turn = heapq.heappop(line.held)[2]
                turn.is_held = False
                line.waiting.append(turn)
            while line.arrivals and not line.arrivals[0].is_held:
                line.arrivals.popleft()

    def _forget(self, line: _Line[T]) -> None:
        self._nobodys.discard(line)
        if line.subject is not None and self._lines.get((line.partition, line.subject)) is line:
            del self._lines[line.partition, line.subject]
