"""Events of an ordered worker are settled once their completion is on disk."""

import asyncio
from typing import cast

import pytest

from hookline.schemas.broker import Again, Done, Outcome, Parked, Queue, Received
from hookline.schemas.errors import Unreachable
from hookline.workers.settler import Settler
from hookline.workers.store import UnsyncedStore
from tests.contract.installations import eventually

DONE = Done()
RECEIVED = Received({}, "", b"", 1, None)


class Disk:
    """A store whose `sync` returns when the test says so, and a queue that counts what is settled."""

    def __init__(self) -> None:
        self.syncs = 0
        self.may_end = asyncio.Event()
        self.failures = 0
        self.settled: list[Outcome] = []

    async def sync(self) -> None:
        self.syncs += 1
        await self.may_end.wait()
        if self.failures:
            self.failures -= 1
            raise Unreachable("full")

    async def settle(self, received: Received, outcome: Outcome) -> None:  # noqa: ARG002  a queue's
        self.settled.append(outcome)

    async def has_settled(self, count: int) -> bool:
        return len(self.settled) == count


@pytest.fixture
async def disk() -> Disk:
    return Disk()


def settler_of(disk: Disk) -> Settler:
    return Settler(cast("UnsyncedStore", disk))


async def settle(settler: Settler, disk: Disk, *outcomes: Outcome) -> None:
    for outcome in outcomes:
        if not settler.takes(cast("Queue", disk), RECEIVED, outcome):
            await disk.settle(RECEIVED, outcome)


async def test_many_finished_events_are_settled_after_one_sync(disk: Disk) -> None:
    settler = settler_of(disk)
    keeping = asyncio.create_task(settler.keep())
    await settle(settler, disk, *[DONE] * 100)

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
    await settle(settler, disk, DONE)
    first = asyncio.create_task(settler.flush())
    await asyncio.sleep(0)
    await settle(settler, disk, DONE)
    second = asyncio.create_task(settler.flush())
    disk.may_end.set()
    await asyncio.gather(first, second)
    assert (len(disk.settled), disk.syncs) == (2, 2)


@pytest.mark.parametrize("outcome", [Again(1.0, 1, "unwanted"), Parked("failed", "", 1)], ids=["again", "parked"])
async def test_what_is_not_done_is_left_to_the_caller(disk: Disk, outcome: Outcome) -> None:
    assert not settler_of(disk).takes(cast("Queue", disk), RECEIVED, outcome)


async def test_nothing_is_settled_after_a_sync_that_failed_until_one_succeeds(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.workers.settler._RETRY_S", 0.01)
    settler, disk.failures = settler_of(disk), 2
    disk.may_end.set()
    await settle(settler, disk, DONE)
    with pytest.raises(Unreachable):
        await settler.flush()
    assert not disk.settled
    keeping = asyncio.create_task(settler.keep())
    await eventually(lambda: disk.has_settled(1))
    assert disk.syncs == 3
    keeping.cancel()


async def test_a_sync_that_is_cancelled_loses_nothing(disk: Disk) -> None:
    settler = settler_of(disk)
    await settle(settler, disk, DONE)
    cancelled = asyncio.create_task(settler.flush())
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    disk.may_end.set()
    await settler.flush()
    assert disk.settled == [DONE]


async def test_without_such_a_store_everything_is_left_to_the_caller(disk: Disk) -> None:
    assert not Settler(None).takes(cast("Queue", disk), RECEIVED, DONE)
