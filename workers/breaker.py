"""A breaker for each queue: after a bad deploy, it keeps the worker from parking everything.

When most of the last hundred deliveries were parked, nothing more is taken. Then one delivery at a time is let through,
more and more rarely, until one is handled. What was taken before is finished as usual.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import groupby
from time import monotonic
from typing import assert_never

from hookline.schemas.broker import Again, Done, Outcome, Parked

log = logging.getLogger("hookline.workers")

NEVER_OPENS = 100
_OF_LAST = 100
_FIRST_TRY_S = 5.0
_MAX_TRY_S = 60.0


class Breaker:
    """Opens when more than `max_percent` of the last hundred deliveries were parked; at `NEVER_OPENS` it never does.

    A delivery counts once it is handled or parked. Crashes count, because an event that crashes its process again and
    again is parked. Repeats do not, nor what is parked again because its dead letter was lost on the way: the function
    was not called. `opened` is called with the queue when the breaker opens.
    """

    def __init__(
        self,
        queue: str,
        max_percent: int,
        opened: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._queue = queue
        self._max_parked = max_percent * _OF_LAST // 100
        self._opened = opened
        self._clock = clock
        self._counted = 0
        self._parked: deque[int] = deque()  # the numbers of those that were parked, of the last hundred counted
        self._try_every_s = _FIRST_TRY_S
        self._next_try_s = 0.0
        self._changed = asyncio.Event()
        self.is_open = False

    @property
    def faults(self) -> list[str]:
        """What an operator should know, while it is open."""
        if not self.is_open:
            return []
        return [f"the breaker of {self._queue} is open: most of its deliveries were parked"]

    async def admitted(self) -> None:
        """Return when the caller may take a delivery: at once while the breaker is closed."""
        while self.is_open:
            wait_s = self._next_try_s - self._clock()
            if wait_s <= 0:
                self._next_try_s = self._clock() + self._try_every_s
                self._try_every_s = min(2 * self._try_every_s, _MAX_TRY_S)
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """Count deliveries that were handled or parked. Others, such as repeats, say nothing about the function."""
        for outcome, same in groupby(outcomes):  # nearly all are the same
            count = len(list(same))
            match outcome:
                case Parked(is_known=False):
                    self._count_parked(count)
                case Done(reason="handled"):
                    self._count_handled(count)
                case Parked() | Done():
                    self._try_another()
                case Again():
                    pass
                case _:
                    assert_never(outcome)

    def _try_another(self) -> None:
        """Let another delivery through now, if the breaker is open: the function was not called for the last one."""
        if self.is_open:
            self._next_try_s = self._clock()
            self._try_every_s = max(self._try_every_s / 2, _FIRST_TRY_S)
            self._wake()

    def _count_parked(self, count: int) -> None:
        for _ in range(count):
            self._counted += 1
            self._parked.append(self._counted)
            self._open_if_most_were_parked()

    def _count_handled(self, count: int) -> None:
        if self.is_open:
            self._close()
        missing = _OF_LAST - self._counted
        if not 0 < missing <= count:
            self._counted += count
            return
        self._counted = _OF_LAST
        self._open_if_most_were_parked()
        if count > missing:
            self._count_handled(count - missing)

    def _open_if_most_were_parked(self) -> None:
        while self._parked and self._parked[0] <= self._counted - _OF_LAST:
            self._parked.popleft()
        if len(self._parked) > self._max_parked and self._counted >= _OF_LAST and not self.is_open:
            self._open()

    def _open(self) -> None:
        self.is_open = True
        self._try_every_s = _FIRST_TRY_S
        self._next_try_s = self._clock() + _FIRST_TRY_S
        log.error(
            "%s: %d of the last %d deliveries were parked, so it takes only one now and then until one is handled; "
            "mend the worker, then `hookline dead replay %s`",
            self._queue,
            len(self._parked),
            _OF_LAST,
            self._queue,
        )
        self._opened(self._queue)

    def _close(self) -> None:
        log.info("%s: a delivery was handled, so it takes all of them again", self._queue)
        self.is_open = False
        self._counted = 0
        self._parked.clear()
        self._wake()

    def _wake(self) -> None:
        """Have all who wait look again."""
        self._changed.set()
        self._changed.clear()
