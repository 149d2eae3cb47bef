"""The state of workers: opened before their first event, and closed after the last one."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hookline import Delivery, Worker, worker
from hookline.events import ParticipantJoined, RoomCreated
from hookline.schemas.broker import Done
from hookline.schemas.errors import NotStarted
from hookline.testing import deliver
from hookline.workers.state import States
from tests.events import make

LIMIT_S = 20.0


class Pool:
    """A state that counts how often it is opened and closed."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Pool"]:
        self.opened += 1
        yield self
        self.closed += 1


async def fail(error: BaseException) -> None:
    raise error


def worker_with(pool: Pool) -> Worker[Any]:
    @worker(RoomCreated, state=pool.open)
    async def rooms(event: RoomCreated, delivery: Delivery[Pool]) -> None:
        assert delivery.state is pool

    return rooms


async def test_a_state_is_open_while_workers_run_and_closed_after_them() -> None:
    pool = Pool()
    async with States(LIMIT_S) as states:
        ready = await states.ready(worker_with(pool))
        assert ready.state is pool
        assert (pool.opened, pool.closed) == (1, 0)
    assert (pool.opened, pool.closed) == (1, 1)


async def test_workers_that_name_the_same_function_share_one_state() -> None:
    pool = Pool()
    async with States(LIMIT_S) as states:
        first, second = await states.ready(worker_with(pool)), await states.ready(worker_with(pool))
        assert first.state is second.state
    assert (pool.opened, pool.closed) == (1, 1)


async def test_a_worker_without_a_state_is_unchanged() -> None:
    @worker(RoomCreated)
    async def rooms(event: RoomCreated, delivery: Delivery) -> None:
        assert delivery.state is None

    async with States(LIMIT_S) as states:
        assert await states.ready(rooms) is rooms
    assert await deliver(rooms, make(RoomCreated)) == Done()


async def test_a_function_gets_the_state_with_its_delivery() -> None:
    seen: list[int] = []

    @asynccontextmanager
    async def open_number() -> AsyncIterator[int]:
        yield 7

    @worker(ParticipantJoined, state=open_number)
    async def attendance(event: ParticipantJoined, delivery: Delivery[int]) -> None:
        seen.append(delivery.state + 1)

    await deliver(attendance, make(ParticipantJoined, user_id="u"), state=41)
    assert seen == [42]


@pytest.mark.parametrize("error", [ConnectionRefusedError("no pool"), SystemExit("no pool")])
async def test_the_error_of_a_state_that_fails_to_open_names_the_worker_and_the_line(error: BaseException) -> None:
    @asynccontextmanager
    async def open_pool() -> AsyncIterator[None]:
        await fail(error)
        yield

    @worker(RoomCreated, state=open_pool)
    async def rooms(event: RoomCreated) -> None: ...

    expected = f"open_pool of worker rooms failed: {type(error).__name__}: no pool, in test_state.py:"
    with pytest.raises(NotStarted, match=expected):
        async with States(LIMIT_S) as states:
            await states.ready(rooms)


async def test_states_that_were_opened_are_closed_when_another_fails_to_open() -> None:
    pool = Pool()

    @asynccontextmanager
    async def open_nothing() -> AsyncIterator[None]:
        await fail(ValueError())
        yield

    @worker(RoomCreated, state=open_nothing)
    async def rooms(event: RoomCreated) -> None: ...

    async with States(LIMIT_S) as states:
        await states.ready(worker_with(pool))
        with pytest.raises(NotStarted):
            await states.ready(rooms)
    assert pool.closed == 1


async def test_a_state_that_never_opens_fails_after_the_time_limit() -> None:
    @asynccontextmanager
    async def open_forever() -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    @worker(RoomCreated, state=open_forever)
    async def rooms(event: RoomCreated) -> None: ...

    async with States(0.01) as states:
        with pytest.raises(NotStarted, match=r"open_forever of worker rooms took more than 0\.01 s"):
            await states.ready(rooms)


async def test_the_error_of_a_function_that_gives_no_context_manager_names_the_decorator() -> None:
    def open_pool() -> object:
        return object()

    @worker(RoomCreated, state=open_pool)  # type: ignore[arg-type]  # the mistake
    async def rooms(event: RoomCreated) -> None: ...

    with pytest.raises(NotStarted, match="decorate it with @asynccontextmanager"):
        async with States(LIMIT_S) as states:
            await states.ready(rooms)


@pytest.mark.parametrize("error", [OSError("the disk is full"), SystemExit("the disk is full")])
async def test_a_state_that_fails_to_close_is_logged_and_the_others_are_closed(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    pool = Pool()

    @asynccontextmanager
    async def open_failing() -> AsyncIterator[None]:
        yield
        raise error

    @worker(RoomCreated, state=open_failing)
    async def rooms(event: RoomCreated) -> None: ...

    with caplog.at_level(logging.ERROR):
        async with States(LIMIT_S) as states:
            await states.ready(worker_with(pool))
            await states.ready(rooms)
    assert pool.closed == 1
    assert "open_failing of worker rooms did not close" in caplog.text
    assert "the disk is full" in caplog.text


async def test_a_state_may_hold_a_task_group() -> None:
    ran = asyncio.Event()

    @asynccontextmanager
    async def open_group() -> AsyncIterator[asyncio.TaskGroup]:
        async with asyncio.TaskGroup() as group:
            yield group

    async def in_background() -> None:
        ran.set()

    @worker(RoomCreated, state=open_group)
    async def rooms(event: RoomCreated, delivery: Delivery[asyncio.TaskGroup]) -> None:
        delivery.state.create_task(in_background())

    async with States(LIMIT_S) as states:
        group = (await states.ready(rooms)).state
        assert group is not None
        await deliver(rooms, make(RoomCreated), state=group)
    assert ran.is_set()
