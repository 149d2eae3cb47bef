"""How long a worker's calls take of late."""

import asyncio

_QUICK_S = 0.01
_WEIGHT = 1 / 16  # of the latest call in the mean


class HandlerLatency:
    """Whether it pays to have more events in hand than are handled.

    It does where calls are so short that the store, which is asked for many at once, costs more than they do. Events
    that wait for long calls are better left to other processes; and if this one dies, they are not suspected.
    """

    def __init__(self) -> None:
        self._mean_s = _QUICK_S
        self._is_quick = asyncio.Event()

    def note(self, call_s: float) -> None:
        """Count a call that took so many seconds."""
        self._mean_s += (call_s - self._mean_s) * _WEIGHT
        if self._mean_s < _QUICK_S:
            self._is_quick.set()
        else:
            self._is_quick.clear()

    async def quick(self) -> None:
        """Return once calls are short; the first ones have to show it."""
        await self._is_quick.wait()
