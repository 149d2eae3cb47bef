"""Opens what a process needs, and waits for a server that is away, or for a file that is locked."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

from hookline.aio.notices import Notice
from hookline.aio.retry_delays import RetryDelays
from hookline.runtime.shutdown import Stop
from hookline.schemas.errors import Unreachable

T = TypeVar("T")

log = logging.getLogger("hookline")

_RETRY = RetryDelays(first_s=1.0, max_s=5.0)


class Starting:
    """Tries again after the errors that it waits for, until it succeeds or the process is asked to stop.

    `waiting` is called with the reason of each failure. `faults` says what the process waits for now.
    """

    def __init__(self, stop: Stop, *, waits_for: tuple[type[Unreachable], ...], waiting: Callable[[str], None]) -> None:
        self._stop = stop
        self._waits_for = waits_for
        self._waiting = waiting
        self._notice = Notice()
        self.faults: list[str] = []

    async def opened(self, opening: Callable[[], Awaitable[T]]) -> T:
        """What `opening` returns. Raises StoppedEarlyError, or an error that is not waited for."""
        for failures in count(1):
            try:
                opened = await self._stop.unless_asked(opening())
            except self._waits_for as error:
                self._waiting(str(error))
                self.faults = [f"waiting: {error}"]
                if self._notice.is_due(str(error)):
                    log.warning("waiting, and trying again: %s", error)
            else:
                self.faults = []
                return opened
            await self._stop.unless_asked(asyncio.sleep(_RETRY.delay_s(failures)))
        raise AssertionError
