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
HURRY = b"hurry\n"
"""What a supervisor says to a process."""

_AT_ONCE_S = 5.0


class Stop:
    """The two signals: the first asks to stop, the second to hurry.

    A process with a supervisor hears that from its input, whose end asks it, too: that comes even if the supervisor is
    killed. Signals only ask it, however often, since a service manager may send one to all processes at once.
    """

    def __init__(self, *, supervised: bool = False) -> None:
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._asked.set if supervised else self._signal)
        if supervised:
            self._loop.add_reader(sys.stdin.fileno(), self._hear)

    def _signal(self) -> None:
        (self._hurried if self._asked.is_set() else self._asked).set()

    def _hear(self) -> None:
        said = os.read(sys.stdin.fileno(), 1024)
        self._asked.set()
        if HURRY in said:
            self._hurried.set()
        if not said:
            self._loop.remove_reader(sys.stdin.fileno())

    async def wait(self, running: Sequence[asyncio.Task[None]]) -> None:
        """Until somebody asks to stop, or a part ends by itself; raises what it died of."""
        asked = asyncio.create_task(self._asked.wait())
        done, _ = await asyncio.wait([asked, *running], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        for task in done - {asked}:
            task.result()

    async def unless_hurried(self, closing: Closing, at_once: Callable[[], Closing]) -> None:
        """Await the closing, but give up on it at the second signal, and close at once then."""
        task = asyncio.create_task(closing)
        hurried = asyncio.create_task(self._hurried.wait())
        await asyncio.wait([task, hurried], return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if task.done():
            task.result()
        else:
            log.warning("giving back what is in hand")
            task.cancel()
            with suppress(TimeoutError):  # a function that does not let itself be cancelled
                async with asyncio.timeout(_AT_ONCE_S):
                    await asyncio.wait([task])
                    await at_once()
