"""Following the assignment of partitions, with a store and queues that fail."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from typing import cast

import pytest

from hookline.schemas import topics
from hookline.schemas.broker import Queue, Received
from hookline.schemas.errors import Unreachable
from hookline.workers import partitions
from hookline.workers.partitions import ALONE_S, DECLINE_S, Partitions
from hookline.workers.store import Assignment, MemoryStore
from tests.contract.installations import eventually

ALL = frozenset(topics.PARTITION_WORDS)
FIRST = topics.PARTITION_WORDS[0]


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Scripted(MemoryStore):
    """Assigns what the test says, and fails while it is down."""

    def __init__(self) -> None:
        super().__init__()
        self.held = set(ALL)
        self.surplus: set[str] = set()
        self.is_down = False
        self.refused_revocations = 0
        self.asked = 0
        self.reported: set[str] = set()
        self.declined: list[str] = []
        self.accepts_declines = True

    async def assign(self, queue: str, partitions: Sequence[str], consuming: Collection[str]) -> Assignment:  # noqa: ARG002
        self.asked += 1
        if self.is_down:
            raise Unreachable("down")
        self.reported = set(consuming)
        return Assignment(frozenset(self.held), frozenset(self.surplus & self.held))

    async def revoke(self, queue: str, partition: str) -> None:  # noqa: ARG002  there is one
        if self.refused_revocations:
            self.refused_revocations -= 1
            raise Unreachable("a stale connection")
        self.held.discard(partition)

    async def decline(self, queue: str, partition: str) -> None:  # noqa: ARG002  there is one
        if self.is_down:
            self.asked += 1
            raise Unreachable("down")
        self.declined.append(partition)
        if self.accepts_declines:
            self.surplus.add(partition)


class Consumer:
    """A queue without messages."""

    def __init__(self, world: "World", partition: str) -> None:
        self._world = world
        self._partition = partition

    @property
    def attached(self) -> bool:
        return self._partition not in self._world.detached

    async def take(self) -> Received:
        if self._partition in self._world.broken:
            raise ValueError("a bug")
        return await asyncio.Event().wait()  # type: ignore[return-value]  # no message comes

    async def close(self) -> None:
        self._world.open.discard(self._partition)
        if self._partition in self._world.unclosable:
            self._world.unclosable.discard(self._partition)
            raise ValueError("a bug")


class World:
    """What the partitions of one process are connected to."""

    def __init__(self) -> None:
        self.store = Scripted()
        self.clock = Clock()
        self.open: set[str] = set()
        self.broken: set[str] = set()
        self.unclosable: set[str] = set()
        self.detached: set[str] = set()
        self.unopenable: set[str] = set()
        self.openable = asyncio.Event()
        self.left: list[tuple[str, bool]] = []
        self.calls_end = asyncio.Event()
        self.calls_end.set()
        self.partitions = Partitions("worker", self.store, self._open, lambda *_: None, self._leave, self.clock)

    async def _open(self, partition: str) -> Queue:
        if partition in self.unopenable:
            await self.openable.wait()
        self.open.add(partition)
        return cast("Queue", Consumer(self, partition))

    async def _leave(self, partition: str, lost: bool) -> None:  # noqa: FBT001  a callback's
        self.left.append((partition, lost))
        await self.calls_end.wait()


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """All partitions are assigned and consumed."""
    monkeypatch.setattr(partitions, "ASK_S", 0.001)
    world = World()
    keeping = asyncio.create_task(world.partitions.keep())
    await eventually(lambda: _is(world.open == ALL))
    yield world
    keeping.cancel()
    with suppress(asyncio.CancelledError, ValueError):
        await keeping
    world.calls_end.set()
    await world.partitions.close()


async def _is(condition: bool) -> bool:  # noqa: FBT001  a condition's value
    return condition


async def asked_again(world: World, times: int = 3) -> None:
    until = world.store.asked + times
    await eventually(lambda: _is(world.store.asked >= until))


async def test_a_partition_is_revoked_again_until_the_store_has_accepted_it(world: World) -> None:
    world.store.refused_revocations = 5
    world.store.surplus = {FIRST}
    await eventually(lambda: _is(FIRST not in world.store.held))
    assert world.open == ALL - {FIRST}


async def test_a_partition_whose_revocation_failed_is_consumed_again_once_it_is_not_surplus(world: World) -> None:
    world.store.refused_revocations = 10**9
    world.store.surplus = {FIRST}
    await eventually(lambda: _is(FIRST not in world.open))
    world.store.surplus = set()
    await eventually(lambda: _is(world.open == ALL))


async def test_a_process_without_its_store_leaves_its_partitions_before_its_lease_ends(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.store.is_down = True
    await asked_again(world)
    world.clock.now_s += ALONE_S - 1
    await asked_again(world)
    assert world.open == ALL
    world.clock.now_s += 1
    with caplog.at_level(logging.ERROR):
        await eventually(lambda: _is(not world.open))
        await asked_again(world)
    assert sorted(world.left) == [(partition, False) for partition in sorted(ALL)]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "worker worker: the store is away for too long: its partitions are left until it is back"
    ]
    assert world.store.held == ALL


async def test_a_process_takes_its_partitions_up_again_when_the_store_is_back(world: World) -> None:
    world.store.is_down = True
    world.clock.now_s += ALONE_S
    await eventually(lambda: _is(not world.open))
    world.store.is_down = False
    await eventually(lambda: _is(world.open == ALL))


async def test_a_failing_store_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        world.store.is_down = True
        await asked_again(world, 10)
    assert len(caplog.records) == 1


async def test_a_store_that_does_not_answer_is_given_up_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: object) -> Assignment:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(world.store, "assign", hang)
    world.clock.now_s += ALONE_S
    await eventually(lambda: _is(not world.open))


async def test_partitions_that_are_being_left_are_reported_as_consumed(world: World) -> None:
    world.calls_end.clear()
    world.store.surplus = {FIRST}
    await eventually(lambda: _is((FIRST, False) in world.left))
    await asked_again(world)
    assert world.store.reported == ALL
    world.calls_end.set()
    await eventually(lambda: _is(world.store.reported == ALL - {FIRST}))


async def test_a_partition_that_cannot_be_opened_delays_no_report(world: World) -> None:
    world.unopenable = {FIRST}
    world.store.surplus = {FIRST}
    await eventually(lambda: _is(FIRST not in world.store.held))
    world.store.surplus = set()
    world.store.held.add(FIRST)
    await asked_again(world, 5)
    assert world.store.reported == ALL - {FIRST}
    world.openable.set()
    await eventually(lambda: _is(world.store.reported == ALL))


async def test_a_partition_whose_consumer_was_lost_is_not_reported_until_it_is_back(world: World) -> None:
    world.detached = {FIRST}
    await eventually(lambda: _is(world.store.reported == ALL - {FIRST}))
    world.detached = set()
    await eventually(lambda: _is(world.store.reported == ALL))


async def test_a_declined_partition_is_left_in_order_once_the_store_knows(world: World) -> None:
    world.store.is_down = True
    world.partitions.decline(FIRST)
    await asked_again(world)
    assert world.open == ALL
    world.store.is_down = False
    await eventually(lambda: _is(FIRST not in world.store.held))
    assert world.open == ALL - {FIRST}
    assert world.left == [(FIRST, False)]


async def test_a_partition_is_declined_again_only_after_a_while(world: World) -> None:
    world.store.accepts_declines = False
    for wait_s in (0.0, DECLINE_S - 1, 1.0):
        world.clock.now_s += wait_s
        world.partitions.decline(FIRST)
        world.partitions.decline(FIRST)
        await asked_again(world)
    assert world.store.declined == [FIRST, FIRST]


async def test_a_partition_that_another_process_has_taken_over_is_left_in_order(world: World) -> None:
    world.calls_end.clear()
    world.store.held.discard(FIRST)
    await eventually(lambda: _is(world.left == [(FIRST, False)]))
    assert world.open == ALL
    world.calls_end.set()
    await eventually(lambda: _is(world.open == ALL - {FIRST}))


async def test_a_partition_that_was_lost_with_the_lease_is_left_at_once(world: World) -> None:
    world.store.is_down = True
    await asked_again(world)
    world.store.held.discard(FIRST)
    world.clock.now_s += ALONE_S
    world.store.is_down = False
    await eventually(lambda: _is(world.open == ALL - {FIRST}))
    assert (FIRST, True) in world.left


async def test_a_partition_is_never_kept_without_taking_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "ASK_S", 0.001)
    world = World()
    world.broken = {FIRST}
    with pytest.raises(ValueError, match="a bug"):
        await asyncio.wait_for(world.partitions.keep(), 10)
    await world.partitions.close()


async def test_a_partition_is_never_kept_because_leaving_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "ASK_S", 0.001)
    world = World()
    world.unclosable = {FIRST}
    keeping = asyncio.create_task(world.partitions.keep())
    await eventually(lambda: _is(world.open == ALL))
    world.store.surplus.add(FIRST)
    with pytest.raises(ValueError, match="a bug"):
        await asyncio.wait_for(keeping, 10)
    await world.partitions.close()
