"""Places for calls: taken at once where one is free, else in the order of asking."""

import asyncio

import pytest

from hookline.workers.admission import HandlerLimit


class Queued:
    """Tasks that ask for a place one after another, and keep it."""

    def __init__(self, limit: HandlerLimit, count: int) -> None:
        self.entered: list[int] = []
        self.tasks = [asyncio.create_task(self._enter(limit, number)) for number in range(count)]

    async def _enter(self, limit: HandlerLimit, number: int) -> None:
        await limit.acquire()
        self.entered.append(number)


async def let_tasks_run() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_places_are_taken_at_once_while_any_is_free() -> None:
    limit = HandlerLimit(2)
    assert [limit.try_acquire() for _ in range(3)] == [True, True, False]
    limit.release()
    assert limit.try_acquire()


async def test_places_are_given_in_the_order_of_asking() -> None:
    limit = HandlerLimit(1)
    queued = Queued(limit, 4)
    for count in range(1, 5):
        await let_tasks_run()
        assert queued.entered == list(range(count))
        limit.release()


async def test_a_place_that_is_given_back_is_not_free_while_a_task_waits() -> None:
    limit = HandlerLimit(1)
    queued = Queued(limit, 2)
    await let_tasks_run()
    limit.release()
    assert not limit.try_acquire()
    await let_tasks_run()
    assert queued.entered == [0, 1]


async def test_a_task_that_is_cancelled_with_its_place_leaves_it_to_the_next() -> None:
    limit = HandlerLimit(1)
    queued = Queued(limit, 3)
    await let_tasks_run()
    limit.release()
    queued.tasks[1].cancel()
    await let_tasks_run()
    assert queued.entered == [0, 2]


async def test_a_task_that_is_cancelled_while_it_waits_takes_no_place() -> None:
    limit = HandlerLimit(1)
    queued = Queued(limit, 2)
    await let_tasks_run()
    queued.tasks[1].cancel()
    await let_tasks_run()
    limit.release()
    assert [limit.try_acquire() for _ in range(2)] == [True, False]


async def test_closing_cancels_whatever_waits_and_would_have_to() -> None:
    limit = HandlerLimit(1)
    before = Queued(limit, 2)
    await let_tasks_run()
    limit.close()
    after = Queued(limit, 1)
    await let_tasks_run()
    assert before.tasks[1].cancelled()
    assert after.tasks[0].cancelled()
    limit.release()
    await limit.acquire()


async def test_tasks_that_are_turned_away_are_cancelled_and_others_wait() -> None:
    limit = HandlerLimit(1)
    queued = Queued(limit, 3)
    await let_tasks_run()
    limit.turn_away({queued.tasks[1]})
    await let_tasks_run()
    limit.release()
    await let_tasks_run()
    assert queued.entered == [0, 2]
    with pytest.raises(asyncio.CancelledError):
        await queued.tasks[1]
