"""Looks at the queues every 15 seconds, for the gauges. What is behind a look costs a few calls of the broker."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from hookline.admin.metrics import Metrics, Values
from hookline.schemas.errors import HooklineError, SettingsError, Unreachable
from hookline.schemas.queue_states import QueueState, QueueStates

log = logging.getLogger("hookline.admin")

LOOK_EVERY_S = 15.0
_NAMES_EVERY_S = 300.0
_MAX_QUEUES = 100
_LOOK_S = 10.0


class OldestBound:
    """How old the oldest waiting message of a queue is at most, where the broker does not show it.

    A message that waits is younger than the one that was taken last, and has come since the queue was last seen empty.
    Where neither is known, the age is that of the first look: it may be older.
    """

    def __init__(self, now_s: float) -> None:
        self._empty_s = now_s
        self._was_empty = False

    def look(self, waiting: int, fetched_s: float | None, now_s: float) -> float:
        """The age in seconds. `fetched_s` is when the message that was taken last had been received."""
        if not waiting:
            self._empty_s, self._was_empty = now_s, True
            return 0.0
        since_empty_s = now_s - self._empty_s
        if fetched_s is None:
            return since_empty_s
        since_fetched_s = max(now_s - fetched_s, 0.0)
        return min(since_empty_s, since_fetched_s) if self._was_empty else since_fetched_s


class QueuePoll:
    """Keeps the gauges of queues. `queues` are those to look at; None stands for all that the broker knows."""

    def __init__(
        self,
        looks_at: QueueStates,
        metrics: Metrics,
        queues: Sequence[str] | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._looks_at = looks_at
        self._metrics = metrics
        self._queues = queues
        self._now = now
        self._named_s = float("-inf")
        self._names: Sequence[str] = queues or ()
        self._states: Sequence[QueueState] = ()
        self._unrouted: int | None = None
        self._oldest: dict[str, OldestBound] = {}
        self._oldest_s: dict[str, float] = {}
        self._is_said = False
        for name, read in self._gauges().items():
            metrics.gauge(name, read)

    async def keep(self) -> None:
        """Look until cancelled. A broker that is away leaves no values."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self.look()
            except (HooklineError, TimeoutError) as error:
                log.debug("the queues cannot be looked at: %s", error)
                self._states, self._unrouted = (), None
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Raises Unreachable."""
        if self._queues is None and time.monotonic() - self._named_s >= _NAMES_EVERY_S:
            await self._look_for_names()
        self._states = await self._looks_at.states(self._names[:_MAX_QUEUES])
        self._unrouted = await self._looks_at.unrouted()
        now_s = self._now()
        for state in self._states:
            bound = self._oldest.setdefault(state.queue, OldestBound(now_s))
            bound_s = bound.look(state.waiting, _seconds(self._metrics.last_fetched(state.queue)), now_s)
            self._oldest_s[state.queue] = bound_s if state.oldest_s is None else state.oldest_s

    async def _look_for_names(self) -> None:
        """Keep those that are known if the register of queues cannot be read, and try again at the next look."""
        try:
            names = await self._looks_at.names()
        except SettingsError as error:
            if not self._is_said:
                log.warning("metrics and alerts miss queues that no process works on: %s", error)
            self._is_said = True
            return
        except Unreachable as error:
            log.debug("the names of the queues cannot be read: %s", error)
            return
        if len(names) > _MAX_QUEUES:
            log.warning("there are %d queues; gauges show %d of them", len(names), _MAX_QUEUES)
        self._names, self._named_s, self._is_said = names, time.monotonic(), False

    def _gauges(self) -> Mapping[str, Callable[[], Values]]:
        return {
            "queue_ready": lambda: {(each.queue,): each.waiting for each in self._states},
            "dead_letters": lambda: {(each.queue,): each.dead for each in self._states},
            "consumers": lambda: {(each.queue,): each.consumers for each in self._states if each.consumers is not None},
            "queue_oldest_seconds": lambda: {
                (each.queue,): self._oldest_s.get(each.queue, 0.0) if each.waiting else 0.0 for each in self._states
            },
            "unrouted": lambda: {} if self._unrouted is None else {(): self._unrouted},
        }


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
