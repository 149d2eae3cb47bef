"""An event loop for many processes, with virtual time: when nothing is ready, time jumps to the next timer.

Every callback belongs to the process in whose context it was made. Those of a dead process never run; those of a
frozen one run when it thaws. A process that dies therefore runs no cleanup, as after kill -9.
"""

import asyncio
import contextvars
import heapq
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, cast

from hookline.workers.partitions import Partitions

START_S = 1000.0
_MAX_CALLBACKS = 400_000
_CANCELS = 5  # some tasks wait again when they are cancelled


class Endless(Exception):
    """A schedule that runs callbacks without end, at one moment or in a livelock."""


class Fate:
    """Whether the callbacks of one process run."""

    def __init__(self) -> None:
        self.is_dead = False
        self.is_frozen = False
        self.postponed: list[_Handle] = []


FATE: contextvars.ContextVar[Fate] = contextvars.ContextVar("FATE")


class _Handle:
    """A callback that waits. Has what asyncio uses of `asyncio.TimerHandle`."""

    __slots__ = ("_args", "_callback", "_context", "_when", "fate", "is_cancelled")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context, when: float
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._when = when
        self.fate = context[FATE]
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self._when

    def run(self) -> None:
        self._context.run(self._callback, *self._args)


_numbers = count()


class _Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address, so that a seed gives the same run each time."""

    def __init__(self, coroutine: Any, **options: Any) -> None:
        self._number = next(_numbers)
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class VirtualLoop:
    """Has what asyncio uses of an event loop without sockets and threads.

    Callbacks run in the order in which they are ready. Timers of the same moment run in an order of chance.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._now_s = START_S
        self._ready: deque[_Handle] = deque()
        self._timers: list[tuple[float, float, int, _Handle]] = []
        self._fates: dict[Fate, None] = {}
        self._count = 0
        self._is_closed = False
        self.tasks: list[_Task] = []
        self.errors: list[str] = []

    def time(self) -> float:
        return self._now_s

    def jump(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as when the whole machine stands still."""
        self._now_s += seconds

    def run_until(self, is_over: Callable[[], bool]) -> None:
        """Run callbacks until the condition holds, which is checked after each. Raises Endless."""
        asyncio._set_running_loop(cast("asyncio.AbstractEventLoop", self))  # noqa: SLF001  what a loop does
        try:
            while not is_over():
                if not self._ready and not self._advance():
                    return
                self._run_once(self._ready.popleft())
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001  what a loop does

    def close(self) -> None:
        """Cancel all tasks, those of dead processes too, and run what that makes ready. No time passes."""
        asyncio._set_running_loop(cast("asyncio.AbstractEventLoop", self))  # noqa: SLF001  what a loop does
        self._is_closed = True
        try:
            for fate in self._fates:
                self._ready.extend(fate.postponed)
            for _ in range(_CANCELS):
                self.tasks = [task for task in self.tasks if not task.done() and task.cancel()]
                while self._ready:
                    handle = self._ready.popleft()
                    if not handle.is_cancelled:
                        self._run_safely(handle)
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001  what a loop does

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._is_closed

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=cast("asyncio.AbstractEventLoop", self))

    def create_task(
        self, coro: Any, *, name: str | None = None, context: contextvars.Context | None = None
    ) -> "asyncio.Task[Any]":
        task = _Task(coro, loop=self, name=name, context=context)
        self.tasks.append(task)
        if len(self.tasks) > 2000:
            self.tasks = [each for each in self.tasks if not each.done()]
        return task

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, context or contextvars.copy_context(), self._now_s)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, context or contextvars.copy_context(), when)
        heapq.heappush(self._timers, (when, self._chance.random(), next(_numbers), handle))
        return handle

    def call_exception_handler(self, context: Mapping[str, Any]) -> None:
        if not self._is_closed:
            self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def thaw(self, fate: Fate) -> None:
        """Run what was postponed, before what is ready since: what was sent first arrives first."""
        fate.is_frozen = False
        self._ready.extendleft(reversed(fate.postponed))
        fate.postponed.clear()

    def _advance(self) -> bool:
        """Make the timers of the next moment ready. False if there are none."""
        while self._timers and self._timers[0][3].is_cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            return False
        self._now_s = max(self._now_s, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now_s:
            self._ready.append(heapq.heappop(self._timers)[3])
        return True

    def _run_once(self, handle: _Handle) -> None:
        if handle.is_cancelled:
            return
        if handle.fate.is_dead or handle.fate.is_frozen:
            handle.fate.postponed.append(handle)
            self._fates[handle.fate] = None
            return
        self._count += 1
        if self._count > _MAX_CALLBACKS:
            raise Endless(f"{self._count} callbacks until {self._now_s - START_S:.1f} s")
        handle.run()

    def _run_safely(self, handle: _Handle) -> None:
        with suppress(Exception):  # the schedule is over
            handle.run()


@contextmanager
def virtual_clock(loop: VirtualLoop, seed: int) -> Iterator[None]:
    """`time.monotonic` is the loop's time, and `random` starts with the seed, until the end of the block."""
    monotonic, state, defaults = time.monotonic, random.getstate(), Partitions.__init__.__defaults__
    time.monotonic = loop.time
    Partitions.__init__.__defaults__ = tuple(loop.time if each is monotonic else each for each in defaults or ())
    random.seed(seed)
    try:
        yield
    finally:
        time.monotonic = monotonic
        Partitions.__init__.__defaults__ = defaults
        random.setstate(state)
