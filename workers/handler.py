"""The worker's function as the pipeline calls it: with its middleware, its time limit and, if wanted, a `Delivery`."""

import asyncio
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeAlias

from hookline.aio.cancellation import is_cancelled
from hookline.aio.deadlines import Deadlines
from hookline.schemas.observer import NOBODY
from hookline.schemas.topics import topic
from hookline.workers.api import Delivery, Worker
from hookline.workers.failure_policy import CancelledItself, ExitCalled, HandlerTimedOut, RaisedNoException
from hookline.workers.middleware import around
from hookline.workers.running_calls import RunningCalls
from hookline.workers.work import Case

_Task: TypeAlias = "asyncio.Task[None]"
_QUICK_S = 0.01
_WEIGHT = 1 / 16  # of the latest call in the mean


class Handler:
    """Raises NotStarted for a middleware that fails when it is applied."""

    def __init__(self, worker: Worker[Any]) -> None:
        self.latency = HandlerLatency()
        self.calls = RunningCalls(worker.timeout_s)
        self._running = self.calls.by_case
        self._function = around(worker)
        self._takes_delivery = worker.takes_delivery or bool(worker.middleware)
        self._state = worker.state
        self._timeout = HandlerTimeout(worker.timeout_s)
        self._queue = worker.queue
        self._ended: list[float] = []
        self.observer = NOBODY

    def is_calling(self) -> bool:
        """Whether the function is running, once or more often."""
        return bool(self._timeout.running)

    async def call(self, case: Case, *, late: bool, transaction: Any = None) -> None:
        """Raises the Exception that the function raises, HandlerTimedOut, ExitCalled or RaisedNoException.

        No event may end the process. Only the GeneratorExit that closes a call is passed on.
        Raises CancelledError only if this task is cancelled, and otherwise CancelledItself: such a call has failed.
        """
        delivery = _delivery(case, self._state, late=late, transaction=transaction) if self._takes_delivery else None
        started_s = time.monotonic()
        try:
            with self._timeout as task:
                self._running[id(case)] = (started_s, case, task)
                await (self._function(case.event) if delivery is None else self._function(case.event, delivery))
        except SystemExit as error:
            raise ExitCalled("the function called exit(); a worker's function raises another exception") from error
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise CancelledItself("the function raised CancelledError, but nobody cancelled it") from error
        except Exception:
            raise
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not self._is_running(case):  # nobody waits for this call any longer
                raise
            raise RaisedNoException(f"the function raised {type(error).__name__}, which is no Exception") from error
        finally:
            self._running.pop(id(case), None)
            if not self._ended:
                with suppress(RuntimeError):  # the event loop has ended, and the call is closed
                    asyncio.get_running_loop().call_soon(self._note_ended)
            self._ended.append(time.monotonic() - started_s)

    def _is_running(self, case: Case) -> bool:
        """Whether the task of its call runs now. Otherwise somebody else closes the call."""
        _, _, task = self._running[id(case)]
        try:
            return asyncio.current_task() is task
        except RuntimeError:  # the event loop has ended
            return False

    def _note_ended(self) -> None:
        """Note the calls that have ended in this turn of the event loop."""
        ended, self._ended = self._ended, []
        self.latency.record(ended)
        self.observer.called(self._queue, ended)


class HandlerTimeout:
    """Cancels a task that stays within it for longer than `limit_s`, and turns that into HandlerTimedOut.

    Time in which the process stood still does not count: a frozen process or a paused machine is not a slow function.
    Many tasks may be within it at a time, each of them once.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._deadlines = Deadlines[_Task](limit_s, asyncio.Task.cancel)
        self._cancelled: dict[_Task, int] = {}  # how often a task within it had been cancelled before, if it had
        self._loop: asyncio.AbstractEventLoop | None = None  # kept: finding it takes a system call on Python 3.11

    @property
    def running(self) -> Collection[_Task]:
        """The tasks within it that are in time."""
        return self._deadlines.running

    def __enter__(self) -> _Task:
        self._loop = self._loop or asyncio.get_running_loop()
        task: Any = asyncio.current_task(self._loop)
        if cancelled := task.cancelling():
            self._cancelled[task] = cancelled
        self._deadlines.start(task)
        return task  # type: ignore[no-any-return]  # a call of `cast` for each event costs more than it says

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        task: Any = asyncio.current_task(self._loop)
        cancelled = self._cancelled.pop(task, 0)
        if task is None or self._deadlines.stop(task):  # None: the event loop has ended, and the call is closed
            return
        by_others = task.uncancel() > cancelled
        ends = TimeoutError if by_others else (TimeoutError, asyncio.CancelledError)
        if kind is not None and issubclass(kind, ends):
            raise HandlerTimedOut(f"the function took more than {self._limit_s:g} s") from None


class HandlerLatency:
    """Whether more events should be in flight than are handled at a time.

    It pays while calls are so short that the store costs more than they do, because the store is asked for many events
    at once. Events that would wait for long calls are better left to other processes; and if this process dies, fewer
    events are crash suspects.
    """

    def __init__(self) -> None:
        self._mean_s = _QUICK_S

    def record(self, calls_s: Iterable[float]) -> None:
        """Count calls that took so many seconds each."""
        mean_s = self._mean_s
        for call_s in calls_s:
            mean_s += (call_s - mean_s) * _WEIGHT
        self._mean_s = mean_s

    @property
    def is_quick(self) -> bool:
        """Whether recent calls were short. At the start calls count as long."""
        return self._mean_s < _QUICK_S


def _delivery(case: Case, state: Any, *, late: bool, transaction: Any) -> Delivery[Any]:
    """The fields are given by place, which costs less than by name."""
    envelope = case.envelope
    provider, source = envelope.provider, envelope.source
    return Delivery(
        case.event.id,
        case.attempt,
        provider,
        source,
        topic(provider, source, envelope.event_type),
        envelope.body,
        case.received.headers,
        envelope.occurred_at,
        envelope.received_at,
        state,
        late,
        transaction,
    )
