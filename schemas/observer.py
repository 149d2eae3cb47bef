"""What happened, as calls: one method for each kind of thing. Metrics and traces implement it.

The methods of `Observer` do nothing, so that a part without an observer pays for an empty call. Each is called on the
event loop, must return at once, and must not raise. What happens to many events in one turn of the event loop is told
in one call. No argument holds text of a sender but the envelope.
"""

from collections.abc import Sequence
from typing import Protocol

from hookline.schemas.broker import Outcome, Received
from hookline.schemas.envelope import Envelope


class Settled(Protocol):
    """A delivery that has its outcome. `envelope` is None for a message that Hookline did not seal."""

    @property
    def outcome(self) -> Outcome: ...

    @property
    def envelope(self) -> Envelope | None: ...


class Observer:
    """Is told what happens in a process. Override what is of interest."""

    def accepted(self, envelope: Envelope, durable_s: float, answer_s: float) -> None:
        """A genuine callback is durable: so many seconds after it was sealed, and after its head had arrived."""

    def checked(self, source: str) -> None:
        """A provider's check of the URL was answered. It is no event."""

    def refused(self, source: str, reason: str) -> None:
        """A request was refused. `source` is `-` for one to no source, `reason` that of the error."""

    def conflicted(self, source: str) -> None:
        """Two genuine callbacks have one event id and say different things. Workers handle the first."""

    def fetched(self, queue: str, received: Sequence[Received]) -> None:
        """A worker has taken messages from its queue, in this order."""

    def suspected(self, queue: str) -> None:
        """An event that was in flight at two deaths of its process is handled alone."""

    def called(self, queue: str, seconds: Sequence[float]) -> None:
        """Calls of a worker's function have ended, in whatever way, each after so many seconds."""

    def settled(self, queue: str, settled: Sequence[tuple[Settled, float]]) -> None:
        """Deliveries have their outcomes, each so many seconds after it was taken from the queue."""

    def stored(self, operation: str, seconds: float, events: int = 1) -> None:
        """The store has carried out a call, or one for several events at once."""

    def reconnected(self, connection: str) -> None:
        """A lost connection is back."""

    def partition_lost(self, queue: str) -> None:
        """Another process has a partition of this one, whose lease has ended while it ran."""

    def guard_found(self, fault: str | None) -> None:
        """The topology guard has found a fault that it may not mend, or None: a fault that is gone."""

    def bindings_restored(self, queue: str, count: int) -> None:
        """The topology guard has made bindings again that another tool had removed."""

    def unrouted_dropped(self, count: int) -> None:
        """So many unrouted events were dropped, because there were too many."""

    def breaker_opened(self, queue: str) -> None:
        """A queue's breaker has opened: most of its deliveries went wrong."""


NOBODY = Observer()
"""Sees nothing."""
