"""A completion behaves as a future does, and calls back at once."""

import asyncio

import pytest

from hookline.aio.completion import Completion


async def test_its_callbacks_run_at_once_and_in_order() -> None:
    called: list[str] = []
    completion = Completion()
    completion.add_done_callback(lambda _: called.append("first"))
    completion.add_done_callback(lambda _: called.append("second"))
    assert called == []
    completion.set_result(None)
    assert called == ["first", "second"]
    completion.add_done_callback(lambda _: called.append("late"))
    assert called == ["first", "second", "late"]


async def test_awaiting_it_returns_or_raises_what_it_ended_with() -> None:
    confirmed, failed, cancelled = Completion(), Completion(), Completion()
    waiting = [asyncio.ensure_future(each) for each in (confirmed, failed, cancelled)]
    await asyncio.sleep(0)
    confirmed.set_result(None)
    failed.set_exception(ValueError("no"))
    assert cancelled.cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert outcomes[0] is None
    assert isinstance(outcomes[1], ValueError)
    assert isinstance(outcomes[2], asyncio.CancelledError)
    with pytest.raises(ValueError, match="no"):
        await failed


async def test_it_is_cancelled_with_the_task_that_awaits_it() -> None:
    completion = Completion()
    waiting = asyncio.ensure_future(completion)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert completion.cancelled()
    assert not completion.cancel()


async def test_an_error_of_a_callback_goes_to_the_event_loop_and_holds_up_nobody() -> None:
    found: list[BaseException | None] = []
    called: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context.get("exception")))
    completion = Completion()
    completion.add_done_callback(lambda _: 1 / 0)
    completion.add_done_callback(lambda _: called.append("behind it"))
    completion.set_result(None)
    completion.add_done_callback(lambda _: int("none"))
    assert [type(error) for error in found] == [ZeroDivisionError, ValueError]
    assert called == ["behind it"]
