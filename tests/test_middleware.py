"""Middleware: functions around a worker's function."""

import asyncio
from typing import Any

import pytest

from hookline import Backoff, Call, Delivery, Middleware, Poisoned, worker
from hookline.events import CanonicalEvent, ParticipantJoined, RoomCreated
from hookline.schemas.broker import Again, Done, Parked
from hookline.schemas.errors import NotStarted
from hookline.testing import deliver
from hookline.workers.middleware import around
from hookline.workers.store import MemoryStore
from tests.events import make

JOINED = make(ParticipantJoined, user_id="u")


def recording(name: str, lines: list[str]) -> Middleware:
    """Middleware that records when it is built, entered and left."""

    def build(call: Call) -> Call:
        lines.append(f"{name} built")

        async def step(event: CanonicalEvent, delivery: Delivery) -> None:
            lines.append(f"{name} in")
            await call(event, delivery)
            lines.append(f"{name} out")

        return step

    return build


async def test_the_first_middleware_of_the_list_is_outermost() -> None:
    lines: list[str] = []

    @worker(ParticipantJoined, middleware=[recording("first", lines), recording("second", lines)])
    async def attendance(event: ParticipantJoined) -> None:
        lines.append("function")

    assert await deliver(attendance, JOINED) == Done()
    assert lines[-5:] == ["first in", "second in", "function", "second out", "first out"]


async def test_middleware_is_built_once_for_all_events() -> None:
    lines: list[str] = []

    @worker(ParticipantJoined, middleware=[recording("only", lines)])
    async def attendance(event: ParticipantJoined) -> None: ...

    function = around(attendance)
    for _ in range(3):
        await function(JOINED, None)
    assert lines.count("only built") == 1
    assert lines.count("only in") == 3


def test_a_worker_without_middleware_calls_its_function_directly() -> None:
    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined) -> None: ...

    assert around(attendance) is attendance.function


async def test_middleware_gets_the_delivery_even_if_the_function_does_not_take_it() -> None:
    attempts: list[int] = []

    def counting(call: Call) -> Call:
        async def counted(event: CanonicalEvent, delivery: Delivery) -> None:
            attempts.append(delivery.attempt)
            await call(event, delivery)

        return counted

    @worker(ParticipantJoined, middleware=[counting])
    async def attendance(event: ParticipantJoined) -> None: ...

    await deliver(attendance, JOINED, attempt=3)
    assert attempts == [3]


async def test_an_event_is_done_if_middleware_returns_without_calling_the_function() -> None:
    calls: list[str] = []

    def never(call: Call) -> Call:
        async def skipped(event: CanonicalEvent, delivery: Delivery) -> None: ...

        return skipped

    @worker(ParticipantJoined, middleware=[never])
    async def attendance(event: ParticipantJoined) -> None:
        calls.append(event.id)

    assert await deliver(attendance, JOINED) == Done()
    assert calls == []


def raising(error: Exception) -> Middleware:
    def build(call: Call) -> Call:
        async def step(event: CanonicalEvent, delivery: Delivery) -> None:
            raise error

        return step

    return build


async def test_an_error_of_middleware_has_the_same_outcome_as_one_of_the_function() -> None:
    @worker(ParticipantJoined, middleware=[raising(Poisoned("not today"))])
    async def poisoned(event: ParticipantJoined) -> None: ...

    @worker(ParticipantJoined, middleware=[raising(ValueError("x"))], retry=Backoff(attempts=2))
    async def failing(event: ParticipantJoined) -> None: ...

    assert await deliver(poisoned, JOINED) == Parked("poisoned", "not today", 1)
    assert isinstance(await deliver(failing, JOINED), Again)
    assert isinstance(await deliver(failing, JOINED, attempt=2), Parked)


async def test_an_event_is_done_if_middleware_catches_the_error() -> None:
    def forgiving(call: Call) -> Call:
        async def step(event: CanonicalEvent, delivery: Delivery) -> None:
            try:
                await call(event, delivery)
            except ValueError:
                return

        return step

    @worker(ParticipantJoined, middleware=[forgiving])
    async def attendance(event: ParticipantJoined) -> None:
        raise ValueError

    assert await deliver(attendance, JOINED) == Done()


async def test_the_time_limit_applies_to_middleware_and_function_together() -> None:
    def slow(call: Call) -> Call:
        async def step(event: CanonicalEvent, delivery: Delivery) -> None:
            await call(event, delivery)
            await asyncio.Event().wait()

        return step

    @worker(ParticipantJoined, middleware=[slow], timeout_s=0.01)
    async def attendance(event: ParticipantJoined) -> None: ...

    outcome = await deliver(attendance, JOINED)
    assert isinstance(outcome, Again)
    assert outcome.reason == "timeout"


async def test_middleware_is_not_called_for_a_repeat() -> None:
    lines: list[str] = []

    @worker(ParticipantJoined, middleware=[recording("m", lines)])
    async def attendance(event: ParticipantJoined) -> None: ...

    store = MemoryStore()
    await deliver(attendance, JOINED, store=store)
    assert await deliver(attendance, JOINED, store=store) == Done("duplicate")
    assert lines.count("m in") == 1


def test_middleware_that_returns_no_function_stops_the_start() -> None:
    def forgetful(call: Call) -> Any: ...

    @worker(RoomCreated, middleware=[forgetful])
    async def rooms(event: RoomCreated) -> None: ...

    with pytest.raises(NotStarted, match="forgetful returned NoneType, and must return a function"):
        around(rooms)


def test_middleware_that_fails_stops_the_start() -> None:
    def broken(call: Call) -> Call:
        raise KeyError("no such setting")

    @worker(RoomCreated, middleware=[broken])
    async def rooms(event: RoomCreated) -> None: ...

    with pytest.raises(NotStarted, match="worker rooms: broken failed: KeyError"):
        around(rooms)


def test_middleware_that_is_not_a_function_is_refused_by_the_decorator() -> None:
    with pytest.raises(TypeError, match="middleware is a list of functions"):

        @worker(RoomCreated, middleware=["timing"])  # type: ignore[list-item]  # the mistake
        async def made(event: RoomCreated) -> None: ...
