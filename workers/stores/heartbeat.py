"""A sign of life from a thread of its own, which a busy handler on the event loop does not hold up."""

import asyncio
import logging
import threading
from collections.abc import Callable

from hookline.schemas.errors import Unreachable

log = logging.getLogger("hookline.store")

LEASE_S = 10.0
"""How long after its last sign of life a process counts as alive."""
_BEAT_S = 2.0
_END_S = 5.0


class Heartbeat:
    """Calls `beat`, which blocks and raises Unreachable, every two seconds; `end` once after the last."""

    def __init__(self, beat: Callable[[], None], end: Callable[[], None]) -> None:
        self._beat = beat
        self._end = end
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    async def start(self) -> None:
        """Return once the first sign was given. Raises Unreachable."""
        await asyncio.to_thread(self._beat)
        self._thread.start()

    async def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is None:  # it was never started
            await asyncio.to_thread(self._end)
        else:
            await asyncio.to_thread(self._thread.join, _END_S)

    def _run(self) -> None:
        known = True
        while not self._stop.wait(_BEAT_S):
            try:
                self._beat()
                known = True
            except Unreachable as error:
                if known:
                    log.error("the store cannot be told that this process lives: %s", error)
                known = False
        self._end()
