"""Heartbeats from a thread of its own, which a busy handler on the event loop does not delay."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from hookline.aio.threads import ended
from hookline.schemas.errors import Unreachable

log = logging.getLogger("hookline.store")

BEAT_S = 2.0
_END_S = 3.0


class Heartbeat:
    """Calls `beat` every two seconds and `end` once at the end. Both block.

    `beat` raises Unreachable. Whatever else it raises is logged, and the next heartbeat is sent all the same.
    """

    def __init__(self, beat: Callable[[], None], end: Callable[[], None]) -> None:
        self._beat = beat
        self._end = end
        self._began: asyncio.Future[None] | None = None
        self._stop = threading.Event()
        self._fault = ""
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    @property
    def faults(self) -> list[str]:
        """A sentence for an operator while heartbeats fail."""
        return [f"the store does not take this process's heartbeats: {self._fault}"] if self._fault else []

    async def start(self) -> None:
        """Return after the first heartbeat. Raises Unreachable."""
        self._began = asyncio.get_running_loop().create_future()
        self._thread.start()
        await self._began

    async def stop(self) -> None:
        """Call `end`, and wait for a few seconds until it returns: the thread may wait for a server that is silent."""
        self._stop.set()
        if self._thread.ident is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await ended(self._thread)

    def _run(self) -> None:
        try:
            self._beat()
        except Exception as error:  # noqa: BLE001  the caller of `start` gets it, whatever it is
            _tell(self._began, error)
            self._stop.wait()
        else:
            _tell(self._began)
        while not self._stop.wait(BEAT_S):
            self._beat_once()
        self._end()

    def _beat_once(self) -> None:
        """Log the first failure of several."""
        try:
            self._beat()
        except Unreachable as error:
            if not self._fault:
                log.error("the heartbeat does not reach the store: %s", error)
            self._fault = str(error) or type(error).__name__
        except Exception as error:
            if not self._fault:
                log.exception("the heartbeat failed")
            self._fault = type(error).__name__
        else:
            self._fault = ""


def _tell(future: "asyncio.Future[None] | None", error: Exception | None = None) -> None:
    """End a future from the thread, unless its event loop is closed: nobody waits any more."""
    if future is not None:
        with suppress(RuntimeError):
            future.get_loop().call_soon_threadsafe(_end, future, error)


def _end(future: "asyncio.Future[None]", error: Exception | None) -> None:
    if future.done():  # its caller has stopped waiting
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
