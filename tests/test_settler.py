"""Events of an ordered worker are settled once their completion is on disk."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from hookline.schemas.broker import Queue, Received
from hookline.schemas.errors import Unreachable
from hookline.workers.settler import Settler
from hookline.workers.store import UnsyncedStore
from tests.contract.installations import eventually

RECEIVED = Received({}, "", b"", 1, None)


class Disk:
    """A store whose `sync` returns when the test says so, and a queue that counts what is settled."""

    def __init__(self) -> None:
        self.syncs = 0
        self.may_end = asyncio.Event()
        self.failures = 0
        self.settled: list[Received] = []

    async def sync(self) -> None:
        self.syncs += 1
        await self.may_end.wait()
        if self.failures:
            self.failures -= 1
            raise Unreachable("full")

    def done(self, received: Sequence[Received]) -> None:
        self.settled += received

    async def has_settled(self, count: int) -> bool:
        return len(self.settled) == count


@pytest.fixture
async def disk() -> Disk:
    return Disk()


def settler_of(disk: Disk) -> Settler:
    return Settler(cast("UnsyncedStore", disk))


def settle(settler: Settler, disk: Disk, *received: Received) -> None:
    settler.done([(cast("Queue", disk), each) for each in received])


async def test_many_finished_events_are_settled_after_one_sync(disk: Disk) -> None:
    settler = settler_of(disk)
    keeping = asyncio.create_task(settler.keep())
    settle(settler, disk, *[RECEIVED] * 100)

    async def is_syncing() -> bool:
        return disk.syncs == 1

    await eventually(is_syncing)
    assert not disk.settled
    disk.may_end.set()
    await eventually(lambda: disk.has_settled(100))
    assert disk.syncs == 1
    keeping.cancel()


async def test_an_event_that_ends_during_a_sync_waits_for_the_next(disk: Disk) -> None:
    settler = settler_of(disk)
    settle(settler, disk, RECEIVED)
    first = asyncio.create_task(settler.flush())
    await asyncio.sleep(0)
    settle(settler, disk, RECEIVED)
    second = asyncio.create_task(settler.flush())
    disk.may_end.set()
    await asyncio.gather(first, second)
    assert (len(disk.settled), disk.syncs) == (2, 2)


async def test_nothing_is_settled_after_a_sync_that_failed_until_one_succeeds(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.workers.settler._RETRY_S", 0.01)
    settler, disk.failures = settler_of(disk), 2
    disk.may_end.set()
    settle(settler, disk, RECEIVED)
    with pytest.raises(Unreachable):
        await settler.flush()
    assert not disk.settled
    keeping = asyncio.create_task(settler.keep())
    await eventually(lambda: disk.has_settled(1))
    assert disk.syncs == 3
    keeping.cancel()


async def test_a_sync_that_is_cancelled_loses_nothing(disk: Disk) -> None:
    settler = settler_of(disk)
    settle(settler, disk, RECEIVED)
    cancelled = asyncio.create_task(settler.flush())
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    disk.may_end.set()
    await settler.flush()
    assert disk.settled == [RECEIVED]


async def test_without_such_a_store_events_are_settled_at_once(disk: Disk) -> None:
    settle(Settler(None), disk, RECEIVED)
    assert disk.settled == [RECEIVED]


async def test_each_event_is_settled_in_its_own_queue(disk: Disk) -> None:
    other, settler = Disk(), settler_of(disk)
    first, second, third = (Received({}, "", bytes([number]), 1, None) for number in range(3))
    settle(settler, disk, first)
    settle(settler, other, second)
    settle(settler, disk, third)
    disk.may_end.set()
    await settler.flush()
    assert (disk.settled, other.settled) == ([first, third], [second])
