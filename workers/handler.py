"""The worker's function as the pipeline calls it: with its middleware, its time limit and, if wanted, a `Delivery`."""

import asyncio
import time
from types import TracebackType
from typing import Any, cast

import msgspec

from hookline.workers.api import Delivery, Worker
from hookline.workers.failure_policy import HandlerTimedOut
from hookline.workers.middleware import around
from hookline.workers.work import Case

_QUICK_S = 0.01
_WEIGHT = 1 / 16  # of the latest call in the mean


class Handler:
    """Raises NotStarted for a middleware that fails when it is applied."""

    def __init__(self, worker: Worker[Any]) -> None:
        self.latency = HandlerLatency()
        self._function = around(worker)
        self._takes_delivery = worker.takes_delivery or bool(worker.middleware)
        self._state = worker.state
        self._timeout = HandlerTimeout(worker.timeout_s)

    async def call(self, case: Case, *, late: bool, transaction: Any = None) -> None:
        """Raises what the function raises, or HandlerTimedOut."""
        arguments = [_delivery(case, self._state, late=late, transaction=transaction)] if self._takes_delivery else ()
        started_s = time.monotonic()
        try:
            with self._timeout:
                await self._function(case.event, *arguments)
        finally:
            self.latency.record(time.monotonic() - started_s)


class _End(msgspec.Struct, frozen=True, gc=False):
    """When the time of a task ends, on the monotonic clock, and how often it had been cancelled before it began."""

    at_s: float
    cancelled: int


class HandlerTimeout:
    """Cancels a task that stays within it for longer than `limit_s`, and turns that into HandlerTimedOut.

    Many tasks may be within it at a time, each of them once. One timer serves all, because they have the same time: the
    timer that `asyncio.timeout` sets for each costs more than most functions take.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._ends: dict[asyncio.Task[None], _End] = {}  # first in, first to end
        self._cancelled: dict[asyncio.Task[None], _End] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> None:
        task = self._this_task()
        self._ends[task] = _End(time.monotonic() + self._limit_s, task.cancelling())
        if self._timer is None:
            self._timer = task.get_loop().call_later(self._limit_s, self._cancel_overdue)

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        task = self._this_task()
        if self._ends.pop(task, None) is None:
            self._raise_if_timed_out(task, kind)

    def _raise_if_timed_out(self, task: "asyncio.Task[None]", kind: type[BaseException] | None) -> None:
        """Raise HandlerTimedOut unless the task was also cancelled by others."""
        by_others = task.uncancel() > self._cancelled.pop(task).cancelled
        ends = TimeoutError if by_others else (TimeoutError, asyncio.CancelledError)
        if kind is not None and issubclass(kind, ends):
            raise HandlerTimedOut(f"the function took more than {self._limit_s:g} s") from None

    def _cancel_overdue(self) -> None:
        self._timer = None
        for task, end in tuple(self._ends.items()):
            left_s = end.at_s - time.monotonic()
            if left_s > 0:
                self._timer = task.get_loop().call_later(left_s, self._cancel_overdue)
                return
            self._cancelled[task] = self._ends.pop(task)
            task.cancel()

    def _this_task(self) -> "asyncio.Task[None]":
        """The loop is kept, because finding it takes a system call on Python 3.11."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return cast("asyncio.Task[None]", asyncio.current_task(self._loop))


class HandlerLatency:
    """Whether more events should be in flight than are handled at a time.

    It pays while calls are so short that the store costs more than they do, because the store is asked for many events
    at once. Events that would wait for long calls are better left to other processes; and if this process dies, fewer
    events are crash suspects.
    """

    def __init__(self) -> None:
        self._mean_s = _QUICK_S
        self._is_quick = asyncio.Event()

    def record(self, call_s: float) -> None:
        """Count a call that took so many seconds."""
        self._mean_s += (call_s - self._mean_s) * _WEIGHT
        if self._mean_s < _QUICK_S:
            self._is_quick.set()
        else:
            self._is_quick.clear()

    async def quick(self) -> None:
        """Return once recent calls were short. At the start calls count as long."""
        await self._is_quick.wait()


def _delivery(case: Case, state: Any, *, late: bool, transaction: Any) -> Delivery[Any]:
    envelope = case.envelope
    return Delivery(
        event_id=case.event.id,
        attempt=case.attempt,
        provider=envelope.provider,
        source=envelope.source,
        topic=envelope.topic,
        body=envelope.body,
        headers=case.received.headers,
        occurred_at=envelope.occurred_at,
        received_at=envelope.received_at,
        state=state,
        late=late,
        transaction=transaction,
    )
