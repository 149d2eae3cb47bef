"""A small event loop with virtual time: when nothing is ready, time jumps to the next timer."""

import asyncio
import contextvars
import heapq
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

_MAX_CALLBACKS = 100_000


class Endless(Exception):
    """A schedule that runs callbacks without end."""


class _Handle:
    """A callback that waits. Has what asyncio uses of `asyncio.TimerHandle`."""

    __slots__ = ("args", "callback", "context", "is_cancelled", "when_s")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context, when_s: float
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.when_s = when_s
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self.when_s


class IngressLoop(asyncio.AbstractEventLoop):
    """Runs callbacks in the order in which they are ready."""

    def __init__(self) -> None:
        self._now_s = 1000.0
        self._ready: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._numbers = count()
        self._count = 0
        self.tasks: set[asyncio.Task[Any]] = set()
        self.errors: list[str] = []

    def time(self) -> float:
        return self._now_s

    def run_until(self, is_over: Callable[[], bool]) -> None:
        """Run callbacks until the condition holds, or nothing is left to run. Raises Endless."""
        asyncio._set_running_loop(self)  # noqa: SLF001  what a loop does
        try:
            while not is_over() and (self._ready or self._advance()):
                handle = self._ready.popleft()
                if not handle.is_cancelled:
                    self._count += 1
                    if self._count > _MAX_CALLBACKS:
                        raise Endless
                    handle.context.run(handle.callback, *handle.args)
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001  what a loop does

    def close(self) -> None:
        """Cancel all tasks, and run what that makes ready. No time passes."""
        for task in tuple(self.tasks):
            task.cancel()
        self._timers.clear()
        self.run_until(lambda: False)

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, **options)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def call_soon(  # type: ignore[override]  # a handle of our own
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, context or contextvars.copy_context(), self._now_s)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]  # a handle of our own
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # a handle of our own
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, context or contextvars.copy_context(), when)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def call_exception_handler(self, context: Mapping[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _advance(self) -> bool:
        """Make the timers of the next moment ready. False if there are none."""
        while self._timers and self._timers[0][2].is_cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            return False
        self._now_s = max(self._now_s, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now_s:
            self._ready.append(heapq.heappop(self._timers)[2])
        return True


@contextmanager
def virtual_time(loop: IngressLoop, seed: int) -> Iterator[None]:
    """`time.monotonic` is the loop's time, and `random` starts with the seed, until the end of the block."""
    monotonic, state = time.monotonic, random.getstate()
    time.monotonic = loop.time
    random.seed(seed)
    try:
        yield
    finally:
        time.monotonic = monotonic
        random.setstate(state)
