"""A completion behaves as a future does, and calls back at once."""

import asyncio

import pytest

from hookline.aio.completion import Completion, completion_of


async def test_its_callbacks_run_at_once_and_in_order() -> None:
    called: list[tuple[str, BaseException | None]] = []
    completion, error = Completion(), ValueError("no")
    completion.when_ended(lambda *ended: called.append(ended), "first")
    completion.when_ended(lambda *ended: called.append(ended), "second")
    assert called == []
    assert completion.end(error)
    assert called == [("first", error), ("second", error)]
    completion.when_ended(lambda *ended: called.append(ended), "late")
    assert called[2:] == [("late", error)]


async def test_awaiting_it_returns_or_raises_what_it_ended_with() -> None:
    confirmed, failed, cancelled = Completion(), Completion(), Completion()
    waiting = [asyncio.ensure_future(each) for each in (confirmed, failed, cancelled)]
    await asyncio.sleep(0)
    confirmed.end(None)
    failed.end(ValueError("no"))
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
    assert isinstance(completion.exception(), asyncio.CancelledError)
    assert not completion.cancel()
    assert not completion.end(None)


async def test_an_error_of_a_callback_goes_to_the_event_loop_and_holds_up_nobody() -> None:
    found: list[BaseException | None] = []
    called: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context.get("exception")))
    completion = Completion()
    completion.when_ended(lambda *_: 1 / 0, None)
    completion.when_ended(lambda about, _: called.append(about), "behind it")
    completion.end(None)
    completion.when_ended(lambda *_: int("none"), None)
    assert [type(error) for error in found] == [ZeroDivisionError, ValueError]
    assert called == ["behind it"]


async def test_one_of_a_future_ends_as_the_future_does_and_cancels_it() -> None:
    loop = asyncio.get_running_loop()
    confirmed, failed, cancelled, given_up = (loop.create_future() for _ in range(4))
    completions = [completion_of(each) for each in (confirmed, failed, cancelled, given_up)]
    confirmed.set_result(None)
    failed.set_exception(ValueError("no"))
    cancelled.cancel()
    assert completions[3].cancel()
    assert given_up.cancelled()
    await asyncio.sleep(0)
    assert [each.done() for each in completions] == [True] * 4
    assert [type(each.exception()) for each in completions] == [
        type(None),
        ValueError,
        *[asyncio.CancelledError] * 2,
    ]
