"""The store: which events each queue has finished, and which are in flight, or were in a process that died."""

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import msgspec

_SUSPECT_DEATHS = 2


class Acquired(msgspec.Struct, frozen=True, gc=False):
    """The event is in flight in this process now.

    `deaths` counts how often the event was in flight in a process that died, and `crashes` how often it was handled
    exclusively then, so that nothing else can be the cause. `failures` is the sum of what was released with the event,
    and `copy` the highest number that was. `tried` is the highest of `note_attempt`. `newest_s` is the latest
    `occurred_s` finished for the subject, if the claim names one and it is known.
    """

    deaths: int = 0
    crashes: int = 0
    failures: int = 0
    newest_s: float | None = None
    copy: int = 0
    tried: int = 0

    @property
    def crash_suspect(self) -> bool:
        """Whether it was in flight at two deaths. One death says little: all events in flight have it in common."""
        return self.deaths >= _SUSPECT_DEATHS


class Duplicate(msgspec.Struct, frozen=True, gc=False):
    """The queue has finished the event before."""


class LeasedElsewhere(msgspec.Struct, frozen=True, gc=False):
    """The event is in flight in another process."""


Claim: TypeAlias = Acquired | Duplicate | LeasedElsewhere


@dataclass(frozen=True, slots=True)
class Assignment:
    """The partitions that are assigned to this process.

    Other processes wait for those in `surplus`: take nothing new from them, and revoke each once nothing of it is in
    flight. A partition stops being surplus when another process ends.
    """

    partitions: frozenset[str]
    surplus: frozenset[str] = frozenset()


class AlreadyFinished(Exception):
    """Another process finished the event first. Nothing of this transaction was written."""


class Store(Protocol):
    """The state that all workers of an installation share. Every method raises Unreachable."""

    async def claim(self, queue: str, event_id: str, subject: str | None = None) -> Claim:
        """Claim an event. The claim lasts until the event is finished or released, or this process dies.

        A claim that the store has, and of which this process did not learn, ends within a lease. With a subject,
        `Acquired` says the newest time of that subject.
        """

    def holds(self, queue: str, event_id: str) -> bool:
        """Whether this process surely has its claim on an event still. Asks nobody.

        If the process was frozen, or did not reach the store for nearly a lease, another one may have the event.
        """

    async def mark_exclusive(self, queue: str, event_id: str) -> None:
        """Note that a claimed event is handled exclusively from now on.

        Raises Unreachable if this process does not have the claim any more.
        """

    async def finish(self, queue: str, event_id: str, *, subject: str | None = None, occurred_s: float = 0.0) -> None:
        """Record that the event is finished. Call this only after the function has returned.

        With a subject, its newest time becomes at least `occurred_s`.
        """

    async def note_attempt(self, queue: str, event_id: str, *, failures: int, tried: int) -> bool:
        """Count the failures of a claimed event, which stays claimed. Whether this process has the claim still.

        They count once for each number in `tried`, which grows: nothing changes if it is no higher than before.
        """

    async def release(self, queue: str, event_id: str, *, failures: int = 0, copy: int = 0, tried: int = 0) -> None:
        """Give up a claim: the event is not finished, and the process has survived it.

        The next `Acquired` counts so many more `failures`, and has this number as its `copy` if it had none higher.
        With `tried`, the failures count as for `note_attempt`: not if it was carried out before.
        """

    async def start_anew(self, queue: str, event_id: str, copy: int) -> None:
        """Forget what was counted of a claimed event, which is replayed. Its `copy` is this number then.

        Raises Unreachable if this process does not have the claim any more.
        """

    async def forget(self, queue: str, event_ids: Sequence[str]) -> None:
        """Forget that these events are finished: another delivery of one is handled again."""

    async def assign(self, queue: str, partitions: Sequence[str], consuming: Collection[str]) -> Assignment:
        """Divide the named partitions among the live processes. Each process calls this every second or so.

        All processes get the same number of partitions, give or take one, and no partition is held twice. This process
        takes free partitions up to its part. A partition is free if it was never assigned, was revoked, or its holder
        died; also if its holder has not named it in `consuming` for a lease, while others consume theirs.
        """

    async def revoke(self, queue: str, partition: str) -> None:
        """Free a partition that this process holds."""

    async def decline(self, queue: str, partition: str) -> None:
        """Have another process take a partition, where there is one that has not declined it.

        The partition is surplus for this process then, and it does not count when the others are divided. That ends
        with this process, or after a minute.
        """


@runtime_checkable
class TransactionalStore(Store, Protocol):
    """A store that commits a worker's own writes together with the completion record of its event."""

    def transaction(
        self, queue: str, event_id: str, *, timeout_s: float, subject: str | None = None, occurred_s: float = 0.0
    ) -> AbstractAsyncContextManager[Any]:
        """What a worker's function writes through. Its writes and the completion record commit as one at the end.

        After an exception nothing is written. Raises AlreadyFinished at the end, and writes nothing, if another
        process has finished the event. `timeout_s` is the function's time-out, which the caller keeps: the store bounds
        by it how long a process that was frozen keeps others waiting. Raises Unreachable for what is not the function's
        fault, such as a lock that another has for too long.
        """


@runtime_checkable
class UnsyncedStore(Store, Protocol):
    """A store that can finish events before they are on disk."""

    async def finish_unsynced(
        self, queue: str, event_id: str, *, subject: str | None = None, occurred_s: float = 0.0
    ) -> None:
        """As `finish`, but a power cut may undo it until `sync` has returned. The death of this process does not."""

    async def sync(self) -> None:
        """Return once all that was finished before is on disk."""


@runtime_checkable
class GroupStore(Store, Protocol):
    """A store that is asked about many events at once, at the cost of a few."""

    async def claim_all(self, queue: str, events: Sequence[tuple[str, str | None]]) -> Sequence[Claim | Exception]:
        """As `claim` for several events, none of them twice, each with its subject: the claim on each, or its error."""

    async def finish_all(
        self, queue: str, events: Sequence[tuple[str, str | None, float]], *, synced: bool = True
    ) -> Sequence[Exception | None]:
        """As `finish` for several events, each with subject and time: None for each, or its error.

        Only an `UnsyncedStore` looks at `synced`: False is for `finish_unsynced`.
        """


@dataclass(slots=True)
class MemoryStore:
    """A store for tests, and for one process that may forget. Its state ends with the process."""

    _claimed: set[tuple[str, str]] = field(default_factory=set)
    _finished: set[tuple[str, str]] = field(default_factory=set)
    _failures: dict[tuple[str, str], int] = field(default_factory=dict)
    _copies: dict[tuple[str, str], int] = field(default_factory=dict)
    _tried: dict[tuple[str, str], int] = field(default_factory=dict)
    _newest: dict[tuple[str, str], float] = field(default_factory=dict)

    async def claim(self, queue: str, event_id: str, subject: str | None = None) -> Claim:
        key = (queue, event_id)
        if key in self._finished:
            return Duplicate()
        if key in self._claimed:
            return LeasedElsewhere()
        self._claimed.add(key)
        newest_s = None if subject is None else self._newest.get((queue, subject))
        failures, copy, tried = (each.get(key, 0) for each in (self._failures, self._copies, self._tried))
        return Acquired(failures=failures, newest_s=newest_s, copy=copy, tried=tried)

    def holds(self, queue: str, event_id: str) -> bool:  # noqa: ARG002  no other process could have it
        return True

    async def mark_exclusive(self, queue: str, event_id: str) -> None:
        """Nothing to note: this store ends with its process."""

    async def finish(self, queue: str, event_id: str, *, subject: str | None = None, occurred_s: float = 0.0) -> None:
        key = (queue, event_id)
        self._claimed.discard(key)
        self._failures.pop(key, None)
        self._copies.pop(key, None)
        self._tried.pop(key, None)
        self._finished.add(key)
        if subject is not None:
            self._newest[queue, subject] = max(occurred_s, self._newest.get((queue, subject), occurred_s))

    async def note_attempt(self, queue: str, event_id: str, *, failures: int, tried: int) -> bool:
        self._count((queue, event_id), failures, tried)
        return True

    async def release(self, queue: str, event_id: str, *, failures: int = 0, copy: int = 0, tried: int = 0) -> None:
        key = (queue, event_id)
        self._claimed.discard(key)
        self._count(key, failures, tried)
        if copy:
            self._copies[key] = max(copy, self._copies.get(key, 0))

    async def start_anew(self, queue: str, event_id: str, copy: int) -> None:
        self._failures.pop((queue, event_id), None)
        self._tried.pop((queue, event_id), None)
        self._copies[queue, event_id] = copy

    def _count(self, key: tuple[str, str], failures: int, tried: int) -> None:
        before = self._tried.get(key, 0)
        if failures and (not tried or tried > before):
            self._failures[key] = self._failures.get(key, 0) + failures
        if tried > before:
            self._tried[key] = tried

    async def forget(self, queue: str, event_ids: Sequence[str]) -> None:
        self._finished.difference_update((queue, event_id) for event_id in event_ids)

    async def assign(
        self,
        queue: str,  # noqa: ARG002  this process holds all
        partitions: Sequence[str],
        consuming: Collection[str],  # noqa: ARG002  no other process could take one
    ) -> Assignment:
        return Assignment(frozenset(partitions))

    async def revoke(self, queue: str, partition: str) -> None:
        """No other process could take it."""

    async def decline(self, queue: str, partition: str) -> None:
        """No other process could take it."""
