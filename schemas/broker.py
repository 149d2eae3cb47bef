"""What the ends expect of the queue in between. Two implementations: RabbitMQ, and the embedded one (SQLite).

The broker knows how messages are kept and moved; what becomes of a delivery is decided by the worker, as an Outcome.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeAlias

import msgspec

from hookline.schemas.dead_letters import Action, DeadLetter, Scanned
from hookline.schemas.envelope import Envelope

MAX_UNSETTLED_S = 1800.0
"""A broker leaves a message to the process that took it for at least this long. Then it may deliver it elsewhere."""


class Done(msgspec.Struct, frozen=True):
    """Nothing is left to do: handled now, or handled before (`reason` says which)."""

    reason: str = "handled"


class Again(msgspec.Struct, frozen=True):
    """Deliver it again after `delay_s`. `attempt` is the number that the next delivery shall carry.

    `reason` is one of a few words, `detail` one line for a person.
    """

    delay_s: float
    attempt: int
    reason: str
    detail: str = ""


class Parked(msgspec.Struct, frozen=True):
    """Keep it among the dead letters of the queue, with the reason, the detail (a traceback) and the attempts made."""

    reason: str
    detail: str
    attempts: int


Outcome: TypeAlias = Done | Again | Parked


class Received(msgspec.Struct, frozen=True):
    """One message that a queue handed out. `attempt` counts from 1; `token` is the broker's own."""

    headers: Mapping[str, Any]
    content_type: str
    body: bytes
    attempt: int
    token: Any


@dataclass(frozen=True, slots=True)
class Retention:
    """Whether what is received is kept for replay, for how long, and how much of it; the oldest goes first."""

    enabled: bool = False
    max_age_s: float = 7 * 24 * 3600
    max_bytes: int = 10 * 2**30


NOTHING_KEPT = Retention()


class Publisher(Protocol):
    """The ingress's side of a broker."""

    async def publish(self, envelope: Envelope) -> None:
        """Return once the envelope is durable in every queue that wants it, or kept as unrouted.

        Raises NotDurable at once when too much is in flight or the broker is away, and otherwise after the time-out;
        then it may or may not have been kept.
        """

    @property
    def ready(self) -> bool:
        """Whether a publish now has a chance."""


class Queue(Protocol):
    """A worker's side of a broker: one queue, with as many messages taken at a time as `prefetch` allows."""

    async def take(self) -> Received:
        """Wait for the next message. May be cancelled without losing one."""

    async def settle(self, received: Received, outcome: Outcome) -> None:
        """Carry out the outcome of a message that `take` gave.

        Never raises for a broker that is away: the message is then delivered again.
        """

    def holds(self, received: Received) -> bool:
        """Whether a message that `take` gave is ours to settle. If not, it comes again, before what came after it."""

    async def close(self) -> None:
        """Give back what was taken and not settled, at once, and without counting an attempt.

        What still waits for `take` is cancelled by the caller.
        """


class History(Protocol):
    """What was received in the past, where the settings say that it is kept."""

    async def wanted_by(self, queue: str) -> frozenset[str]:
        """The binding keys of a worker's queue. Raises SettingsError if there is no such queue."""

    def read(self, since: datetime, until: datetime) -> AsyncGenerator[Sequence[Envelope], None]:
        """The envelopes received from `since` until `until` that are kept by now, a page at a time.

        In the order in which they were made durable, or received. It ends by itself, whatever arrives meanwhile, and
        reads no further ahead than a page or two. Raises SettingsError where nothing was ever kept, or Unreachable.
        """

    async def feed(self, queue: str, envelopes: Sequence[Envelope], headers: Mapping[str, str]) -> None:
        """Return once a worker's queue has copies of the envelopes, with these headers besides. No other gets any.

        Raises NotDurable; some of them may then be in the queue.
        """


class DeadLetters(Protocol):
    """What was put aside: the dead letters of the workers' queues, and (`letters.UNROUTED`) what no queue wanted."""

    async def counts(self) -> Mapping[str, int]:
        """The queues that have dead letters, and how many. Raises Unreachable."""

    async def count(self, queue: str) -> int:
        """How many letters a queue has. Raises SettingsError if there is no such queue, or Unreachable."""

    def scan(self, queue: str, decide: Callable[[DeadLetter], Action]) -> AsyncGenerator[Scanned, None]:
        """Go through the letters that are there now, oldest first, and do with each what `decide` says.

        A replayed letter goes back to that queue only, as a first attempt and with its history; one that no queue
        wanted is published again, and stays if still none wants it. Each letter is given out once that is done. Cut
        short at any point, nothing is lost: some letters may have been replayed and be here still, and replaying those
        again is harmless to a worker, which handles an event once. Close it, or others wait for their turn. Raises
        SettingsError if there is no such queue to replay to, or Unreachable.
        """


class Broker(Protocol):
    """One installation of queues."""

    @property
    def publisher(self) -> Publisher: ...

    @property
    def history(self) -> History: ...

    @property
    def dead_letters(self) -> DeadLetters: ...

    async def declare_partitions(self, queue: str, patterns: Sequence[str]) -> None:
        """Declare the queues of an ordered worker, one for each partition, with their bindings.

        What waits in the queue of a worker that was not ordered before goes on to its partition, and so does whatever
        is put there later by name. Raises as `subscribe` does.
        """

    async def subscribe(
        self, queue: str, patterns: Sequence[str], prefetch: int, partition: str | None = None
    ) -> Queue:
        """Declare a worker's queue with its bindings, and consume from it.

        `queue` and `patterns` are as in `@worker`: short names and topic patterns. Patterns that a queue was bound to
        before and that are no longer named are unbound. With a partition, only consume from its queue, which was
        declared before: messages come in the order of arrival, and to one process at a time. Raises Unreachable, or
        SettingsError if the queue exists in another form.
        """

    async def close(self) -> None:
        """Finish what is being published, then close."""
