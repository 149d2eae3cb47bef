"""What each queue has finished, so that an event that comes again is not handled again."""

from enum import Enum
from typing import Protocol


class Claim(Enum):
    """The answer to "may I handle this event?"."""

    MINE = "mine"
    SEEN = "seen"
    BUSY = "busy"


class Store(Protocol):
    """One memory for all workers of an installation. Raises Unreachable."""

    async def claim(self, queue: str, event_id: str, for_s: float) -> Claim:
        """MINE: handle it, and nobody else will for `for_s` seconds while this process lives. SEEN: it was finished."""

    async def finish(self, queue: str, event_id: str) -> None:
        """Remember the event as finished. Only after the function returned, never before."""

    async def release(self, queue: str, event_id: str) -> None:
        """Give up a claim: the event was not finished."""


class MemoryStore:
    """A store for tests and for one process that may forget."""

    def __init__(self) -> None:
        self._claimed: set[tuple[str, str]] = set()
        self._finished: set[tuple[str, str]] = set()

    async def claim(self, queue: str, event_id: str, for_s: float) -> Claim:  # noqa: ARG002  it lives no longer than we do
        key = (queue, event_id)
        if key in self._finished:
            return Claim.SEEN
        if key in self._claimed:
            return Claim.BUSY
        self._claimed.add(key)
        return Claim.MINE

    async def finish(self, queue: str, event_id: str) -> None:
        self._finished.add((queue, event_id))

    async def release(self, queue: str, event_id: str) -> None:
        self._claimed.discard((queue, event_id))
