"""Deadlines of equal length. One timer serves them all, since they end in the order in which they began."""

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar

T = TypeVar("T")

LOOKS_S = 0.5


class PatientTimer:
    """One timer for whatever is due next, which forgives the time in which the process stood still.

    The process was frozen, its machine was paused, or something kept the event loop busy: that is no silence of the
    broker, the store or the disk. The timer fires every `looks_s`, and finds out by being late.

    `look(pause_s)` ends what is due, after it has put off all deadlines by `pause_s`, which is mostly 0. It returns
    in how many seconds the next is due; None if nothing waits.
    """

    def __init__(self, look: Callable[[float], float | None], looks_s: float = LOOKS_S) -> None:
        self.is_set = False
        self._look = look
        self._looks_s = looks_s
        self._due_s = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def set(self, delay_s: float) -> None:
        """Look after this time, or sooner."""
        self.close()
        delay_s = min(delay_s, self._looks_s)
        self._due_s = time.monotonic() + delay_s
        self._handle = asyncio.get_running_loop().call_later(delay_s, self._fire)
        self.is_set = True

    def close(self) -> None:
        """Look no more."""
        self.is_set = False
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self.close()
        late_s = time.monotonic() - self._due_s
        left_s = self._look(late_s if late_s > self._looks_s else 0.0)
        if left_s is not None:
            self.set(left_s)


class Deadlines(Generic[T]):
    """Calls `expired` with each item that is started and not stopped within `timeout_s`, pauses not counted.

    An item is hashable, and running once at a time. A timer for each would cost more than most of what it bounds.
    """

    def __init__(self, timeout_s: float, expired: Callable[[T], object], looks_s: float = LOOKS_S) -> None:
        self._timeout_s = timeout_s
        self._expired = expired
        self._due_s: dict[T, float] = {}  # the first to start is the first to expire
        self._timer = PatientTimer(self._look, looks_s)

    @property
    def running(self) -> Collection[T]:
        """The items that are neither stopped nor expired."""
        return self._due_s.keys()

    def start(self, item: T) -> None:
        self._due_s[item] = time.monotonic() + self._timeout_s
        if not self._timer.is_set:
            self._timer.set(self._timeout_s)

    def stop(self, item: T) -> bool:
        """Whether the item was still running. If not, it has expired, or was never started."""
        return self._due_s.pop(item, None) is not None

    def close(self) -> None:
        """Stop all items."""
        self._due_s.clear()
        self._timer.close()

    def _look(self, pause_s: float) -> float | None:
        if pause_s:
            self._due_s = {item: due_s + pause_s for item, due_s in self._due_s.items()}
        for item, due_s in list(self._due_s.items()):
            left_s = due_s - time.monotonic()
            if left_s > 0:
                return left_s
            if self.stop(item):
                self._expired(item)
        return None


def time_out(future: "asyncio.Future[Any]") -> None:
    """End a future with TimeoutError unless it has ended."""
    if not future.done():
        future.set_exception(TimeoutError())
