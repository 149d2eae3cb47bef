"""A cancellation that a library swallows still ends the task."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from hookline.aio.cancellation import cancellation_kept
from hookline.broker.rabbitmq.connection import bounded
from hookline.schemas.errors import Unreachable
from hookline.workers.stores.postgresql.pool import ConnectionPool, connection_settings
from hookline.workers.stores.redis.client import Client
from tests.services import postgresql

_LONG_S = 60.0
Step = Callable[["Library"], Awaitable[object]]


class Library:
    """Goes on when it is cancelled, as `asyncio.wait_for` of Python 3.11 does if the result is there."""

    def __init__(self, error: Exception | None = None) -> None:
        self.is_waiting = asyncio.Event()
        self.goes_on = True
        self._error = error

    async def call(self, *_: object) -> str:
        self.is_waiting.set()
        try:
            await asyncio.sleep(_LONG_S)
        except asyncio.CancelledError:
            if not self.goes_on:
                raise
            if self._error is not None:
                raise self._error from None
        return "result"


async def ends_when_cancelled(step: Step, library: Library) -> bool:
    """Whether a loop of such steps ends when it is cancelled once."""

    async def loop() -> None:
        while True:
            await step(library)

    task = asyncio.create_task(loop())
    await library.is_waiting.wait()
    library.is_waiting.clear()
    task.cancel()
    again = asyncio.create_task(library.is_waiting.wait())
    await asyncio.wait([task, again], return_when=asyncio.FIRST_COMPLETED)
    again.cancel()
    has_ended = task.done()
    library.goes_on = False
    task.cancel()
    await asyncio.wait([task])
    return has_ended


async def kept(library: Library) -> None:
    with cancellation_kept():
        await library.call()


async def on_redis(library: Library) -> None:
    await Client("redis://127.0.0.1:1/0", 5.0).run(library.call)


async def on_rabbitmq(library: Library) -> None:
    async with bounded(_LONG_S, "a test"):
        await library.call()


@pytest.mark.parametrize("step", [kept, on_redis, on_rabbitmq])
@pytest.mark.parametrize("error", [None, OSError("reset")], ids=["with a result", "with an error"])
async def test_a_loop_ends_although_a_library_went_on(step: Step, error: Exception | None) -> None:
    assert await ends_when_cancelled(step, Library(error))


async def test_a_loop_on_postgresql_ends_and_puts_its_connection_back(pytestconfig: pytest.Config) -> None:
    with postgresql.own_database(pytestconfig) as url:
        pool = ConnectionPool(connection_settings(url, 5.0), 1, 5.0)
        await pool.open()
        try:
            assert await ends_when_cancelled(lambda library: pool.run(library.call), Library())

            async def work(_: object) -> str:
                return "done"

            assert await pool.run(work) == "done"
        finally:
            await pool.close()


async def test_a_timeout_around_it_is_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await kept(Library())


async def test_a_call_to_rabbitmq_that_outlasts_its_time_is_unreachable_although_a_library_went_on() -> None:
    with pytest.raises(Unreachable, match="TimeoutError"):
        async with bounded(0.01, "a test"):
            await Library().call()


async def test_a_cancelled_task_may_still_clean_up() -> None:
    cleaned_up = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(_LONG_S)
        finally:
            with cancellation_kept():
                await asyncio.sleep(0)
            cleaned_up.set()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert cleaned_up.is_set()
