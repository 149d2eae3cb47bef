"""One time limit for all calls of a worker's function: they have the same time, so one timer serves them all."""

import asyncio
from types import TracebackType
from typing import TypeAlias, cast

from hookline.aio.deadlines import Deadlines
from hookline.workers.failure_policy import HandlerTimedOut

_Task: TypeAlias = "asyncio.Task[None]"


class HandlerTimeout:
    """Cancels what takes longer than `limit_s` within it, and has HandlerTimedOut come of that.

    Many tasks may be within it at a time, each of them once. Unlike `asyncio.timeout` it sets no timer for each, which
    costs more than most functions take.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._deadlines = Deadlines[_Task](limit_s, asyncio.Task.cancel)
        self._cancelled: dict[_Task, int] = {}  # how often a task within it was cancelled before
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> None:
        task = self._this_task()
        self._cancelled[task] = task.cancelling()
        self._deadlines.start(task)

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        task = self._this_task()
        cancelled = self._cancelled.pop(task)
        if self._deadlines.stop(task):
            return
        by_others = task.uncancel() > cancelled
        ends = TimeoutError if by_others else (TimeoutError, asyncio.CancelledError)
        if kind is not None and issubclass(kind, ends):
            raise HandlerTimedOut(f"the function took more than {self._limit_s:g} s") from None

    def _this_task(self) -> _Task:
        """Not without the loop: looking for that takes a system call on Python 3.11."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return cast("_Task", asyncio.current_task(self._loop))
