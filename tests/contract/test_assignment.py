"""Partitions are divided fairly among live processes, and no partition has two holders."""

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import booleans, integers, randoms

from hookline.schemas.leases import LEASE_S
from hookline.sqlite import writer_thread
from hookline.workers.store import Assignment, Store
from hookline.workers.stores import heartbeat
from hookline.workers.stores.assignment import DECLINED_S, TURN_S, Holder, QueueState, decide, fair_assignment
from tests.contract.stores import Another, advance, hold_up, shared_stores

PARTITIONS = [f"p{number:02}" for number in range(16)]


async def settle(stores: Sequence[Store], queue: str, rounds: int = 3) -> list[frozenset[str]]:
    """The partitions of each process after several rounds of `assign`, in which each revokes its surplus."""
    for _ in range(rounds):
        for store in stores:
            for partition in (await store.assign(queue, PARTITIONS, ())).surplus:
                await store.revoke(queue, partition)
    return [(await store.assign(queue, PARTITIONS, ())).partitions for store in stores]


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
    before = await store.assign(queue, PARTITIONS, ())
    async with another() as other:
        assert await other.assign(queue, PARTITIONS, ()) == Assignment(frozenset())
        now = await store.assign(queue, PARTITIONS, ())
        assert now.partitions == before.partitions
        assert len(now.surplus) == 8


@shared_stores
async def test_a_fair_assignment_does_not_change(store: Store, queue: str, another: Another) -> None:
    async with another() as second, another() as third:
        processes = [store, second, third]
        assert await settle(processes, queue) == await settle(processes, queue)


@shared_stores
async def test_a_partition_of_another_process_cannot_be_revoked(store: Store, queue: str, another: Another) -> None:
    await store.assign(queue, PARTITIONS, ())
    async with another() as other:
        await other.revoke(queue, "p00")
        assert await other.assign(queue, PARTITIONS, ()) == Assignment(frozenset())


@shared_stores
async def test_each_queue_has_its_own_assignment(store: Store, queue: str, another: Another) -> None:
    await store.assign(queue, PARTITIONS, ())
    async with another() as other:
        assert await other.assign(f"{queue}-other", PARTITIONS, ()) == Assignment(frozenset(PARTITIONS))


@shared_stores
async def test_no_partition_has_two_holders_while_several_processes_ask_at_once(
    store: Store, queue: str, another: Another
) -> None:
    async with another() as second, another() as third:
        processes = [store, second, third]
        for _ in range(20):
            found = await asyncio.gather(*(process.assign(queue, PARTITIONS, ()) for process in processes))
            held = [partition for assignment in found for partition in assignment.partitions]
            assert len(held) == len(set(held))
            await asyncio.gather(
                *(
                    process.revoke(queue, partition)
                    for process, assignment in zip(processes, found, strict=True)
                    for partition in random.sample(sorted(assignment.partitions), len(assignment.partitions) // 3)
                )
            )


@pytest.fixture
def _one_heartbeat_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process sends a heartbeat when it opens the store, and no other by itself. Time passes by `advance`."""
    monkeypatch.setattr(heartbeat, "BEAT_S", 3600.0)
    monkeypatch.setattr(writer_thread, "BEAT_S", 0)


timed = pytest.mark.usefixtures("_one_heartbeat_each")


async def ask(store: Store, queue: str, consuming: Collection[str]) -> Assignment:
    """Ask and renew the lease, as a process does."""
    return await store.assign(queue, PARTITIONS, consuming)


async def shared_by_two(store: Store, other: Store, queue: str) -> tuple[frozenset[str], frozenset[str]]:
    first, second = await settle([store, other], queue)
    for process, part in ((store, first), (other, second)):
        await ask(process, queue, part)
    return first, second


async def pass_time(
    address: str, store: Store, other: Store, queue: str, *consuming: Collection[str], seconds: float = LEASE_S + 2
) -> None:
    """More than a lease, in which both processes ask and report."""
    for _ in range(round(seconds)):
        await advance(address, 1)
        for process, reported in zip((store, other), consuming, strict=True):
            await ask(process, queue, reported)


@timed
@shared_stores
async def test_a_partition_that_its_live_holder_does_not_consume_goes_to_one_that_consumes_others(
    address: str, store: Store, queue: str, another: Another
) -> None:
    async with another() as other:
        first, second = await shared_by_two(store, other, queue)
        lost = min(second)
        await pass_time(address, store, other, queue, first, second - {lost})
        assert (await ask(store, queue, first)).partitions == first | {lost}
        now = await ask(other, queue, second - {lost})
        assert now == Assignment(second - {lost})
        assert not (await ask(store, queue, first | {lost})).surplus


@timed
@shared_stores
async def test_partitions_that_are_consumed_stay_where_they_are(
    address: str, store: Store, queue: str, another: Another
) -> None:
    async with another() as other:
        first, second = await shared_by_two(store, other, queue)
        await pass_time(address, store, other, queue, first, second)
        assert await ask(store, queue, first) == Assignment(first)
        assert await ask(other, queue, second) == Assignment(second)


@timed
@shared_stores
async def test_no_partition_moves_while_the_broker_is_away_nor_when_it_is_back(
    address: str, store: Store, queue: str, another: Another
) -> None:
    async with another() as other:
        first, second = await shared_by_two(store, other, queue)
        await pass_time(address, store, other, queue, (), ())
        assert await ask(store, queue, first) == Assignment(first)
        assert await ask(store, queue, first) == Assignment(first)
        assert await ask(other, queue, ()) == Assignment(second)


@timed
@shared_stores
async def test_no_partition_moves_in_an_outage_of_the_broker_in_which_one_process_reported_last(
    address: str, store: Store, queue: str, another: Another
) -> None:
    async with another() as other:
        first, second = await shared_by_two(store, other, queue)
        await pass_time(address, store, other, queue, (), second, seconds=2)
        for _ in range(round(LEASE_S) + 4):
            await pass_time(address, store, other, queue, (), (), seconds=1)
            assert (await ask(store, queue, ())).partitions == first
            assert (await ask(other, queue, ())).partitions == second
        assert await ask(other, queue, second) == Assignment(second)
        assert await ask(store, queue, ()) == Assignment(first)


@timed
@shared_stores
async def test_a_death_in_an_outage_of_the_broker_moves_no_partition_of_the_others(
    address: str, store: Store, queue: str, another: Another
) -> None:
    async with another() as other:
        async with another() as third:
            parts = await settle([store, other, third], queue)
            for process, part in zip((store, other, third), parts, strict=True):
                await ask(process, queue, part)
            await pass_time(address, store, other, queue, (), (), seconds=LEASE_S - 1)
        await pass_time(address, store, other, queue, (), (), seconds=5)
        first, second = (await ask(store, queue, ())).partitions, (await ask(other, queue, ())).partitions
        assert first >= parts[0]
        assert second >= parts[1]
        assert await ask(other, queue, second) == Assignment(second)
        assert await ask(store, queue, ()) == Assignment(first)


@timed
@shared_stores
async def test_the_partitions_of_a_live_process_that_does_not_ask_are_free(
    address: str, store: Store, queue: str, another: Another
) -> None:
    async with another() as other:
        first, _ = await shared_by_two(store, other, queue)
        for _ in range(round(LEASE_S) + 2):
            await advance(address, 1)
            await ask(store, queue, first)
            await other.assign("another queue", PARTITIONS, ())  # it is alive
        assert await ask(store, queue, first) == Assignment(frozenset(PARTITIONS))


@timed
@shared_stores
async def test_an_outage_of_the_store_moves_no_partition(
    address: str, store: Store, queue: str, another: Another
) -> None:
    async with another() as other:
        first, second = await shared_by_two(store, other, queue)
        await hold_up(address, 3600)
        assert await ask(store, queue, first) == Assignment(first)
        assert await ask(other, queue, second) == Assignment(second)


@shared_stores
async def test_a_declined_partition_goes_to_another_process_beside_its_part(
    store: Store, queue: str, another: Another
) -> None:
    async with another() as other:
        first, second = await settle([store, other], queue)
        declined = min(first)
        await store.decline(queue, declined)
        assert await ask(store, queue, first) == Assignment(first, frozenset({declined}))
        await store.revoke(queue, declined)
        assert await ask(other, queue, second) == Assignment(second | {declined})
        assert await settle([store, other], queue) == [first - {declined}, second | {declined}]


@shared_stores
async def test_a_partition_that_all_have_declined_stays_where_it_is(store: Store, queue: str, another: Another) -> None:
    async with another() as other:
        first, second = await settle([store, other], queue)
        for process in (store, other):
            await process.decline(queue, min(first))
        assert await settle([store, other], queue) == [first, second]


@timed
@shared_stores
async def test_a_partition_that_all_have_declined_goes_back_to_the_first_of_them_after_its_turn(
    address: str, store: Store, queue: str, another: Another
) -> None:
    async with another() as other:
        first, second = await settle([store, other], queue)
        declined = min(first)
        await store.decline(queue, declined)
        await store.revoke(queue, declined)
        first, second = first - {declined}, second | {declined}
        assert (await ask(other, queue, second)).partitions == second
        await advance(address, 1)
        await other.decline(queue, declined)
        await pass_time(address, store, other, queue, first, second, seconds=TURN_S - 6)  # heartbeats pass some, too
        assert declined not in (await ask(other, queue, second)).surplus
        await pass_time(address, store, other, queue, first, second, seconds=7)
        assert declined in (await ask(other, queue, second)).surplus
        await other.revoke(queue, declined)
        assert declined in (await ask(store, queue, first)).partitions


@shared_stores
async def test_a_single_process_keeps_a_partition_that_it_has_declined(store: Store, queue: str) -> None:
    await ask(store, queue, ())
    await store.decline(queue, "p00")
    assert await ask(store, queue, PARTITIONS) == Assignment(frozenset(PARTITIONS))


@shared_stores
async def test_a_refusal_ends_with_its_process(store: Store, queue: str, another: Another) -> None:
    async with another() as other:
        first, second = await settle([store, other], queue)
        async with another() as third:
            await ask(third, queue, ())
            await third.decline(queue, min(first))
        assert await settle([store, other], queue) == [first, second]
        await store.decline(queue, min(second))
        assert await settle([store, other], queue) == [first, second]


@timed
@shared_stores
async def test_a_refusal_ends_after_a_minute(address: str, store: Store, queue: str, another: Another) -> None:
    async with another() as other:
        first, _ = await settle([store, other], queue)
        await store.decline(queue, min(first))
        for _ in range(13):
            await advance(address, 5)
            for process in (store, other):
                await ask(process, queue, ())
        assert await ask(store, queue, first) == Assignment(first)


class Fleet(RuleBasedStateMachine):
    """Processes that start, ask, report, revoke, decline and die, also where the broker or the store is away.

    The store is written as the stores write it. An answer may be lost after its effect.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.asked: dict[str, float] = {}
        self.holders: dict[str, Holder] = {}
        self.declined: dict[tuple[str, str], float] = {}
        self.consuming: dict[str, set[str]] = {}
        self.broken: set[tuple[str, str]] = set()
        self.consumed: dict[str, float] = {}
        self.born = 0

    @precondition(lambda self: self.consuming)
    @rule(chance=randoms())
    def break_(self, chance: random.Random) -> None:
        """One process cannot consume one partition."""
        self.broken.add((chance.choice(PARTITIONS), self.one(chance)))

    @rule()
    def join(self) -> None:
        self.born += 1
        self.consuming[f"process {self.born}"] = set()
        self.ask_as(f"process {self.born}")

    @precondition(lambda self: self.consuming)
    @rule(chance=randoms(), is_answered=booleans())
    def ask(self, chance: random.Random, *, is_answered: bool) -> None:
        self.ask_as(self.one(chance), is_answered=is_answered)

    @precondition(lambda self: self.consuming)
    @rule(chance=randoms())
    def decline(self, chance: random.Random) -> None:
        self.declined[chance.choice(PARTITIONS), self.one(chance)] = self.now

    @precondition(lambda self: len(self.consuming) > 1)
    @rule(chance=randoms())
    def die(self, chance: random.Random) -> None:
        member = self.one(chance)
        del self.consuming[member]
        self.asked.pop(member, None)

    @precondition(lambda self: self.consuming)
    @rule(chance=randoms())
    def lose_a_consumer(self, chance: random.Random) -> None:
        consuming = self.consuming[self.one(chance)]
        consuming.difference_update(chance.sample(sorted(consuming), len(consuming) // 2))

    @rule()
    def lose_the_broker(self) -> None:
        for consuming in self.consuming.values():
            consuming.clear()

    @rule(seconds=integers(1, 30))
    def pass_time(self, seconds: int) -> None:
        """Some processes do not ask meanwhile."""
        self.now += seconds

    @precondition(lambda self: self.consuming)
    @rule()
    def come_to_rest(self) -> None:
        """All processes ask, consume and revoke for a while. Each partition is consumed by one that wants it."""
        for _ in range(2 * round(LEASE_S) + 10):
            self.now += 1
            for member in sorted(self.consuming):
                self.ask_as(member)
        held = {partition: holder.owner for partition, holder in self.holders.items()}
        assert sorted(held) == PARTITIONS
        for partition, member in held.items():
            if any(not self.shuns(partition, each) for each in self.consuming):
                assert self.now - self.consumed[partition] <= LEASE_S + 2
            if self.broken:
                continue
            assert partition in self.consuming[member]
            refusing = {each for each in self.consuming if self.has_declined(partition, each)}
            assert member not in refusing or len(refusing) == len(self.consuming)
        if self.broken:
            return
        before = dict(held)
        for member in sorted(self.consuming):
            self.ask_as(member)
        assert before == {partition: holder.owner for partition, holder in self.holders.items()}

    @precondition(lambda self: self.consuming)
    @rule()
    def come_to_rest_fairly(self) -> None:
        self.declined.clear()
        self.broken.clear()
        self.come_to_rest()
        if not self.declined:
            held = Counter(holder.owner for holder in self.holders.values())
            sizes = [held[member] for member in self.consuming]
            assert max(sizes) - min(sizes) <= 1

    @invariant()
    def no_process_that_asks_loses_a_partition_that_it_consumes(self) -> None:
        for member, consuming in self.consuming.items():
            mine = {each for each, holder in self.holders.items() if holder.owner == member}
            decision = decide(self.state(), PARTITIONS, member, consuming)
            assert decision.assignment.partitions >= mine

    def ask_as(self, member: str, *, is_answered: bool = True) -> None:
        decision = decide(self.state(), PARTITIONS, member, self.consuming[member])
        for partition in decision.taken:
            before = self.holders.get(partition)
            if before is not None and before.owner in self.consuming:
                quiet = self.now - self.asked.get(before.owner, 0) > LEASE_S  # others may have reported for it
                assert quiet or partition in decision.overdue
                self.consuming[before.owner].discard(partition)
        self.asked[member] = self.now
        for partition in decision.reported:
            self.holders[partition] = Holder(self.holders[partition].owner, self.now)
        for partition in decision.taken:
            self.holders[partition] = Holder(member, decision.taken_reported)
        for key in decision.overdue.items():
            self.declined[key] = self.now
        if not is_answered:
            return
        for partition in decision.assignment.surplus:
            del self.holders[partition]
        open_ = decision.assignment.partitions - decision.assignment.surplus
        self.consuming[member] = {each for each in open_ if (each, member) not in self.broken}
        self.consumed |= dict.fromkeys(self.consuming[member], self.now)

    def shuns(self, partition: str, member: str) -> bool:
        return (partition, member) in self.broken or self.has_declined(partition, member)

    def has_declined(self, partition: str, member: str) -> bool:
        return self.now - self.declined.get((partition, member), -1000) <= DECLINED_S

    def state(self) -> QueueState:
        return QueueState(self.now, self.asked, self.holders, self.declined)

    def one(self, chance: random.Random) -> str:
        return chance.choice(sorted(self.consuming))


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=50, deadline=None)


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
TestAssigning.settings = settings(max_examples=50, deadline=None)
