"""Leases end by the store's own clock, which only heartbeats advance. A heartbeat frees claims that are not known."""

import asyncio
from collections.abc import Sequence

import pytest

from hookline.schemas.errors import Unreachable
from hookline.schemas.leases import LEASE_S, MAX_STEP_S
from hookline.sqlite import writer_thread
from hookline.workers.store import Acquired, Duplicate, LeasedElsewhere, Store
from hookline.workers.stores import heartbeat
from hookline.workers.stores.claim_coalescer import ClaimCoalescer, ClaimRelease, ClaimRequest, Completion
from hookline.workers.stores.postgresql.store import PostgresqlStore
from hookline.workers.stores.redis.store import RedisStore
from hookline.workers.stores.sqlite.store import SqliteStore
from tests.contract.installations import eventually
from tests.contract.stores import Another, advance, hold_up, shared_stores
from tests.simulation.model_store import ModelStore

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
    await store.claim(queue, "e")
    async with another() as other:
        await advance(address, LEASE_S - MAX_STEP_S - 1)  # opening the other store may add a step
        assert await other.claim(queue, "e") == LeasedElsewhere()
        await advance(address, MAX_STEP_S + 2)
        assert await other.claim(queue, "e") == Acquired(deaths=1)


@shared_stores
@pytest.mark.parametrize("seconds", [HOUR_S, -HOUR_S], ids=["forward", "back"])
async def test_no_jump_of_the_wall_clock_and_no_outage_ends_a_lease(
    address: str, store: Store, queue: str, another: Another, seconds: float
) -> None:
    await store.claim(queue, "e")
    await hold_up(address, seconds)
    async with another() as other:
        assert await other.claim(queue, "e") == LeasedElsewhere()


@shared_stores
async def test_a_process_has_the_rest_of_its_lease_after_an_outage(
    address: str, store: Store, queue: str, another: Another
) -> None:
    await store.claim(queue, "e")
    await hold_up(address, HOUR_S)
    async with another() as other:
        await advance(address, LEASE_S - MAX_STEP_S - 1)
        assert await other.claim(queue, "e") == LeasedElsewhere()


@shared_stores
async def test_the_lease_clock_goes_on_after_it_was_set_back(
    address: str, store: Store, queue: str, another: Another
) -> None:
    await store.claim(queue, "e")
    await hold_up(address, -HOUR_S)  # the clock of the machine was an hour ahead, and is right again
    for _ in range(5):
        async with another():
            await hold_up(address, 2.5)
    async with another() as other:
        assert await other.claim(queue, "e") == Acquired(deaths=1)


async def beat(store: Store, address: str) -> None:
    """Send the next heartbeat, a second later."""
    await advance(address, 1)
    if isinstance(store, SqliteStore):
        await store._database.run(lambda _: None)  # noqa: SLF001  a heartbeat is nobody's to ask for
    elif isinstance(store, ModelStore):
        store._beat()  # noqa: SLF001  a heartbeat is nobody's to ask for
    else:
        assert isinstance(store, RedisStore | PostgresqlStore)
        await asyncio.to_thread(store._beat)  # noqa: SLF001  a heartbeat is nobody's to ask for


@pytest.fixture
def _sqlite_beats_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step in a SQLite file is preceded by a heartbeat."""
    monkeypatch.setattr(writer_thread, "BEAT_S", 0)


def coalescer(store: Store) -> ClaimCoalescer:
    assert isinstance(store, SqliteStore | RedisStore | PostgresqlStore | ModelStore)
    return store._coalescer  # noqa: SLF001  a test cannot lose an answer otherwise


async def claim_and_lose_the_answer(store: Store, queue: str, event_id: str) -> None:
    request = ClaimRequest(queue, event_id, subject=None, ours=False, number=1)
    assert await coalescer(store)._claim([request]) == [Acquired()]  # noqa: SLF001


async def finish_in_vain(store: Store, queue: str, event_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Sequence[Completion]) -> None:
        raise Unreachable

    with monkeypatch.context() as failing:
        failing.setattr(coalescer(store), "_finish", fail)
        with pytest.raises(Unreachable):
            await store.finish(queue, event_id)


beating = pytest.mark.usefixtures("_sqlite_beats_always")


@beating
@shared_stores
async def test_a_claim_whose_answer_was_lost_is_freed_by_later_heartbeats(
    address: str, store: Store, queue: str, another: Another
) -> None:
    await beat(store, address)
    await claim_and_lose_the_answer(store, queue, "e")
    async with another() as other:
        assert await other.claim(queue, "e") == LeasedElsewhere()
        for _ in range(2):
            await beat(store, address)
        assert await other.claim(queue, "e") == Acquired()


@beating
@shared_stores
async def test_a_claim_that_its_process_knows_of_lasts(
    address: str, store: Store, queue: str, another: Another
) -> None:
    await store.claim(queue, "e")
    async with another() as other:
        for _ in range(5):
            await beat(store, address)
        assert await other.claim(queue, "e") == LeasedElsewhere()


@shared_stores
async def test_a_claim_since_the_last_heartbeat_is_not_freed(
    address: str, store: Store, queue: str, another: Another
) -> None:
    """The next heartbeat may have left its process before that knew of the claim."""
    for _ in range(3):
        await beat(store, address)
    await claim_and_lose_the_answer(store, queue, "e")
    await beat(store, address)
    async with another() as other:
        assert await other.claim(queue, "e") == LeasedElsewhere()


@beating
@shared_stores
async def test_a_claim_that_is_freed_keeps_its_failures_and_deaths(
    address: str, store: Store, queue: str, another: Another
) -> None:
    async with another() as dying:
        await dying.claim(queue, "e")
        await dying.release(queue, "e", failures=1)
        await dying.claim(queue, "e")
    assert await store.claim(queue, "e") == Acquired(deaths=1, failures=1)
    coalescer(store).ended(queue, "e")  # it forgets the claim, which the store has still
    for _ in range(3):
        await beat(store, address)
    async with another() as other:
        assert await other.claim(queue, "e") == Acquired(deaths=1, failures=1)


@beating
@shared_stores
async def test_a_claim_that_is_freed_keeps_the_attempt_that_was_noted(
    address: str, store: Store, queue: str, another: Another
) -> None:
    """As one that its function has asked to repeat, which counts no failure."""
    await store.claim(queue, "e")
    assert await store.note_attempt(queue, "e", failures=0, tried=1)
    coalescer(store).ended(queue, "e")
    for _ in range(3):
        await beat(store, address)
    async with another() as other:
        assert await other.claim(queue, "e") == Acquired(tried=1)


@shared_stores
async def test_a_release_that_is_carried_out_late_leaves_a_newer_claim(
    store: Store, queue: str, another: Another
) -> None:
    """The server may carry out a release after its sender has given up, sent it again, and claimed the event again."""
    await store.claim(queue, "e")
    release = ClaimRelease(queue, "e", failures=1, copy=0, number=coalescer(store).number(queue, "e"))
    await store.release(queue, "e", failures=1)
    assert await store.claim(queue, "e") == Acquired(failures=1)
    await coalescer(store)._release(release)  # noqa: SLF001  a test cannot delay it otherwise
    async with another() as other:
        assert await other.claim(queue, "e") == LeasedElsewhere()
        await store.release(queue, "e", failures=1)
        assert await other.claim(queue, "e") == Acquired(failures=2)


@shared_stores
async def test_a_claim_that_the_store_has_back_can_be_released(store: Store, queue: str, another: Another) -> None:
    """A server that forgot its last second may have an older claim of the process."""
    await store.claim(queue, "e")
    coalescer(store)._named[queue]["e"] += 1  # noqa: SLF001  as if the newer one were forgotten
    await store.release(queue, "e", failures=1)
    async with another() as other:
        assert await other.claim(queue, "e") == Acquired(failures=1)


@beating
@shared_stores
async def test_a_heartbeat_writes_pending_completions(
    address: str, store: Store, queue: str, another: Another, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.claim(queue, "e")
    await finish_in_vain(store, queue, "e", monkeypatch)
    async with another() as other:
        await beat(store, address)

        async def is_written() -> bool:
            return await other.claim(queue, "e") == Duplicate()

        await eventually(is_written)


@beating
@shared_stores
async def test_a_claim_lasts_while_its_completion_is_pending(
    address: str, store: Store, queue: str, another: Another, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: Sequence[Completion]) -> None:
        raise Unreachable

    monkeypatch.setattr(coalescer(store), "_finish", fail)
    await store.claim(queue, "e")
    with pytest.raises(Unreachable):
        await store.finish(queue, "e")
    async with another() as other:
        for _ in range(3):
            await beat(store, address)
        assert await other.claim(queue, "e") == LeasedElsewhere()


@shared_stores
async def test_only_the_holder_of_a_claim_can_mark_it_as_exclusive(store: Store, queue: str, another: Another) -> None:
    async with another() as dying:
        await dying.claim(queue, "e")
        with pytest.raises(Unreachable, match="does not have its claim"):
            await store.mark_exclusive(queue, "e")
    assert await store.claim(queue, "e") == Acquired(deaths=1, crashes=0)


@shared_stores
async def test_a_process_whose_lease_has_ended_has_not_died_for_itself(address: str, store: Store, queue: str) -> None:
    await store.claim(queue, "e")
    await advance(address, 2 * LEASE_S)
    assert await store.claim(queue, "e") == LeasedElsewhere()


@shared_stores
@pytest.mark.usefixtures("_sqlite_beats_always")
async def test_a_process_knows_after_a_heartbeat_that_its_lease_had_ended(
    address: str, store: Store, queue: str
) -> None:
    for ended in (False, True):
        await store.claim(queue, "e")
        assert store.holds(queue, "e")
        await advance(address, LEASE_S if ended else LEASE_S - MAX_STEP_S - 2)
        await beat(store, address)
        assert store.holds(queue, "e") is not ended
        await store.release(queue, "e")
    assert isinstance(await store.claim(queue, "e"), Acquired)
    assert store.holds(queue, "e")
