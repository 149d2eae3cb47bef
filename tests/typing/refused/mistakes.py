"""Mistakes in workers that mypy must report: an error at each line marked `# error:`, and at no other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hookline import Call, Delivery, worker
from hookline.events import CallStarted, CanonicalEvent, Event, ParticipantJoined, RoomCreated, RoomEnded
from hookline.testing import deliver


class Pool: ...


class Session: ...


@asynccontextmanager
async def open_pool() -> AsyncIterator[Pool]:
    yield Pool()


async def open_undecorated() -> AsyncIterator[Pool]:
    yield Pool()


@worker(RoomCreated)  # error: "Callable[[ParticipantJoined], Coroutine[Any, Any, None]]"
async def another_event(event: ParticipantJoined) -> None: ...


@worker(RoomCreated, RoomEnded)  # error: "Callable[[RoomCreated], Coroutine[Any, Any, None]]"
async def not_all_events(event: RoomCreated) -> None: ...


@worker(RoomCreated, RoomEnded, CallStarted)  # error: has incompatible type
async def one_of_three_missing(event: RoomCreated | CallStarted) -> None: ...


@worker(topic="krtc.*.room.*")  # error: has incompatible type
async def a_topic_may_hold_any_event(event: RoomCreated) -> None: ...


@worker(RoomCreated)  # error: "Callable[[RoomCreated], None]"
def no_async_function(event: RoomCreated) -> None: ...


@worker(RoomCreated)  # error: "Callable[[RoomCreated], Coroutine[Any, Any, int]]"
async def something_returned(event: RoomCreated) -> int:
    return 1


@worker(RoomCreated)  # error: "Callable[[], Coroutine[Any, Any, None]]"
async def no_event() -> None: ...


@worker(RoomCreated)  # error: has incompatible type
async def too_many_parameters(event: RoomCreated, delivery: Delivery, more: int) -> None: ...


@worker(RoomCreated)  # error: has incompatible type
async def no_delivery(event: RoomCreated, delivery: int) -> None: ...


@worker(RoomCreated, state=open_pool)  # error: "Callable[[RoomCreated, Delivery[Session]], Coroutine[Any, Any, None]]"
async def another_state(event: RoomCreated, delivery: Delivery[Session]) -> None: ...


@worker(RoomCreated)  # error: "Callable[[RoomCreated, Delivery[Pool]], Coroutine[Any, Any, None]]"
async def a_state_that_nobody_opens(event: RoomCreated, delivery: Delivery[Pool]) -> None: ...


@worker(topic="#", state=open_pool)  # error: has incompatible type
async def another_state_by_topic(event: Event, delivery: Delivery[Session]) -> None: ...


@worker(RoomCreated, state=open_undecorated)  # error: Argument "state" to "worker" has incompatible type
async def state_without_its_decorator(event: RoomCreated) -> None: ...


@worker(str)  # error: Value of type variable "E1" of "worker" cannot be "str"
async def no_event_type(event: RoomCreated) -> None: ...


@worker(RoomCreated, topic="#")  # error: No overload variant of "worker"
async def events_and_topic(event: RoomCreated) -> None: ...


@worker(RoomCreated, timeout=30)  # error: did you mean "timeout_s"?
async def an_option_that_is_none(event: RoomCreated) -> None: ...


def not_around(call: Call) -> None: ...


@worker(RoomCreated, middleware=[not_around])  # error: List item 0 has incompatible type
async def middleware_that_gives_nothing_back(event: RoomCreated) -> None: ...


def sync_around(call: Call) -> Call:
    def step(event: CanonicalEvent, delivery: Delivery) -> None: ...

    return step  # error: Incompatible return value type


@worker(RoomCreated)
async def good(event: RoomCreated) -> None: ...


@worker(RoomCreated, state=open_pool)
async def good_with_state(event: RoomCreated, delivery: Delivery[Pool]) -> None: ...


async def tests_are_checked_too(created: RoomCreated, ended: RoomEnded) -> None:
    await good(ended)  # error: has incompatible type "RoomEnded"
    await deliver(good, ended)  # error: type parameter "E" of "deliver"
    await deliver(good_with_state, created)  # error: expected "Worker[RoomCreated, None]"
    await deliver(good_with_state, created, state=Session())  # error: type parameter "S" of "deliver"
