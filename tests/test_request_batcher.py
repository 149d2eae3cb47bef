"""Requests in groups."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from hookline.schemas.errors import Unreachable
from hookline.workers.stores.request_batcher import RequestBatcher

SOON_S = 0.02


class Item(NamedTuple):
    key: str
    number: int


class Server:
    """Doubles the numbers of a group, once it may answer."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.may_answer = asyncio.Event()

    async def answer(self, items: list[Item]) -> Sequence[int]:
        self.groups.append([item.number for item in items])
        await self.may_answer.wait()
        return [2 * item.number for item in items]


async def test_requests_that_wait_are_sent_together_and_each_gets_its_own_answer() -> None:
    server = Server()
    batcher = RequestBatcher(server.answer, timeout_s=60)
    requests = [asyncio.create_task(batcher.ask(Item(str(item), item))) for item in range(3)]
    await asyncio.sleep(0)
    server.may_answer.set()
    assert await asyncio.gather(*requests) == [0, 2, 4]
    assert server.groups == [[0, 1, 2]]


async def test_no_key_is_twice_in_a_group() -> None:
    server = Server()
    server.may_answer.set()
    batcher = RequestBatcher(server.answer, timeout_s=60)
    assert [*await asyncio.gather(batcher.ask(Item("a", 1)), batcher.ask(Item("b", 2)), batcher.ask(Item("a", 3)))] == [
        2,
        4,
        6,
    ]
    assert server.groups == [[1, 2], [3]]


async def test_a_request_without_an_answer_is_unreachable_after_the_time_out() -> None:
    batcher = RequestBatcher(Server().answer, SOON_S)
    with pytest.raises(Unreachable):
        await batcher.ask(Item("a", 1))


async def test_each_request_has_the_whole_time_out() -> None:
    batcher = RequestBatcher(Server().answer, 3 * SOON_S)
    first = asyncio.create_task(batcher.ask(Item("a", 1)))
    with pytest.raises(Unreachable):
        await RequestBatcher(Server().answer, SOON_S).ask(Item("b", 1))
    second = asyncio.create_task(batcher.ask(Item("c", 1)))
    with pytest.raises(Unreachable):
        await first
    assert not second.done()
    with pytest.raises(Unreachable):
        await second


async def test_a_request_whose_caller_stopped_waiting_is_not_sent() -> None:
    server = Server()
    batcher = RequestBatcher(server.answer, timeout_s=60)
    first = asyncio.create_task(batcher.ask(Item("a", 1)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    impatient, second = asyncio.create_task(batcher.ask(Item("b", 2))), asyncio.create_task(batcher.ask(Item("c", 3)))
    await asyncio.sleep(0)
    impatient.cancel()
    server.may_answer.set()
    assert [*await asyncio.gather(first, second)] == [2, 6]
    assert server.groups == [[1], [3]]
