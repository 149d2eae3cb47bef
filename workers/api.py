"""What a team writes workers with: `@worker`, `Delivery`, and the ways in which a function can end."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypedDict, TypeVar, Unpack, overload

from schemas import topics
from schemas.events import CanonicalEvent, Event, Unknown, event_topic

E1 = TypeVar("E1", bound=CanonicalEvent)
E2 = TypeVar("E2", bound=CanonicalEvent)
E3 = TypeVar("E3", bound=CanonicalEvent)
E4 = TypeVar("E4", bound=CanonicalEvent)
E_contra = TypeVar("E_contra", bound=CanonicalEvent, contravariant=True)

MAX_CONCURRENCY = 10_000


class Retry(Exception):
    """Raise it to have the event delivered again after `after_s` seconds, without using up an attempt."""

    def __init__(self, *, after_s: float) -> None:
        super().__init__(f"again in {after_s:g} s")
        self.after_s = after_s


class Poisoned(Exception):
    """Raise it to park the event now, for a reason that another attempt would not change."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Backoff:
    """When a failed event is tried again: after `first_s` seconds, then `factor` times longer each time, up to `max_s`.

    Each delay is up to a `jitter`-th part longer or shorter than that, so that what failed together does not return
    together. After `attempts` attempts the event is parked: with the defaults, some 42 minutes after the first. So is
    one that fails or raises `Retry` when it was received, or replayed, more than `max_age_s` ago.
    """

    first_s: float = 1.0
    factor: float = 2.5
    max_s: float = 3600.0
    attempts: int = 10
    jitter: float = 0.1
    max_age_s: float = 3 * 24 * 3600.0

    def __post_init__(self) -> None:
        if self.first_s < 0 or self.factor < 1 or self.max_s < self.first_s or self.attempts < 1:
            raise ValueError("Backoff needs first_s >= 0, factor >= 1, max_s >= first_s and attempts >= 1")
        if not 0 <= self.jitter <= 1 or not self.max_age_s > 0:
            raise ValueError("Backoff needs jitter from 0 to 1, and max_age_s > 0")

    def delay_s(self, attempt: int, chance: float = 0.5) -> float | None:
        """Seconds to wait after this attempt failed, counted from 1; None if it was the last.

        `chance`, from 0 to 1, says where in the jitter: the same chance gives the same delay.
        """
        if attempt >= self.attempts:
            return None
        middle_s = self.first_s
        for _ in range(attempt - 1):  # not a power, which overflows long before an attempt does
            if middle_s >= self.max_s:
                break
            middle_s *= self.factor
        return min(middle_s, self.max_s) * (1 + self.jitter * (2 * chance - 1))


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an event came. `attempt` counts from 1; `body` is the exact bytes that the provider sent.

    `event_id` is the same for every delivery of the event, and is fit for an idempotency key.
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


@dataclass(frozen=True, slots=True)
class Worker(Generic[E_contra]):
    """A function with a queue. Calling it calls the function.

    `sees_repeats`: the function is idempotent and wants repeats too, as the room view does, where a re-send may carry
    another time than the first.
    """

    function: Callable[..., Awaitable[None]]
    queue: str
    events: tuple[type[CanonicalEvent], ...]
    patterns: tuple[str, ...]
    concurrency: int
    timeout_s: float
    retry: Backoff
    takes_delivery: bool
    sees_repeats: bool = False

    def __call__(self, event: E_contra, *delivery: Delivery) -> Awaitable[None]:
        return self.function(event, *delivery)

    def wants(self, event: CanonicalEvent) -> bool:
        """Whether the event is of a type that the worker named; one that named a topic takes every type."""
        return not self.events or isinstance(event, self.events)


_E = TypeVar("_E", bound=CanonicalEvent)
Handler = Callable[[_E], Awaitable[None]] | Callable[[_E, Delivery], Awaitable[None]]


class Options(TypedDict, total=False):
    """What a worker may say about its queue. `queue` is the function's name unless said otherwise."""

    queue: str
    concurrency: int
    timeout_s: float
    retry: Backoff


@overload
def worker(first: type[E1], /, **options: Unpack[Options]) -> Callable[[Handler[E1]], Worker[E1]]: ...
@overload
def worker(
    first: type[E1], second: type[E2], /, **options: Unpack[Options]
) -> Callable[[Handler[E1 | E2]], Worker[E1 | E2]]: ...
@overload
def worker(
    first: type[E1], second: type[E2], third: type[E3], /, **options: Unpack[Options]
) -> Callable[[Handler[E1 | E2 | E3]], Worker[E1 | E2 | E3]]: ...
@overload
def worker(
    first: type[E1], second: type[E2], third: type[E3], fourth: type[E4], /, **options: Unpack[Options]
) -> Callable[[Handler[E1 | E2 | E3 | E4]], Worker[E1 | E2 | E3 | E4]]: ...
@overload
def worker(*events: type[CanonicalEvent], **options: Unpack[Options]) -> Callable[[Handler[Any]], Worker[Any]]: ...
@overload
def worker(*, topic: str, **options: Unpack[Options]) -> Callable[[Handler[Event]], Worker[Event]]: ...


def worker(
    *events: type[CanonicalEvent], topic: str | None = None, **options: Unpack[Options]
) -> Callable[[Any], Worker[Any]]:
    """Make a worker of an `async` function of an event, or of an event and its `Delivery`.

    Name either the events that it wants, or a topic pattern (`krtc.*.room.*`; `*` is one word, `#` any number).
    `concurrency` is how many events it handles at a time in one process, `timeout_s` how long each may take. Raises
    TypeError or ValueError at once if these do not make a worker. Nothing is registered: the value is the worker.
    """
    if bool(events) == (topic is not None):
        raise TypeError("@worker takes either event types or topic=..., one of the two")
    patterns = (topic,) if topic is not None else tuple(_pattern(event) for event in events)

    def make(function: Callable[..., Awaitable[None]]) -> Worker[Any]:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{_name(function)} is not an async function")
        concurrency = options.get("concurrency", 16)
        timeout_s = options.get("timeout_s", 30.0)
        if not 1 <= concurrency <= MAX_CONCURRENCY:
            raise ValueError(f"concurrency is {concurrency}, and must be 1 to {MAX_CONCURRENCY}")
        if not timeout_s > 0:
            raise ValueError(f"timeout_s is {timeout_s}, and must be more than 0")
        return Worker(
            function=function,
            queue=topics.check_queue(options.get("queue", _name(function))),
            events=events,
            patterns=tuple(pattern for pattern in patterns if topics.binding(pattern)),
            concurrency=concurrency,
            timeout_s=timeout_s,
            retry=options.get("retry", Backoff()),
            takes_delivery=_takes_delivery(function),
        )

    return make


def _pattern(event: type[CanonicalEvent]) -> str:
    """Where events of this type are published, whatever their provider and source."""
    topic = event_topic(event)
    return f"*.*.{topic}.*" if event is Unknown else f"*.*.{topic}"


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", "the function"))


def _takes_delivery(function: Callable[..., Any]) -> bool:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    count = len([parameter for parameter in parameters if parameter.kind in kinds])
    if count not in (1, 2):
        raise TypeError(
            f"{_name(function)} takes {count} parameters; a worker takes an event, and a Delivery if it wants"
        )
    return count == 2
