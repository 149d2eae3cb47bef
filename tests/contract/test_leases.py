"""Leases end by the store's own clock, which only heartbeats advance."""

import pytest

from hookline.sqlite import writer_thread
from hookline.workers.store import Acquired, LeasedElsewhere, Store
from hookline.workers.stores import heartbeat
from hookline.workers.stores.heartbeat import LEASE_S, MAX_STEP_S
from tests.contract.stores import Another, advance, hold_up, shared_stores

HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def _one_heartbeat_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process sends a heartbeat when it opens the store, and no other."""
    monkeypatch.setattr(heartbeat, "BEAT_S", HOUR_S)
    monkeypatch.setattr(writer_thread, "BEAT_S", HOUR_S)


@shared_stores
async def test_a_process_that_sends_no_heartbeat_while_others_do_is_dead_after_its_lease(
    address: str, store: Store, queue: str, another: Another
) -> None:
    await store.claim(queue, "e", 60)
    async with another() as other:
        await advance(address, LEASE_S - 1)
        assert await other.claim(queue, "e", 60) == LeasedElsewhere()
        await advance(address, 2)
        assert await other.claim(queue, "e", 60) == Acquired(crash_suspect=True)


@shared_stores
@pytest.mark.parametrize("seconds", [HOUR_S, -HOUR_S], ids=["forward", "back"])
async def test_no_jump_of_the_wall_clock_and_no_outage_ends_a_lease(
    address: str, store: Store, queue: str, another: Another, seconds: float
) -> None:
    await store.claim(queue, "e", 60)
    await hold_up(address, seconds)
    async with another() as other:
        assert await other.claim(queue, "e", 60) == LeasedElsewhere()


@shared_stores
async def test_a_process_has_the_rest_of_its_lease_after_an_outage(
    address: str, store: Store, queue: str, another: Another
) -> None:
    await store.claim(queue, "e", 60)
    await hold_up(address, HOUR_S)
    async with another() as other:
        await advance(address, LEASE_S - MAX_STEP_S - 1)
        assert await other.claim(queue, "e", 60) == LeasedElsewhere()


@shared_stores
async def test_the_lease_clock_goes_on_after_it_was_set_back(
    address: str, store: Store, queue: str, another: Another
) -> None:
    await store.claim(queue, "e", 60)
    await hold_up(address, -HOUR_S)  # the clock of the machine was an hour ahead, and is right again
    for _ in range(5):
        async with another():
            await hold_up(address, 2.5)
    async with another() as other:
        assert await other.claim(queue, "e", 60) == Acquired(crash_suspect=True)
