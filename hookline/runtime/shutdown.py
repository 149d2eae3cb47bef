"""How a process ends: the signals that stop it, how long it may take, and its exit code."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from enum import IntEnum
from typing import Any, TypeAlias

Closing: TypeAlias = Coroutine[Any, Any, None]

log = logging.getLogger("hookline")


class ExitCode(IntEnum):
    """What the exit code of a command means; 0 is done."""

    FAILED = 1
    USAGE = 2  # or settings
    UNREACHABLE = 3  # the broker, the store, or the ingress


STOP = b"stop\n"
STOP_NOW = b"now\n"
"""The lines that a supervisor writes to the stdin of a process."""

_AT_ONCE_S = 5.0


class Stop:
    """Two signals: the first asks the process to stop, the second to stop without draining.

    A process with a supervisor reads both from stdin. The end of stdin asks it to stop too, which works even if the
    supervisor is killed. Signals only ask such a process to stop, however many come, since a service manager may send
    one to all processes at once.
    """

    def __init__(self, *, supervised: bool = False) -> None:
        self._asked = asyncio.Event()
        self._asked_again = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._asked.set if supervised else self._signal)
        if supervised:
            self._loop.add_reader(sys.stdin.fileno(), self._read)

    def _signal(self) -> None:
        (self._asked_again if self._asked.is_set() else self._asked).set()

    def _read(self) -> None:
        lines = os.read(sys.stdin.fileno(), 1024)
        self._asked.set()
        if STOP_NOW in lines:
            self._asked_again.set()
        if not lines:
            self._loop.remove_reader(sys.stdin.fileno())

    async def wait(self, running: Sequence[asyncio.Task[None]]) -> None:
        """Wait until the process is asked to stop, or a part ends by itself. Raises the error that ended it."""
        asked = asyncio.create_task(self._asked.wait())
        done, _ = await asyncio.wait([asked, *running], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        for task in done - {asked}:
            task.result()

    async def drain(self, draining: Closing, at_once: Callable[[], Closing]) -> None:
        """Await `draining`. At the second signal, cancel it and await `at_once()` instead."""
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
