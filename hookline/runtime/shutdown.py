"""How a process ends: the signals that stop it, how long it may take, and its exit code."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from enum import IntEnum
from typing import Any, NoReturn, TypeAlias, TypeVar

T = TypeVar("T")
Closing: TypeAlias = Coroutine[Any, Any, None]

log = logging.getLogger("hookline")


class ExitCode(IntEnum):
    """What the exit code of a command means; 0 is done."""

    FAILED = 1
    USAGE = 2  # or settings
    UNREACHABLE = 3  # the broker, the store, or the ingress


ONE_SIGNAL_S = 1.0
CLOSE_S = 3.0
"""How long everything may take to close, once what was in flight has its answer: a server may answer nothing."""
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_AT_ONCE_S = 5.0
_LEAST_S = 0.3
_SILENT_S = 1.0
_HANG_UP_S = 0.5
_THREADS_S = 3.0


class StoppedEarlyError(Exception):
    """The process was asked to stop before it had started."""


class StopSignals:
    """Calls `first` at SIGTERM or SIGINT, and `second` at another one.

    Those that arrive within a second are one: `timeout` and shells send one to a process, and again to its group.
    """

    def __init__(self, first: Callable[[], None], second: Callable[[], None]) -> None:
        self._first = first
        self._second = second
        self._loop = asyncio.get_running_loop()
        self._since_s: float | None = None
        for number in _STOPPING:
            self._loop.add_signal_handler(number, self._signal)

    def _signal(self) -> None:
        if self._since_s is None:
            self._since_s = self._loop.time()
            self._first()
        elif self._loop.time() - self._since_s >= ONE_SIGNAL_S:
            self._second()


async def until_exit(serving: Awaitable[T]) -> T:
    """Await what a process is there for. A signal that comes later does not change its exit code.

    An event loop that closes would restore the default, which ends the process. SIGHUP may come as the last one, too:
    the end of a terminal sends it.
    """
    try:
        return await serving
    finally:
        for number in (*_STOPPING, signal.SIGHUP):
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


def exit_with(code: int, earlier: Collection[threading.Thread]) -> NoReturn:
    """End the process. Threads other than the earlier ones are waited for, for three seconds at most.

    A worker's function may run on in one. Python would wait until it ends.
    """
    later = [each for each in threading.enumerate() if each not in earlier and not each.daemon]
    if later:
        threading.Thread(target=_leave_threads, args=(later, code), name="exit", daemon=True).start()
    sys.exit(code)


def _leave_threads(threads: Sequence[threading.Thread], code: int) -> None:
    time.sleep(_THREADS_S)
    if any(each.is_alive() for each in threads):
        log.warning("a function that runs on in a thread is left behind")
        logging.shutdown()
        os._exit(code)


class Stop:
    """Two requests: the first asks the process to stop, the second to stop without draining.

    Both are signals, or come from a supervisor. Signals only ask a process with a supervisor to stop, however many
    come, since a service manager may send one to all processes at once.
    """

    def __init__(self, *, supervised: bool = False) -> None:
        self._asked = asyncio.Event()
        self._asked_again = asyncio.Event()
        StopSignals(self.ask, self.ask if supervised else self.ask_again)

    def ask(self) -> None:
        self._asked.set()

    def ask_again(self) -> None:
        self._asked.set()
        self._asked_again.set()

    async def unless_asked(self, awaited: Awaitable[T]) -> T:
        """The result of something. Cancels it and raises StoppedEarlyError when the process is asked to stop."""
        task, asked = asyncio.ensure_future(awaited), asyncio.create_task(self._asked.wait())
        try:
            await asyncio.wait([task, asked], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise StoppedEarlyError
            return task.result()
        finally:
            asked.cancel()
            task.cancel()
            await asyncio.wait([task], timeout=_HANG_UP_S)  # what it closes may wait for a silent server
            task.add_done_callback(_retrieve)

    async def wait(self, running: Sequence[asyncio.Task[None]]) -> None:
        """Wait until the process is asked to stop, or a part ends by itself. Raises the error that ended it."""
        asked = asyncio.create_task(self._asked.wait())
        done, _ = await asyncio.wait([asked, *running], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        for task in done - {asked}:
            task.result()

    async def drain(self, draining: Closing, at_once: Callable[[], Closing]) -> None:
        """Await `draining`. At the second request, cancel it and await `at_once()` instead."""
        task = asyncio.create_task(draining)
        asked_again = asyncio.create_task(self._asked_again.wait())
        await asyncio.wait([task, asked_again], return_when=asyncio.FIRST_COMPLETED)
        asked_again.cancel()
        if task.done():
            task.result()
        else:
            log.warning("stopping without draining: events in flight are put back")
            task.cancel()
            with suppress(TimeoutError):  # a function that does not end when it is cancelled
                async with asyncio.timeout(_AT_ONCE_S):
                    await asyncio.wait([task])
                    await at_once()


def _retrieve(task: "asyncio.Future[Any]") -> None:
    """Have asyncio log nothing of what a task fails with that is not waited for."""
    if not task.cancelled():
        task.exception()


class ClosingTime:
    """The seconds that all parts of a process may take to close, together.

    A part that is late is cancelled, and then hangs up on its server without waiting. Those that are closed after it
    still get a moment.
    """

    def __init__(self, total_s: float = CLOSE_S) -> None:
        self._left_s = total_s

    def shorten(self) -> None:
        """Leave a second at most: a server has been waited for already, and has answered nothing."""
        self._left_s = min(self._left_s, _SILENT_S)

    async def close(self, *parts: Closing) -> None:
        """Close parts that do not need each other, side by side. Raises what one of them fails with, at the end."""
        if not parts:
            return
        began_s = time.monotonic()
        closing = [asyncio.create_task(part) for part in parts]
        _, late = await asyncio.wait(closing, timeout=max(self._left_s, _LEAST_S))
        for task in late:
            task.cancel()
        if late:
            log.warning("what does not answer is not waited for any longer")
            await asyncio.wait(late, timeout=_HANG_UP_S)
        self._left_s -= time.monotonic() - began_s
        for task in closing:
            if task.done() and not task.cancelled():
                task.result()
