"""When a process is to stop, and how long it may take over that."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

Closing: TypeAlias = Coroutine[Any, Any, None]

log = logging.getLogger("hookline")

_AT_ONCE_S = 5.0


class Stop:
    """The two signals: the first asks to stop, the second to hurry."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signal)

    def _signal(self) -> None:
        (self._hurried if self._asked.is_set() else self._asked).set()

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
