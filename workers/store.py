"""What each queue has finished, so that a repeat is not handled again; and in whose hands what died."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import msgspec


class Acquired(msgspec.Struct, frozen=True, gc=False):
    """The event is this process's to handle.

    `crash_suspect`: it was in flight in a process that died. `crashes` counts how often that happened while the event
    was handled alone, when nothing else can have been the cause. `failures` counts the releases that said so.
    `newest_s`: the latest `occurred_s` that was finished for the subject until then, if one was asked for and known.
    """

    crash_suspect: bool = False
    crashes: int = 0
    failures: int = 0
    newest_s: float | None = None


class Duplicate(msgspec.Struct, frozen=True, gc=False):
    """The queue has finished the event."""


class LeasedElsewhere(msgspec.Struct, frozen=True, gc=False):
    """Another process has it in hand."""


Claim: TypeAlias = Acquired | Duplicate | LeasedElsewhere


@dataclass(frozen=True, slots=True)
class Assignment:
    """The partitions that this process holds now.

    `surplus` are those among them that others wait for: take nothing new of them, and let each go once nothing of it
    is in hand. A partition that was surplus may cease to be, when another process ended.
    """

    partitions: frozenset[str]
    surplus: frozenset[str] = frozenset()


class AlreadyFinished(Exception):
    """Another process finished the event meanwhile, so nothing of this transaction was written."""


class Store(Protocol):
    """One memory for all workers of an installation. Raises Unreachable."""

    async def claim(self, queue: str, event_id: str, for_s: float, subject: str | None = None) -> Claim:
        """Ask for an event. A claim lasts `for_s` seconds, and no longer than the process that made it.

        With a subject, `Acquired` tells the newest of it.
        """

    async def mark_exclusive(self, queue: str, event_id: str) -> None:
        """Note that an event which was claimed is handled alone from now on."""

    async def finish(self, queue: str, event_id: str, *, subject: str | None = None, occurred_s: float = 0.0) -> None:
        """Remember the event as finished. Only after the function returned, never before.

        With a subject, the newest of it is from now on at least `occurred_s`.
        """

    async def release(self, queue: str, event_id: str, *, failed: bool = False, parked: bool = False) -> None:
        """Give up a claim: the event was not finished, and did no harm to the process.

        `failed`: the next `Acquired` counts one more failure. `parked`: nobody will ask again, unless a person has it
        replayed, and that begins with no failures and no crashes.
        """

    async def forget(self, queue: str, event_ids: Sequence[str]) -> None:
        """Have these events handled again, should they come again, although they were finished."""

    async def assign(self, queue: str, partitions: Sequence[str]) -> Assignment:
        """Divide the named partitions among the live processes that call this for the queue, every second or so.

        Each process gets as many as any other, give or take one, and no two hold the same. This process takes free ones
        up to its part. A partition is free if it was never assigned, if it was revoked, or if its holder died.
        """

    async def revoke(self, queue: str, partition: str) -> None:
        """Make a partition free that this process holds."""


@runtime_checkable
class TransactionalStore(Store, Protocol):
    """A store that can commit a worker's own writes together with the mark that its event is finished."""

    def transaction(
        self, queue: str, event_id: str, *, subject: str | None = None, occurred_s: float = 0.0
    ) -> AbstractAsyncContextManager[Any]:
        """What a worker's function writes through; at the end, its writes and the mark of `finish` commit as one.

        After an exception nothing is written. Raises AlreadyFinished at the end if another process was faster; then
        nothing is written either.
        """


@dataclass(slots=True)
class MemoryStore:
    """A store for tests and for one process that may forget. Nobody dies in it."""

    _claimed: set[tuple[str, str]] = field(default_factory=set)
    _finished: set[tuple[str, str]] = field(default_factory=set)
    _failures: dict[tuple[str, str], int] = field(default_factory=dict)
    _newest: dict[tuple[str, str], float] = field(default_factory=dict)

    async def claim(
        self,
        queue: str,
        event_id: str,
        for_s: float,  # noqa: ARG002  it lives no longer than we
        subject: str | None = None,
    ) -> Claim:
        key = (queue, event_id)
        if key in self._finished:
            return Duplicate()
        if key in self._claimed:
            return LeasedElsewhere()
        self._claimed.add(key)
        newest_s = None if subject is None else self._newest.get((queue, subject))
        return Acquired(failures=self._failures.get(key, 0), newest_s=newest_s)

    async def mark_exclusive(self, queue: str, event_id: str) -> None:
        """Nothing to note: what dies takes this store with it."""

    async def finish(self, queue: str, event_id: str, *, subject: str | None = None, occurred_s: float = 0.0) -> None:
        key = (queue, event_id)
        self._claimed.discard(key)
        self._failures.pop(key, None)
        self._finished.add(key)
        if subject is not None:
            self._newest[queue, subject] = max(occurred_s, self._newest.get((queue, subject), occurred_s))

    async def release(self, queue: str, event_id: str, *, failed: bool = False, parked: bool = False) -> None:
        key = (queue, event_id)
        self._claimed.discard(key)
        if parked:
            self._failures.pop(key, None)
        elif failed:
            self._failures[key] = self._failures.get(key, 0) + 1

    async def forget(self, queue: str, event_ids: Sequence[str]) -> None:
        self._finished.difference_update((queue, event_id) for event_id in event_ids)

    async def assign(self, queue: str, partitions: Sequence[str]) -> Assignment:  # noqa: ARG002  one process holds all
        return Assignment(frozenset(partitions))

    async def revoke(self, queue: str, partition: str) -> None:
        """Nobody else would take it."""
