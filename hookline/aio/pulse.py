"""A signal that ends waits: what one has learned, others need not wait for."""

import asyncio


class Pulse:
    """Wakes everything that waits for it at that moment. A later wait needs another pulse."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()

    def send(self) -> None:
        for woken in self._waiting:
            woken.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a pulse; False if the time passes without one."""
        woken = asyncio.Event()
        self._waiting.add(woken)
        try:
            async with asyncio.timeout(timeout_s):
                await woken.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(woken)
        return True
