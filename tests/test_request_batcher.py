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


def many(first: int) -> list[Item]:
    """So many items that they are worth a group of their own."""
    return [Item(str(number), number) for number in range(first, first + 128)]


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


async def test_an_item_that_fails_harms_no_other_of_its_group() -> None:
    async def answer(items: list[Item]) -> Sequence[int]:
        if any(item.number < 0 for item in items):
            raise ValueError("negative")
        return [2 * item.number for item in items]

    batcher = RequestBatcher(answer, timeout_s=60)
    first, second = await asyncio.gather(
        batcher.ask_all([Item("a", 1), Item("b", -1)]), batcher.ask_all([Item("c", 3), Item("d", 4)])
    )
    assert (first[0], type(first[1]), [*second]) == (2, ValueError, [6, 8])


async def test_a_request_with_a_key_of_one_that_waits_is_not_sent_before_it() -> None:
    server = Server()
    server.may_answer.set()
    batcher = RequestBatcher(server.answer, timeout_s=60)
    asked = [[Item("a", 1)], [Item("a", 2), Item("b", 3)], [Item("b", 4)], [Item("c", 5)]]
    await asyncio.gather(*map(batcher.ask_all, asked))
    assert server.groups == [[1, 5], [2, 3], [4]]


async def test_much_is_sent_beside_a_group_in_flight_and_little_is_not() -> None:
    server = Server()
    batcher = RequestBatcher(server.answer, timeout_s=60, groups=2)
    first = asyncio.create_task(batcher.ask(Item("a", 1)))
    await settled()
    little = asyncio.create_task(batcher.ask_all(many(1000)[:-1]))
    await settled()
    assert [len(group) for group in server.groups] == [1]
    one_more = asyncio.create_task(batcher.ask(Item("b", 2)))
    await settled()
    assert [len(group) for group in server.groups] == [1, 128]
    third = asyncio.create_task(batcher.ask_all(many(2000)))
    await settled()
    assert [len(group) for group in server.groups] == [1, 128]
    server.may_answer.set()
    assert (await first, await one_more, len(await little), len(await third)) == (2, 4, 127, 128)
    assert [len(group) for group in server.groups] == [1, 128, 128]


async def test_no_key_is_in_two_groups_that_are_in_flight() -> None:
    server = Server()
    batcher = RequestBatcher(server.answer, timeout_s=60, groups=2)
    first = asyncio.create_task(batcher.ask_all([Item("a", 1), Item("b", 2)]))
    await settled()
    conflicting = asyncio.create_task(batcher.ask_all([*many(1000), Item("b", 3)]))
    behind_it = asyncio.create_task(batcher.ask(Item("1000", 4)))
    others = asyncio.create_task(batcher.ask_all(many(2000)))
    await settled()
    assert server.groups == [[1, 2], [*range(2000, 2128)]]
    server.may_answer.set()
    await asyncio.gather(first, conflicting, behind_it, others)
    assert server.groups[2:] == [[*range(1000, 1128), 3], [4]]


async def test_what_little_comes_while_two_groups_are_in_flight_is_sent_after_the_last_of_them() -> None:
    server = Server()
    batcher = RequestBatcher(server.answer, timeout_s=60, groups=2)
    much = [asyncio.create_task(batcher.ask_all(items)) for items in (many(0), many(1000))]
    await settled()
    little = [asyncio.create_task(batcher.ask(Item(str(number), number))) for number in (2000, 2001)]
    await settled()
    server.may_answer.set()
    await asyncio.gather(*much, *little)
    assert server.groups[-1] == [2000, 2001]
    assert await batcher.ask(Item("a", 1)) == 2


async def settled() -> None:
    """Return once every task that can go on has done so."""
    for _ in range(5):
        await asyncio.sleep(0)
