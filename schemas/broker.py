"""What ingress and workers expect of a broker. Two implementations: RabbitMQ, and the embedded one on SQLite.

The broker stores and moves messages. The worker decides what becomes of a delivery, as an Outcome.
"""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec

from hookline.schemas.dead_letters import Action, DeadLetter, Scanned
from hookline.schemas.envelope import Envelope
from hookline.schemas.queue_states import QueueStates
from hookline.schemas.retries import PendingRetry

M = TypeVar("M")
T = TypeVar("T")

WAITING_FACTOR = 10
"""So many times as many events as are published at once wait for room; on RabbitMQ only without a spool."""
MAX_UNSETTLED_S = 1800.0
"""A broker leaves a message to the process that took it for at least this long. Then it may deliver it elsewhere."""


class Done(msgspec.Struct, frozen=True):
    """Nothing is left to do: the event was handled now or before (`reason` says which)."""

    reason: str = "handled"


class Again(msgspec.Struct, frozen=True):
    """Deliver it again after `delay_s`, as attempt number `attempt`.

    `reason` is one of a few words, `detail` one line for a person. `error` is the traceback of what failed, if anything
    did. It may quote a payload. `kept_error` is as much of it as the broker keeps with the message while it waits.
    """

    delay_s: float
    attempt: int
    reason: str
    detail: str = ""
    error: str = ""
    kept_error: str = ""


class Parked(msgspec.Struct, frozen=True):
    """Keep it as a dead letter of the queue, with the reason, the detail (a traceback) and the number of attempts.

    `events` holds the ids of the events that failed, if others of the same delivery are finished: only these are
    handled when the dead letter is replayed. It is empty if all are to be handled. `is_known`: the store had noted the
    end before, so the function was not called.
    """

    reason: str
    detail: str
    attempts: int
    events: tuple[str, ...] = ()
    is_known: bool = False


Outcome: TypeAlias = Done | Again | Parked


class Received(msgspec.Struct, frozen=True):
    """A message that was taken from a queue. `attempt` counts from 1. Only the broker reads `token`.

    `is_moved`: the broker moves it in one step when it is retried. Otherwise a copy is made, and both may be there.
    """

    headers: Mapping[str, Any]
    content_type: str
    body: bytes
    attempt: int
    token: Any
    is_moved: bool = False


@dataclass(frozen=True, slots=True)
class Retention:
    """Whether received events are kept for replay, how long and how many bytes. The oldest are dropped first."""

    enabled: bool = False
    max_age_s: float = 7 * 24 * 3600
    max_bytes: int = 10 * 2**30


NOTHING_KEPT = Retention()


class Confirm(Protocol):
    """The end of a publish: None once the event is durable, or an error.

    Cancelling means that nobody waits any more.
    """

    def cancel(self) -> bool: ...

    def when_ended(self, callback: Callable[[T, BaseException | None], object], about: T) -> None:
        """Call this with `about` and the error: in the moment in which it ends, or at once if it has ended."""

    def __await__(self) -> Generator[Any, None, None]: ...


class Publisher(Protocol):
    """The ingress's side of a broker."""

    async def publish(self, envelope: Envelope) -> None:
        """Return once the envelope is durable in every queue that wants it, or kept as unrouted.

        Raises NotDurable at once if too much is in flight or the broker is away. Raises it after the time-out if there
        is no confirm by then; the event may or may not be kept in that case.
        """

    def begin(self, envelope: Envelope) -> Confirm:
        """Publish without being awaited; the confirm ends as `publish` does. Raises NotDurable too."""

    @property
    def ready(self) -> bool:
        """Whether a publish can succeed now."""

    @property
    def reason(self) -> str:
        """Why not, as a code such as `broker_away` or `queue_full`; empty while it is ready."""


class Queue(Protocol):
    """A worker's side of a broker: one queue. At most `prefetch` messages are taken and not settled."""

    async def take(self) -> Received:
        """Wait for the next message. Cancelling loses none."""

    def take_arrived(self, most: int) -> Sequence[Received]:
        """The next messages, at most so many, if they have arrived: without waiting."""

    def done(self, received: Sequence[Received]) -> None:
        """Settle messages as `Done`: at once, as `settle` does it for one."""

    async def settle(self, received: Received, outcome: Outcome) -> bool:
        """Carry out the outcome of a message that `take` gave.

        Returns whether a retry with the next number (see `schemas.copies`) is surely durable, or a dead letter. Does
        not raise if the broker is away: the message is delivered again.
        """

    @property
    def attached(self) -> bool:
        """Whether the broker delivers messages to this queue now. It goes on trying while it does not."""

    @property
    def unsettled(self) -> int:
        """How many messages the broker has given to this process that are not settled, also those not taken yet."""

    def holds(self, received: Received) -> bool:
        """Whether a taken message can still be settled. If not, it is delivered again, before the ones after it."""

    async def close(self) -> None:
        """Requeue messages that were taken and not settled, at once and without counting an attempt.

        The caller cancels its pending calls of `take`.
        """


class History(Protocol):
    """Past events, if the settings enable the history."""

    async def wanted_by(self, queue: str) -> frozenset[str]:
        """The binding keys of a worker's queue. Raises UnknownQueue if there is no such queue."""

    def read(self, since: datetime, until: datetime) -> AsyncGenerator[Sequence[Envelope], None]:
        """The envelopes received from `since` until `until` that are kept at the time of the call, in pages.

        They are in the order in which they were made durable, or received. New events do not prolong the reading, and
        it reads at most two pages ahead. Raises SettingsError if nothing was ever kept, or Unreachable.
        """

    async def feed(self, queue: str, envelopes: Sequence[Envelope], headers: Mapping[str, str]) -> None:
        """Return once a worker's queue, and no other, has copies of the envelopes with these extra headers.

        Raises NotDurable; some copies may be in the queue then.
        """


class Scannable(Protocol[M]):
    """Messages of workers' queues that no worker has now: dead letters, or pending retries."""

    async def counts(self) -> Mapping[str, int]:
        """The queues that have any, with their numbers. Raises Unreachable."""

    async def count(self, queue: str) -> int:
        """How many a queue has. Raises UnknownQueue if there is no such queue, or Unreachable."""

    def scan(self, queue: str, decide: Callable[[M], Action]) -> AsyncGenerator[Scanned[M], None]:
        """Go through those of a queue, oldest first, and do with each what `decide` says.

        Each is yielded once that is done, with `Action.KEEP` if it has stayed. Those that arrive during the scan are
        left out. Stopping early loses nothing. Close the generator to release the queue's lock. Raises SettingsError if
        there is no such queue, or Unreachable.
        """


class Retries(Scannable[PendingRetry], Protocol):
    """What waits for its next attempt. A scan begins with the shortest delays, and drops a message or has it due now.

    Such a message keeps its attempt. It is never lost or doubled, whenever the scan ends. A message whose time comes
    while a scan holds it is delivered when the scan ends.
    """


class DeadLetters(Scannable[DeadLetter], Protocol):
    """The dead letters of workers' queues, and unrouted events (`dead_letters.UNROUTED`).

    A replayed dead letter returns to its queue only, as a first attempt and with the number of its replays. An unrouted
    event is published again, and stays if no queue wants it. If a scan stops early, some may have been replayed and
    still be there: a worker handles an event that is replayed twice once.
    """

    async def drop_unrouted(self, max_events: int) -> int:
        """Drop the oldest unrouted events above `max_events`, some thousands at most, and return how many.

        Raises SettingsError if this process may not, or Unreachable, also while another one goes through them.
        """

    async def wanted(self) -> frozenset[str]:
        """The binding keys of all workers' queues: an unrouted event that matches none stays. Raises Unreachable.

        Queues of other programs may be bound to more.
        """


class Broker(Protocol):
    """The queues of one installation."""

    @property
    def publisher(self) -> Publisher: ...

    @property
    def history(self) -> History: ...

    @property
    def dead_letters(self) -> DeadLetters: ...

    @property
    def retries(self) -> Retries: ...

    @property
    def queue_states(self) -> QueueStates: ...

    @property
    def faults(self) -> Sequence[str]:
        """What this process relies on and does not have now: each a sentence for an operator."""

    async def declare_partitions(self, queue: str, patterns: Sequence[str]) -> None:
        """Declare the queues of an ordered worker, one per partition, with their bindings.

        Messages in the worker's own queue are moved to their partitions: those from before the worker was ordered, and
        those that are put there later by name. Raises as `subscribe` does.
        """

    async def subscribe(
        self,
        queue: str,
        patterns: Sequence[str],
        prefetch: int,
        partition: str | None = None,
        *,
        unsettled_s: float = 0.0,
    ) -> Queue:
        """Declare a worker's queue with its bindings, and consume from it.

        `queue` and `patterns` are as in `@worker`: short names and topic patterns. Earlier patterns that are no longer
        named are unbound. With a partition, only consume from its queue, which was declared before: its messages come
        in the order of arrival, and to one process at a time.

        `unsettled_s` is how long a message may be in the worker's process, with its wait for those before it. The
        broker asks its server to wait that long, or logs a warning where the server may not. Raises Unreachable, or
        SettingsError if the queue exists in another form.
        """

    async def close(self) -> None:
        """Wait for publishes in flight, then close."""
