"""Deadlines of equal length. One timer serves them all, since they end in the order in which they began."""

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar

T = TypeVar("T")

LOOKS_S = 0.5


class Deadlines(Generic[T]):
    """Calls `expired` with each item that is started and not stopped within `timeout_s`.

    An item is hashable, and running once at a time. A timer for each would cost more than most of what it bounds.

    The time in which the process stood still does not count, because it was frozen, its machine was paused, or
    something kept the event loop busy: that is no silence of the broker, the store or the disk. The timer fires every
    `looks_s`, and finds out by being late.
    """

    def __init__(self, timeout_s: float, expired: Callable[[T], object], looks_s: float = LOOKS_S) -> None:
        self._timeout_s = timeout_s
        self._expired = expired
        self._looks_s = looks_s
        self._timer_due_s = 0.0
        self._due_s: dict[T, float] = {}  # the first to start is the first to expire
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> Collection[T]:
        """The items that are neither stopped nor expired."""
        return self._due_s.keys()

    def start(self, item: T) -> None:
        self._due_s[item] = time.monotonic() + self._timeout_s
        if self._timer is None:
            self._set_timer(self._timeout_s)

    def stop(self, item: T) -> bool:
        """Whether the item was still running. If not, it has expired, or was never started."""
        return self._due_s.pop(item, None) is not None

    def close(self) -> None:
        """Stop all items."""
        self._due_s.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, delay_s: float) -> None:
        delay_s = min(delay_s, self._looks_s)
        self._timer_due_s = time.monotonic() + delay_s
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        late_s = time.monotonic() - self._timer_due_s
        if late_s > self._looks_s:
            self._due_s = {item: due_s + late_s for item, due_s in self._due_s.items()}
        for item, due_s in list(self._due_s.items()):
            left_s = due_s - time.monotonic()
            if left_s > 0:
                self._set_timer(left_s)
                return
            if self.stop(item):
                self._expired(item)


def time_out(future: "asyncio.Future[Any]") -> None:
    """End a future with TimeoutError unless it has ended."""
    if not future.done():
        future.set_exception(TimeoutError())
