"""One time limit for all calls of a worker's function: they have the same time, so one timer serves them all."""

import asyncio
import time
from types import TracebackType
from typing import cast

import msgspec

from hookline.workers.failure_policy import HandlerTimedOut


class _End(msgspec.Struct, frozen=True, gc=False):
    """When a task's time is over, by the monotonic clock, and how often it was cancelled before it began."""

    at_s: float
    cancelled: int


class HandlerTimeout:
    """Cancels what takes longer than `limit_s` within it, and has HandlerTimedOut come of that.

    Many tasks may be within it at a time, each of them once. Unlike `asyncio.timeout` it sets no timer for each, which
    costs more than most functions take.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._ends: dict[asyncio.Task[None], _End] = {}  # first in, first to end
        self._cut_off: dict[asyncio.Task[None], _End] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> None:
        task = self._this_task()
        self._ends[task] = _End(time.monotonic() + self._limit_s, task.cancelling())
        if self._timer is None:
            self._timer = task.get_loop().call_later(self._limit_s, self._cut_off_late)

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        task = self._this_task()
        if self._ends.pop(task, None) is None:
            self._tell(task, kind)

    def _tell(self, task: "asyncio.Task[None]", kind: type[BaseException] | None) -> None:
        """Raise if the function ended because it was cut off, and not because somebody else cancelled the task."""
        by_others = task.uncancel() > self._cut_off.pop(task).cancelled
        ends = TimeoutError if by_others else (TimeoutError, asyncio.CancelledError)
        if kind is not None and issubclass(kind, ends):
            raise HandlerTimedOut(f"the function took more than {self._limit_s:g} s") from None

    def _cut_off_late(self) -> None:
        self._timer = None
        for task, end in tuple(self._ends.items()):
            left_s = end.at_s - time.monotonic()
            if left_s > 0:
                self._timer = task.get_loop().call_later(left_s, self._cut_off_late)
                return
            self._cut_off[task] = self._ends.pop(task)
            task.cancel()

    def _this_task(self) -> "asyncio.Task[None]":
        """Not without the loop: looking for that takes a system call on Python 3.11."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return cast("asyncio.Task[None]", asyncio.current_task(self._loop))
