"""Partitions are divided fairly among live processes, and never held by two."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import integers, randoms

from hookline.workers.store import Assignment, Store
from hookline.workers.stores.assignment import fair_assignment
from tests.contract.stores import Another, shared_stores

PARTITIONS = [f"p{number:02}" for number in range(16)]


async def settle(stores: Sequence[Store], queue: str, rounds: int = 3) -> list[frozenset[str]]:
    """Every process asks so many times, and lets go of what is surplus; what each holds in the end."""
    for _ in range(rounds):
        for store in stores:
            for partition in (await store.assign(queue, PARTITIONS)).surplus:
                await store.revoke(queue, partition)
    return [(await store.assign(queue, PARTITIONS)).partitions for store in stores]


def is_fair(parts: Sequence[frozenset[str]]) -> bool:
    """Whether every partition is held once, by processes that hold as many as each other, give or take one."""
    sizes = {len(part) for part in parts}
    held = [partition for part in parts for partition in part]
    return sorted(held) == PARTITIONS and max(sizes) - min(sizes) <= 1


@shared_stores
@pytest.mark.parametrize("count", [2, 3, 5, 17])
async def test_processes_hold_as_much_as_each_other(store: Store, queue: str, another: Another, count: int) -> None:
    async with AsyncExitStack() as processes:
        others = [await processes.enter_async_context(another()) for _ in range(count - 1)]
        assert is_fair(await settle([store, *others], queue))


@shared_stores
async def test_what_a_process_held_goes_to_the_others_when_it_is_gone(
    store: Store, queue: str, another: Another
) -> None:
    async with another() as other:
        async with another() as third:
            await settle([store, other, third], queue)
        assert is_fair(await settle([store, other], queue, rounds=1))
    assert await settle([store], queue, rounds=1) == [frozenset(PARTITIONS)]


@shared_stores
async def test_who_holds_a_share_keeps_it_until_letting_go(store: Store, queue: str, another: Another) -> None:
    before = await store.assign(queue, PARTITIONS)
    async with another() as other:
        assert await other.assign(queue, PARTITIONS) == Assignment(frozenset())
        now = await store.assign(queue, PARTITIONS)
        assert now.partitions == before.partitions
        assert len(now.surplus) == 8


@shared_stores
async def test_a_fair_division_stays_as_it_is(store: Store, queue: str, another: Another) -> None:
    async with another() as second, another() as third:
        processes = [store, second, third]
        assert await settle(processes, queue) == await settle(processes, queue)


@shared_stores
async def test_a_share_that_another_holds_cannot_be_let_go(store: Store, queue: str, another: Another) -> None:
    await store.assign(queue, PARTITIONS)
    async with another() as other:
        await other.revoke(queue, "p00")
        assert await other.assign(queue, PARTITIONS) == Assignment(frozenset())


@shared_stores
async def test_queues_are_divided_by_themselves(store: Store, queue: str, another: Another) -> None:
    await store.assign(queue, PARTITIONS)
    async with another() as other:
        assert await other.assign(f"{queue}-other", PARTITIONS) == Assignment(frozenset(PARTITIONS))


@shared_stores
async def test_no_share_has_two_holders_while_many_ask_at_once(store: Store, queue: str, another: Another) -> None:
    async with another() as second, another() as third:
        processes = [store, second, third]
        for _ in range(20):
            found = await asyncio.gather(*(process.assign(queue, PARTITIONS) for process in processes))
            assert sum(len(held.partitions) for held in found) == len(set().union(*(held.partitions for held in found)))
            await asyncio.gather(
                *(
                    process.revoke(queue, partition)
                    for process, held in zip(processes, found, strict=True)
                    for partition in random.sample(sorted(held.partitions), len(held.partitions) // 3)
                )
            )


class Division(RuleBasedStateMachine):
    """Processes that come, ask, let go and die in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.holders: dict[str, str] = {}
        self.members: set[str] = set()
        self.born = 0

    @rule()
    def join(self) -> None:
        self.born += 1
        self.ask_as(f"process {self.born}")

    @precondition(lambda self: self.members)
    @rule(chance=randoms())
    def ask(self, chance: random.Random) -> None:
        self.ask_as(chance.choice(sorted(self.members)))

    @precondition(lambda self: len(self.members) > 1)
    @rule(chance=randoms())
    def die(self, chance: random.Random) -> None:
        self.members.remove(chance.choice(sorted(self.members)))

    @precondition(lambda self: self.members)
    @rule(chance=randoms(), most=integers(1, 5))
    def revoke(self, chance: random.Random, most: int) -> None:
        """Only some of what is surplus: the rest is still in hand."""
        member = chance.choice(sorted(self.members))
        for partition in sorted(fair_assignment(PARTITIONS, self.holders, self.members, member).surplus)[:most]:
            del self.holders[partition]

    @precondition(lambda self: self.members)
    @rule()
    def come_to_rest(self) -> None:
        """All ask and let go of everything that is surplus, twice: then it is fair, and stays as it is."""
        for _ in range(2):
            for member in sorted(self.members):
                for partition in self.ask_as(member).surplus:
                    del self.holders[partition]
        for member in sorted(self.members):
            self.ask_as(member)
        parts = [self.held_by(member) for member in self.members]
        assert is_fair(parts)
        assert not any(
            fair_assignment(PARTITIONS, self.holders, self.members, member).surplus for member in self.members
        )

    @invariant()
    def no_live_process_loses_what_it_did_not_let_go(self) -> None:
        for member in self.members:
            assert fair_assignment(PARTITIONS, self.holders, self.members, member).partitions >= self.held_by(member)

    def ask_as(self, member: str) -> Assignment:
        self.members.add(member)
        held = fair_assignment(PARTITIONS, self.holders, self.members, member)
        for partition in held.partitions:
            assert self.holders.get(partition) in {None, member} or self.holders[partition] not in self.members
            self.holders[partition] = member
        return held

    def held_by(self, member: str) -> frozenset[str]:
        return frozenset(partition for partition, holder in self.holders.items() if holder == member)


TestDivision = Division.TestCase
TestDivision.settings = settings(max_examples=100, deadline=None)
