"""Heartbeats from a thread of its own, which a busy handler on the event loop does not delay."""

import asyncio
import logging
import threading
from collections.abc import Callable

from hookline.schemas.errors import Unreachable

log = logging.getLogger("hookline.store")

LEASE_S = 10.0
"""How long a process counts as alive after its last heartbeat."""
_BEAT_S = 2.0
_END_S = 5.0


class Heartbeat:
    """Calls `beat` every two seconds and `end` once at the end. Both block; `beat` raises Unreachable."""

    def __init__(self, beat: Callable[[], None], end: Callable[[], None]) -> None:
        self._beat = beat
        self._end = end
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    async def start(self) -> None:
        """Return after the first heartbeat. Raises Unreachable."""
        await asyncio.to_thread(self._beat)
        self._thread.start()

    async def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is None:  # `start` failed
            await asyncio.to_thread(self._end)
        else:
            await asyncio.to_thread(self._thread.join, _END_S)

    def _run(self) -> None:
        reachable = True
        while not self._stop.wait(_BEAT_S):
            try:
                self._beat()
                reachable = True
            except Unreachable as error:
                if reachable:
                    log.error("the heartbeat does not reach the store: %s", error)
                reachable = False
        self._end()
