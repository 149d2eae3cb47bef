"""Whether a process can do its work now: what it relies on and does not have."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

log = logging.getLogger("hookline")

LOOK_EVERY_S = 2.0


@runtime_checkable
class Watched(Protocol):
    """A part of the process that knows what it is missing."""

    @property
    def faults(self) -> Sequence[str]:
        """What this process relies on and does not have now: each a sentence for an operator."""


class Readiness:
    """Asks the parts of the process. `watch` logs each change that lasts for two looks."""

    def __init__(self, parts: Sequence[Watched]) -> None:
        self._parts = parts
        self._said: frozenset[str] = frozenset()

    @property
    def faults(self) -> list[str]:
        return [fault for part in self._parts for fault in part.faults]

    @property
    def is_ready(self) -> bool:
        return not self.faults

    async def watch(self) -> None:
        """Look until cancelled. A connection that is back within seconds is not worth a line."""
        before = self._said
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = frozenset(self.faults)
            if now == before:
                self._say(now)
            before = now

    def _say(self, faults: frozenset[str]) -> None:
        if faults == self._said:
            return
        if faults:
            log.warning("not ready: %s", "; ".join(sorted(faults)))
        else:
            log.info("ready again")
        self._said = faults
