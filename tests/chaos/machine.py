"""How much other programs slow this machine down: what is computed takes longer, and bounds have to allow for it."""

import asyncio
import hashlib
import time

_BLOCK = bytes(2**20)
_BLOCKS = 40
_EVERY_S = 3.0


class Machine:
    """`slowdown` is how many seconds a second of computing has taken so far: 1 on an idle machine."""

    def __init__(self) -> None:
        self._samples: list[float] = []

    @property
    def slowdown(self) -> float:
        return max(1.0, sum(self._samples) / len(self._samples)) if self._samples else 1.0

    async def watch(self) -> None:
        """Measure until cancelled, with about two hundredths of a processor."""
        while True:
            self._samples.append(await asyncio.to_thread(_measure))
            await asyncio.sleep(_EVERY_S)


def _measure() -> float:
    began_at, began_cpu_s = time.monotonic(), time.thread_time()
    for _ in range(_BLOCKS):
        hashlib.sha256(_BLOCK).digest()
    return (time.monotonic() - began_at) / (time.thread_time() - began_cpu_s)
