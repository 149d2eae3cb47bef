"""What workers are written with: `Delivery`, `Backoff`, and the ways in which a function can end."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from math import inf
from typing import Any, Generic, Self, TypeAlias

import msgspec
from typing_extensions import TypeVar

from hookline.schemas.broker import MAX_UNSETTLED_S
from hookline.schemas.events import CanonicalEvent

E_contra = TypeVar("E_contra", bound=CanonicalEvent, contravariant=True)
StateT = TypeVar("StateT", default=Any)
StateT_co = TypeVar("StateT_co", covariant=True, default=None)

_MAX_WAIT_S = MAX_UNSETTLED_S / 3
YEAR_S = 365 * 24 * 3600.0


class Retry(Exception):
    """Raise it to have the event delivered again after `after_s` seconds. It uses up no attempt.

    Raises ValueError for more than a year, and for what is no number: the event then fails as with any other exception.
    """

    def __init__(self, *, after_s: float) -> None:
        super().__init__(f"again in {after_s:g} s")
        if not abs(after_s) <= YEAR_S:  # true for NaN, too
            raise ValueError(f"after_s is {after_s:g}, and must be a number of seconds up to a year")
        self.after_s = float(after_s)  # a Decimal passes for one until a broker has to write it


class Poisoned(Exception):
    """Raise it to park the event now. `reason` says why another attempt would change nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Backoff:
    """When a failed event is tried again: after `first_s` seconds, then `factor` times longer each time, up to `max_s`.

    Each delay varies by up to `jitter` of its length at random, so that events that failed together do not return
    together. After `attempts` attempts the event is parked: with the defaults, about 42 minutes after the first. An
    event that fails or raises `Retry` more than `max_age_s` after it was received or replayed is parked too.
    """

    first_s: float = 1.0
    factor: float = 2.5
    max_s: float = 3600.0
    attempts: int = 10
    jitter: float = 0.1
    max_age_s: float = 3 * 24 * 3600.0

    def __post_init__(self) -> None:
        """Refuse what would end a worker only when an event fails, such as a delay that no broker can write."""
        for name, value in asdict(self).items():
            kind, expected = (int, "a whole number") if name == "attempts" else ((int, float), "a number")
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"{name} of Backoff is {type(value).__name__}, and must be {expected}")
        if not (0 <= self.first_s <= self.max_s <= YEAR_S and 1 <= self.factor < inf and self.attempts >= 1):
            raise ValueError(
                "Backoff needs first_s >= 0, factor >= 1, max_s from first_s to a year (31536000), and attempts >= 1; "
                "all of them are finite"
            )
        if not 0 <= self.jitter <= 1 or not self.max_age_s > 0:
            raise ValueError("Backoff needs jitter from 0 to 1, and max_age_s > 0")

    def delay_s(self, attempt: int, chance: float = 0.5) -> float | None:
        """Seconds to wait after this attempt, counted from 1, has failed; None if it was the last.

        `chance`, from 0 to 1, picks the place within the jitter. The same chance gives the same delay.
        """
        if attempt >= self.attempts:
            return None
        middle_s = self.first_s
        for _ in range(attempt - 1):  # a power would overflow first
            if middle_s >= self.max_s:
                break
            middle_s *= self.factor
        return min(middle_s, self.max_s) * (1 + self.jitter * (2 * chance - 1))


@dataclass(frozen=True, slots=True)
class Order:
    """How a worker keeps the events of each subject in order.

    An event that fails is tried again for up to `hold_s` seconds, while its subject waits. Each event is held back for
    `reorder_s` seconds, so that one that occurred earlier and arrives later can go first.
    """

    hold_s: float = 60.0
    reorder_s: float = 0.0

    def __post_init__(self) -> None:
        """Neither may be long: after MAX_UNSETTLED_S a queue gives an unsettled event to another process."""
        if not 0 <= self.hold_s <= _MAX_WAIT_S or not 0 <= self.reorder_s <= _MAX_WAIT_S:
            raise ValueError(f"hold_s and reorder_s must be 0 to {_MAX_WAIT_S:g}")


class Delivery(msgspec.Struct, Generic[StateT_co], frozen=True):
    """How an event arrived. `attempt` counts from 1; `body` holds the exact bytes that the provider sent.

    `event_id` is the same for every delivery of the event: use it as an idempotency key. `late` says that this queue
    has already handled an event of the same subject that occurred later. `state` is what the worker's `state` function
    opened in this process, or None without one. `transaction` is what a transactional worker writes through:
    a psycopg `AsyncConnection`, or `hookline.workers.stores.sqlite.transaction.Writes`.
    """

    event_id: str
    attempt: int
    provider: str
    source: str
    topic: str
    body: bytes
    headers: Mapping[str, Any]
    occurred_at: datetime
    received_at: datetime
    state: StateT_co
    late: bool = False
    transaction: Any = None


Call: TypeAlias = Callable[[CanonicalEvent, Delivery[Any]], Awaitable[None]]
"""One step of handling: a worker's function, or a middleware around it."""

Middleware: TypeAlias = Callable[[Call], Call]
"""Given the next step, returns a step that runs around it."""

Opener: TypeAlias = Callable[[], AbstractAsyncContextManager[StateT]]
"""Opens what a worker's function needs, and closes it at the end: a function decorated with `@asynccontextmanager`."""


@dataclass(frozen=True, slots=True)
class Worker(Generic[E_contra, StateT]):
    """A function with a queue. Calling it calls the function.

    `opener` opens the state; `state` is what it returned in this process, None before. `order` is None for a worker
    that takes events in any order. `sees_repeats`: the function is idempotent and is called for repeats too, as the
    room view needs it, because a re-send may carry another time than the first delivery.
    """

    function: Callable[..., Awaitable[None]]
    queue: str
    events: tuple[type[CanonicalEvent], ...]
    patterns: tuple[str, ...]
    concurrency: int
    timeout_s: float
    retry: Backoff
    takes_delivery: bool
    middleware: tuple[Middleware, ...] = ()
    opener: Opener[StateT] | None = None
    state: StateT | None = None
    order: Order | None = None
    latest_only: bool = False
    sees_repeats: bool = False
    transactional: bool = False

    def __call__(self, event: E_contra, *delivery: Delivery[Any]) -> Awaitable[None]:
        return self.function(event, *delivery)

    def with_state(self, state: StateT | None) -> Self:
        """The worker with the state that its opener returned."""
        return replace(self, state=state)

    def wants(self, event: CanonicalEvent) -> bool:
        """Whether the worker names the type of the event. A worker that names a topic takes every type."""
        return not self.events or isinstance(event, self.events)
