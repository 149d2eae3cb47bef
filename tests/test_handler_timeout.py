"""The time limit of a worker's functions, which all of its calls share."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from hookline.workers.failure_policy import HandlerTimedOut
from hookline.workers.handler import HandlerTimeout

SOON_S = 0.01


async def run_for_ever(limit: HandlerTimeout) -> None:
    with limit:
        await asyncio.Event().wait()


async def test_a_call_that_takes_too_long_ends_with_a_handler_timeout() -> None:
    with pytest.raises(HandlerTimedOut, match=r"the function took more than 0.01 s"):
        await run_for_ever(HandlerTimeout(SOON_S))


async def time_out(limit: HandlerTimeout) -> None:
    with pytest.raises(HandlerTimedOut):
        await run_for_ever(limit)


async def test_each_of_many_calls_is_timed_out_at_its_own_time() -> None:
    limit, order = HandlerTimeout(5 * SOON_S), []

    async def second() -> None:
        await time_out(HandlerTimeout(SOON_S))
        await time_out(limit)
        order.append("second")

    async def first() -> None:
        await time_out(limit)
        order.append("first")

    await asyncio.gather(second(), first())
    assert order == ["first", "second"]


async def test_a_call_that_ends_in_time_is_not_cancelled_by_the_timer_of_others() -> None:
    limit, others_are_timed_out = HandlerTimeout(SOON_S), asyncio.Event()

    async def in_time() -> None:
        with limit:
            await asyncio.sleep(0)
        await others_are_timed_out.wait()

    quick = asyncio.create_task(in_time())
    await time_out(limit)
    others_are_timed_out.set()
    await quick


async def test_a_limit_holds_again_after_its_timer_expired_with_no_call_to_time_out() -> None:
    limit = HandlerTimeout(SOON_S)
    with limit:
        await asyncio.sleep(0)
    await time_out(HandlerTimeout(2 * SOON_S))
    await time_out(limit)


async def test_a_call_that_is_cancelled_from_outside_ends_as_cancelled() -> None:
    task = asyncio.create_task(run_for_ever(HandlerTimeout(60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_call_that_is_timed_out_and_cancelled_ends_as_cancelled() -> None:
    async def cancelled_during_clean_up(limit: HandlerTimeout) -> None:
        with limit:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                this = asyncio.current_task()
                assert this is not None
                this.cancel()
                raise

    task = asyncio.create_task(cancelled_during_clean_up(HandlerTimeout(SOON_S)))
    with pytest.raises(asyncio.CancelledError):
        await task


def fail(error: type[BaseException]) -> None:
    raise error


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        pytest.param(lambda: None, None, id="returns"),
        pytest.param(partial(fail, KeyError), KeyError, id="raises"),
        pytest.param(partial(fail, TimeoutError), HandlerTimedOut, id="raises the time-out"),
    ],
)
async def test_a_function_that_is_timed_out_may_return_or_raise_another_error(
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


async def test_a_task_whose_call_was_timed_out_is_no_longer_being_cancelled() -> None:
    await time_out(HandlerTimeout(SOON_S))
    this = asyncio.current_task()
    assert this is not None
    assert this.cancelling() == 0


async def test_a_timeout_error_of_the_function_itself_is_not_a_handler_timeout() -> None:
    with pytest.raises(TimeoutError), HandlerTimeout(60):
        raise TimeoutError
