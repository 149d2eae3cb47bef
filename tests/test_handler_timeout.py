"""A time limit that many tasks share."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from hookline.workers.failure_policy import HandlerTimedOut
from hookline.workers.handler import HandlerTimeout

SOON_S = 0.01


async def stay(limit: HandlerTimeout) -> None:
    with limit:
        await asyncio.Event().wait()


async def test_what_takes_too_long_ends_with_a_handler_timeout() -> None:
    with pytest.raises(HandlerTimedOut, match=r"the function took more than 0.01 s"):
        await stay(HandlerTimeout(SOON_S))


async def cut_off(limit: HandlerTimeout) -> None:
    with pytest.raises(HandlerTimedOut):
        await stay(limit)


async def test_each_of_many_tasks_is_cut_off_when_its_own_time_is_over() -> None:
    limit, order = HandlerTimeout(5 * SOON_S), []

    async def second() -> None:
        await cut_off(HandlerTimeout(SOON_S))
        await cut_off(limit)
        order.append("second")

    async def first() -> None:
        await cut_off(limit)
        order.append("first")

    await asyncio.gather(second(), first())
    assert order == ["first", "second"]


async def test_what_ends_in_time_is_left_alone_though_the_timer_goes_on_for_others() -> None:
    limit, others_are_cut_off = HandlerTimeout(SOON_S), asyncio.Event()

    async def in_time() -> None:
        with limit:
            await asyncio.sleep(0)
        await others_are_cut_off.wait()

    quick = asyncio.create_task(in_time())
    await cut_off(limit)
    others_are_cut_off.set()
    await quick


async def test_a_limit_holds_again_after_its_timer_has_run_out_with_nothing_to_cut_off() -> None:
    limit = HandlerTimeout(SOON_S)
    with limit:
        await asyncio.sleep(0)
    await cut_off(HandlerTimeout(2 * SOON_S))
    await cut_off(limit)


async def test_a_task_that_somebody_cancels_ends_as_cancelled() -> None:
    task = asyncio.create_task(stay(HandlerTimeout(60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_that_is_cut_off_and_cancelled_as_well_ends_as_cancelled() -> None:
    async def cancelled_on_the_way_out(limit: HandlerTimeout) -> None:
        with limit:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                this = asyncio.current_task()
                assert this is not None
                this.cancel()
                raise

    task = asyncio.create_task(cancelled_on_the_way_out(HandlerTimeout(SOON_S)))
    with pytest.raises(asyncio.CancelledError):
        await task


def fail(error: type[BaseException]) -> None:
    raise error


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (lambda: None, None),
        (partial(fail, KeyError), KeyError),
        (partial(fail, TimeoutError), HandlerTimedOut),
    ],
)
async def test_a_function_that_is_cut_off_may_end_in_its_own_way(
    ends: Callable[[], None], expected: type[Exception] | None
) -> None:
    async def clean_up() -> None:
        with HandlerTimeout(SOON_S):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ends()

    (ended,) = await asyncio.gather(clean_up(), return_exceptions=True)
    assert type(ended) is (expected or type(None))


async def test_a_task_that_was_cut_off_is_no_longer_being_cancelled() -> None:
    await cut_off(HandlerTimeout(SOON_S))
    this = asyncio.current_task()
    assert this is not None
    assert this.cancelling() == 0


async def test_a_time_out_of_the_function_itself_is_not_ours() -> None:
    with pytest.raises(TimeoutError), HandlerTimeout(60):
        raise TimeoutError
