"""Partitions are divided fairly among live processes, and no partition has two holders."""

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
    """The partitions of each process after several rounds of `assign`, in which each revokes its surplus."""
    for _ in range(rounds):
        for store in stores:
            for partition in (await store.assign(queue, PARTITIONS)).surplus:
                await store.revoke(queue, partition)
    return [(await store.assign(queue, PARTITIONS)).partitions for store in stores]


def is_fair(parts: Sequence[frozenset[str]]) -> bool:
    """Whether every partition has one holder, and all hold the same number, give or take one."""
    sizes = {len(part) for part in parts}
    held = [partition for part in parts for partition in part]
    return sorted(held) == PARTITIONS and max(sizes) - min(sizes) <= 1


@shared_stores
@pytest.mark.parametrize("count", [2, 3, 5, 17])
async def test_processes_hold_equal_numbers_of_partitions(
    store: Store, queue: str, another: Another, count: int
) -> None:
    async with AsyncExitStack() as processes:
        others = [await processes.enter_async_context(another()) for _ in range(count - 1)]
        assert is_fair(await settle([store, *others], queue))


@shared_stores
async def test_the_partitions_of_a_process_that_ended_go_to_the_others(
    store: Store, queue: str, another: Another
) -> None:
    async with another() as other:
        async with another() as third:
            await settle([store, other, third], queue)
        assert is_fair(await settle([store, other], queue, rounds=1))
    assert await settle([store], queue, rounds=1) == [frozenset(PARTITIONS)]


@shared_stores
async def test_a_process_keeps_a_partition_until_it_revokes_it(store: Store, queue: str, another: Another) -> None:
    before = await store.assign(queue, PARTITIONS)
    async with another() as other:
        assert await other.assign(queue, PARTITIONS) == Assignment(frozenset())
        now = await store.assign(queue, PARTITIONS)
        assert now.partitions == before.partitions
        assert len(now.surplus) == 8


@shared_stores
async def test_a_fair_assignment_does_not_change(store: Store, queue: str, another: Another) -> None:
    async with another() as second, another() as third:
        processes = [store, second, third]
        assert await settle(processes, queue) == await settle(processes, queue)


@shared_stores
async def test_a_partition_of_another_process_cannot_be_revoked(store: Store, queue: str, another: Another) -> None:
    await store.assign(queue, PARTITIONS)
    async with another() as other:
        await other.revoke(queue, "p00")
        assert await other.assign(queue, PARTITIONS) == Assignment(frozenset())


@shared_stores
async def test_each_queue_has_its_own_assignment(store: Store, queue: str, another: Another) -> None:
    await store.assign(queue, PARTITIONS)
    async with another() as other:
        assert await other.assign(f"{queue}-other", PARTITIONS) == Assignment(frozenset(PARTITIONS))


@shared_stores
async def test_no_partition_has_two_holders_while_several_processes_ask_at_once(
    store: Store, queue: str, another: Another
) -> None:
    async with another() as second, another() as third:
        processes = [store, second, third]
        for _ in range(20):
            found = await asyncio.gather(*(process.assign(queue, PARTITIONS) for process in processes))
            held = [partition for assignment in found for partition in assignment.partitions]
            assert len(held) == len(set(held))
            await asyncio.gather(
                *(
                    process.revoke(queue, partition)
                    for process, assignment in zip(processes, found, strict=True)
                    for partition in random.sample(sorted(assignment.partitions), len(assignment.partitions) // 3)
                )
            )


class Assigning(RuleBasedStateMachine):
    """Processes that start, ask, revoke and die in any order."""

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
        """Revoke only some of the surplus: the rest is still in flight."""
        member = chance.choice(sorted(self.members))
        for partition in sorted(fair_assignment(PARTITIONS, self.holders, self.members, member).surplus)[:most]:
            del self.holders[partition]

    @precondition(lambda self: self.members)
    @rule()
    def come_to_rest(self) -> None:
        """All processes ask and revoke their whole surplus, twice. Then the assignment is fair and does not change."""
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
    def no_live_process_loses_a_partition_that_it_did_not_revoke(self) -> None:
        for member in self.members:
            assert fair_assignment(PARTITIONS, self.holders, self.members, member).partitions >= self.held_by(member)

    def ask_as(self, member: str) -> Assignment:
        self.members.add(member)
        assignment = fair_assignment(PARTITIONS, self.holders, self.members, member)
        for partition in assignment.partitions:
            assert self.holders.get(partition) in {None, member} or self.holders[partition] not in self.members
            self.holders[partition] = member
        return assignment

    def held_by(self, member: str) -> frozenset[str]:
        return frozenset(partition for partition, holder in self.holders.items() if holder == member)


TestAssigning = Assigning.TestCase
TestAssigning.settings = settings(max_examples=100, deadline=None)
