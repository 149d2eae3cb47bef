"""What each queue has finished, so that a repeat is not handled again; and in whose hands what died."""

from dataclasses import dataclass, field
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Mine:
    """Handle it; nobody else will meanwhile.

    `suspect`: the process that had it before died with it in hand. `crashes` counts how often that happened while the
    event was handled alone, when nothing else can have been the cause.
    """

    suspect: bool = False
    crashes: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """The queue has finished the event."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Another process has it in hand."""


Claim: TypeAlias = Mine | Seen | Busy


class Store(Protocol):
    """One memory for all workers of an installation. Raises Unreachable."""

    async def claim(self, queue: str, event_id: str, for_s: float) -> Claim:
        """Ask for an event. A claim lasts `for_s` seconds, and no longer than the process that made it."""

    async def isolate(self, queue: str, event_id: str) -> None:
        """Note that an event which was claimed is handled alone from now on."""

    async def finish(self, queue: str, event_id: str) -> None:
        """Remember the event as finished. Only after the function returned, never before."""

    async def release(self, queue: str, event_id: str) -> None:
        """Give up a claim: the event was not finished, and did no harm to the process."""


@dataclass(slots=True)
class MemoryStore:
    """A store for tests and for one process that may forget. Nobody dies in it."""

    _claimed: set[tuple[str, str]] = field(default_factory=set)
    _finished: set[tuple[str, str]] = field(default_factory=set)

    async def claim(self, queue: str, event_id: str, for_s: float) -> Claim:  # noqa: ARG002  it lives no longer than we
        key = (queue, event_id)
        if key in self._finished:
            return Seen()
        if key in self._claimed:
            return Busy()
        self._claimed.add(key)
        return Mine()

    async def isolate(self, queue: str, event_id: str) -> None:
        """Nothing to note: what dies takes this store with it."""

    async def finish(self, queue: str, event_id: str) -> None:
        self._finished.add((queue, event_id))

    async def release(self, queue: str, event_id: str) -> None:
        self._claimed.discard((queue, event_id))
