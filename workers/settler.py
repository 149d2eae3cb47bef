"""Settles the events of an ordered worker once their completion is on disk, many at a time.

The next event of a subject does not wait for the disk, only for the store: it would begin no earlier after a process
died. After a power cut, a few events that were completed, and not settled, come again in their order.
"""

import asyncio
import logging

from hookline.schemas.broker import Done, Outcome, Queue, Received
from hookline.schemas.errors import Unreachable
from hookline.workers.store import UnsyncedStore

log = logging.getLogger("hookline.workers")

_SYNC_EVERY_S = 0.02
_RETRY_S = 1.0


class Settler:
    """Without a store it takes no event."""

    def __init__(self, store: UnsyncedStore | None) -> None:
        self._store = store
        self._finished: list[tuple[Queue, Received, Done]] = []
        self._arrived = asyncio.Event()
        self._flushing = asyncio.Lock()

    def takes(self, queue: Queue, received: Received, outcome: Outcome) -> bool:
        """Whether the event is done and is settled here soon. If not, the caller settles it now."""
        if self._store is None or not isinstance(outcome, Done):
            return False
        self._finished.append((queue, received, outcome))
        self._arrived.set()
        return True

    async def keep(self) -> None:
        """Settle what is finished, until cancelled."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(_SYNC_EVERY_S)
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
            for queue, received, outcome in finished:
                await queue.settle(received, outcome)
