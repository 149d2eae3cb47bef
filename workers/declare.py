"""`@worker`: makes a worker from a function, or says why it cannot."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, TypedDict, Unpack, overload

from typing_extensions import TypeVar

from hookline.schemas import topics
from hookline.schemas.events import CanonicalEvent, Event, Unknown, event_topic
from hookline.workers.api import Backoff, Delivery, Middleware, Opener, Order, Worker
from hookline.workers.declaration_checks import check_events, check_options
from hookline.workers.function_checks import check_function

S = TypeVar("S")
E1 = TypeVar("E1", bound=CanonicalEvent)
E2 = TypeVar("E2", bound=CanonicalEvent)
E3 = TypeVar("E3", bound=CanonicalEvent)
E4 = TypeVar("E4", bound=CanonicalEvent)
E5 = TypeVar("E5", bound=CanonicalEvent)
E6 = TypeVar("E6", bound=CanonicalEvent)

DEFAULT_CONCURRENCY = 16
DEFAULT_TIMEOUT_S = 30.0

_E = TypeVar("_E", bound=CanonicalEvent)
Handler: TypeAlias = Callable[[_E], Awaitable[None]] | Callable[[_E, Delivery[S]], Awaitable[None]]
Make: TypeAlias = Callable[[Handler[_E, S]], Worker[_E, S]]


class Options(TypedDict, total=False):
    """The options of a worker. `queue` defaults to the name of the function.

    `middleware`: functions around the function, the first outermost. The time-out covers all of them together.

    `ordered`: events of one subject are handled one at a time, in the order of arrival, across all processes. An event
    that fails is tried again at the head of its subject for up to `hold_s` seconds, and then parked. `reorder_s`: hold
    events back for that long, and hand them out by the time at which they occurred. `latest_only`: an event older than
    one that was already handled for its subject is settled without a call.

    `transactional`: what the function writes through `delivery.transaction` is committed together with the record that
    the event is finished. The store must be SQLite or PostgreSQL.
    """

    queue: str
    concurrency: int
    timeout_s: float
    retry: Backoff
    middleware: Sequence[Middleware]
    ordered: bool
    hold_s: float
    reorder_s: float
    latest_only: bool
    transactional: bool


@overload
def worker(first: type[E1], /, **options: Unpack[Options]) -> Make[E1, None]: ...
@overload
def worker(first: type[E1], /, *, state: Opener[S], **options: Unpack[Options]) -> Make[E1, S]: ...
@overload
def worker(first: type[E1], second: type[E2], /, **options: Unpack[Options]) -> Make[E1 | E2, None]: ...
@overload
def worker(
    first: type[E1], second: type[E2], /, *, state: Opener[S], **options: Unpack[Options]
) -> Make[E1 | E2, S]: ...
@overload
def worker(
    first: type[E1], second: type[E2], third: type[E3], /, **options: Unpack[Options]
) -> Make[E1 | E2 | E3, None]: ...
@overload
def worker(
    first: type[E1], second: type[E2], third: type[E3], /, *, state: Opener[S], **options: Unpack[Options]
) -> Make[E1 | E2 | E3, S]: ...
@overload
def worker(
    first: type[E1], second: type[E2], third: type[E3], fourth: type[E4], /, **options: Unpack[Options]
) -> Make[E1 | E2 | E3 | E4, None]: ...
@overload
def worker(
    first: type[E1],
    second: type[E2],
    third: type[E3],
    fourth: type[E4],
    /,
    *,
    state: Opener[S],
    **options: Unpack[Options],
) -> Make[E1 | E2 | E3 | E4, S]: ...
@overload
def worker(
    first: type[E1], second: type[E2], third: type[E3], fourth: type[E4], fifth: type[E5], /, **options: Unpack[Options]
) -> Make[E1 | E2 | E3 | E4 | E5, None]: ...
@overload
def worker(
    first: type[E1],
    second: type[E2],
    third: type[E3],
    fourth: type[E4],
    fifth: type[E5],
    /,
    *,
    state: Opener[S],
    **options: Unpack[Options],
) -> Make[E1 | E2 | E3 | E4 | E5, S]: ...
@overload
def worker(
    first: type[E1],
    second: type[E2],
    third: type[E3],
    fourth: type[E4],
    fifth: type[E5],
    sixth: type[E6],
    /,
    **options: Unpack[Options],
) -> Make[E1 | E2 | E3 | E4 | E5 | E6, None]: ...
@overload
def worker(
    first: type[E1],
    second: type[E2],
    third: type[E3],
    fourth: type[E4],
    fifth: type[E5],
    sixth: type[E6],
    /,
    *,
    state: Opener[S],
    **options: Unpack[Options],
) -> Make[E1 | E2 | E3 | E4 | E5 | E6, S]: ...
@overload
def worker(*events: type[CanonicalEvent], **options: Unpack[Options]) -> Make[Any, None]: ...
@overload
def worker(*events: type[CanonicalEvent], state: Opener[S], **options: Unpack[Options]) -> Make[Any, S]: ...
@overload
def worker(*, topic: str, **options: Unpack[Options]) -> Make[Event, None]: ...
@overload
def worker(*, topic: str, state: Opener[S], **options: Unpack[Options]) -> Make[Event, S]: ...


def worker(
    *events: type[CanonicalEvent],
    topic: str | None = None,
    state: Opener[Any] | None = None,
    **options: Unpack[Options],
) -> Callable[[Any], Worker[Any]]:
    """Make a worker from an `async` function that takes an event, or an event and its `Delivery`.

    Name either the events that it wants, or a topic pattern (`krtc.*.room.*`; `*` is one word, `#` any number).
    `concurrency` is how many events one process handles at a time, `timeout_s` how long each call may take. `state` is
    entered once per process, before the first event is taken, and left after the last one is settled; the function
    finds it in `Delivery.state`. Workers that name the same `state` function share it.

    Raises TypeError or ValueError at once if the options do not make a worker. Nothing is registered: the returned
    value is the worker.
    """
    check_events(events, topic)
    patterns = (topic,) if topic is not None else tuple(_pattern(event) for event in events)

    def make(function: Callable[..., Awaitable[None]]) -> Worker[Any]:
        takes_delivery = check_function(function, events, topic)
        name = getattr(function, "__name__", "the function")
        check_options(options, state, name, takes_delivery=takes_delivery)
        return Worker(
            function=function,
            queue=topics.check_queue(options.get("queue", name)),
            events=events,
            patterns=patterns,
            concurrency=options.get("concurrency", DEFAULT_CONCURRENCY),
            timeout_s=options.get("timeout_s", DEFAULT_TIMEOUT_S),
            retry=options.get("retry", Backoff()),
            takes_delivery=takes_delivery,
            middleware=tuple(options.get("middleware", ())),
            opener=state,
            order=_order(options),
            latest_only=options.get("latest_only", False),
            transactional=options.get("transactional", False),
        )

    return make


def _order(options: Options) -> Order | None:
    return Order(options.get("hold_s", 60.0), options.get("reorder_s", 0.0)) if options.get("ordered", False) else None


def _pattern(event: type[CanonicalEvent]) -> str:
    """The topic pattern of an event type, for every provider and source."""
    topic = event_topic(event)
    return f"*.*.{topic}.*" if event is Unknown else f"*.*.{topic}"
