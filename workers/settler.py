"""Settles the events of an ordered worker once their completion is on disk, many at a time.

The next event of a subject does not wait for the disk, only for the store: it would begin no earlier after a process
died. After a power cut, a few events that were completed, and not settled, come again in their order.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence

from hookline.schemas.broker import Queue, Received
from hookline.schemas.errors import Unreachable
from hookline.workers.store import UnsyncedStore

log = logging.getLogger("hookline.workers")

SYNC_EVERY_S = 0.02
_RETRY_S = 1.0


class Settler:
    """Without a store it settles at once."""

    def __init__(self, store: UnsyncedStore | None) -> None:
        self._store = store
        self._finished: list[tuple[Queue, Received]] = []
        self._arrived = asyncio.Event()
        self._flushing = asyncio.Lock()

    def done(self, finished: Sequence[tuple[Queue, Received]]) -> None:
        """Settle finished events soon."""
        if self._store is None:
            _settle(finished)
            return
        self._finished += finished
        self._arrived.set()

    async def keep(self) -> None:
        """Settle what is finished, until cancelled."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(SYNC_EVERY_S)
            try:
                await self.flush()
            except Unreachable as error:
                log.warning("finished events cannot be settled now: %s", error)
                await asyncio.sleep(_RETRY_S)

    async def flush(self) -> None:
        """Settle what is finished. Raises Unreachable: the rest is kept, or comes again when its queue is closed."""
        async with self._flushing:
            count = len(self._finished)
            if self._store is None or not count:
                return
            await self._store.sync()
            finished, self._finished = self._finished[:count], self._finished[count:]
            if not self._finished:
                self._arrived.clear()
            _settle(finished)


def _settle(finished: Sequence[tuple[Queue, Received]]) -> None:
    by_queue: defaultdict[Queue, list[Received]] = defaultdict(list)
    for queue, received in finished:
        by_queue[queue].append(received)
    for queue, theirs in by_queue.items():
        queue.done(theirs)
