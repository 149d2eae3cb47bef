"""The contract of every store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio

from hookline.schemas.errors import Unreachable
from hookline.sqlite.database import Database
from hookline.workers.store import Acquired, Assignment, Duplicate, GroupStore, LeasedElsewhere, MemoryStore, Store
from hookline.workers.stores.sqlite.store import SqliteStore
from tests.contract.installations import eventually, queue_name
from tests.contract.stores import Another, each_store, newest, rows, shared_stores

PARTITIONS = [f"p{number:02}" for number in range(16)]


@each_store
async def test_an_event_that_is_not_in_flight_can_be_claimed(store: Store, queue: str) -> None:
    assert await store.claim(queue, "e") == Acquired()


@each_store
async def test_an_event_in_flight_cannot_be_claimed_again(store: Store, queue: str) -> None:
    await store.claim(queue, "e")
    assert await store.claim(queue, "e") == LeasedElsewhere()


@each_store
async def test_a_finished_event_is_a_duplicate(store: Store, queue: str) -> None:
    await store.claim(queue, "e")
    await store.finish(queue, "e")
    assert await store.claim(queue, "e") == Duplicate()


@each_store
async def test_a_released_event_can_be_claimed_again(store: Store, queue: str) -> None:
    await store.claim(queue, "e")
    await store.release(queue, "e")
    assert await store.claim(queue, "e") == Acquired()


@each_store
async def test_each_event_that_is_claimed_in_a_group_has_its_own_claim(store: Store, queue: str) -> None:
    if not isinstance(store, GroupStore):
        pytest.skip("it is asked about one event at a time")
    await store.claim(queue, "finished")
    await store.finish(queue, "finished")
    await store.claim(queue, "in flight")
    await store.claim(queue, "failed")
    await store.release(queue, "failed", failures=2)
    events = [(each, None) for each in ("new", "finished", "in flight", "failed")]
    assert [*await store.claim_all(queue, events)] == [Acquired(), Duplicate(), LeasedElsewhere(), Acquired(failures=2)]
    assert store.holds(queue, "new")
    assert store.holds(queue, "failed")


@each_store
async def test_events_are_finished_in_a_group_with_the_newest_time_of_their_subject(store: Store, queue: str) -> None:
    if not isinstance(store, GroupStore):
        pytest.skip("it is asked about one event at a time")
    events = [("a", 3.0), ("b", 7.0), ("c", 5.0)]
    await store.claim_all(queue, [(event_id, "room") for event_id, _ in events])
    assert [*await store.finish_all(queue, [(each, "room", at_s) for each, at_s in events])] == [None] * 3
    claims = await store.claim_all(queue, [("a", None), ("b", None), ("c", None), ("d", "room")])
    assert [*claims] == [Duplicate(), Duplicate(), Duplicate(), Acquired(newest_s=7.0)]
    assert not store.holds(queue, "a")


@each_store
async def test_claims_belong_to_one_queue(store: Store, queue: str) -> None:
    await store.claim(queue, "e")
    await store.finish(queue, "e")
    assert await store.claim(queue_name(), "e") == Acquired()


@each_store
async def test_failures_are_counted_until_the_event_is_finished(store: Store, queue: str) -> None:
    for failures in range(3):
        assert await store.claim(queue, "e") == Acquired(failures=failures)
        await store.release(queue, "e", failures=1)
    await store.claim(queue, "e")
    await store.finish(queue, "e")
    await store.forget(queue, ["e"])
    assert await store.claim(queue, "e") == Acquired()


@each_store
async def test_releases_in_one_group_keep_their_own_reasons(store: Store, queue: str) -> None:
    ways = [(str(number), number % 3, number % 4) for number in range(200)]
    ids = [event_id for event_id, _, _ in ways]
    await asyncio.gather(*(store.claim(queue, each) for each in ids))
    await asyncio.gather(*(store.release(queue, each, failures=count, copy=copy) for each, count, copy in ways))
    again = await asyncio.gather(*(store.claim(queue, each) for each in ids))
    assert again == [Acquired(failures=count, copy=copy) for _, count, copy in ways]


@each_store
async def test_the_highest_number_of_a_copy_is_kept_until_the_event_is_finished(store: Store, queue: str) -> None:
    for released, kept in ((2**52, 2**52), (3, 2**52), (0, 2**52)):
        await store.claim(queue, "e")
        await store.release(queue, "e", copy=released)
        assert await store.claim(queue, "e") == Acquired(copy=kept)
        await store.release(queue, "e")
    await store.finish(queue, "e")
    await store.forget(queue, ["e"])
    assert await store.claim(queue, "e") == Acquired()


@each_store
async def test_a_replayed_event_starts_anew(store: Store, queue: str) -> None:
    await store.claim(queue, "e")
    await store.release(queue, "e", failures=1, copy=7)
    await store.claim(queue, "e")
    await store.start_anew(queue, "e", 5)
    assert await store.claim(queue, "e") == LeasedElsewhere()
    await store.release(queue, "e")
    assert await store.claim(queue, "e") == Acquired(copy=5)


@each_store
async def test_the_failures_of_an_attempt_count_once_for_each_number(store: Store, queue: str) -> None:
    await store.claim(queue, "e")
    for tried in (2**52, 2**52, 3):
        assert await store.note_attempt(queue, "e", failures=2, tried=tried)
    assert await store.claim(queue, "e") == LeasedElsewhere()
    await store.release(queue, "e", failures=2, copy=4, tried=2**52)
    assert await store.claim(queue, "e") == Acquired(failures=2, copy=4, tried=2**52)
    await store.release(queue, "e", failures=1, tried=2**52 + 1)
    assert await store.claim(queue, "e") == Acquired(failures=3, copy=4, tried=2**52 + 1)
    await store.start_anew(queue, "e", 4)
    await store.release(queue, "e")
    assert await store.claim(queue, "e") == Acquired(copy=4)


@each_store
async def test_an_attempt_without_failures_is_noted_too(store: Store, queue: str) -> None:
    await store.claim(queue, "e")
    assert await store.note_attempt(queue, "e", failures=0, tried=1)
    await store.release(queue, "e")
    assert await store.claim(queue, "e") == Acquired(tried=1)
    await store.finish(queue, "e")
    await store.forget(queue, ["e"])
    assert await store.claim(queue, "e") == Acquired()


@each_store
async def test_a_forgotten_event_is_handled_again(store: Store, queue: str) -> None:
    for event_id in ("a", "b"):
        await store.claim(queue, event_id)
        await store.finish(queue, event_id)
    await store.forget(queue, ["a", "never seen"])
    assert await store.claim(queue, "a") == Acquired()
    assert await store.claim(queue, "b") == Duplicate()


@each_store
async def test_forgetting_no_events_does_nothing(store: Store, queue: str) -> None:
    await store.forget(queue, [])


@each_store
async def test_the_newest_time_of_a_subject_does_not_depend_on_the_order_of_completions(
    store: Store, queue: str
) -> None:
    for event_id, occurred_s in (("a", 5.25), ("b", 1_700_000_000.125), ("c", 7.0)):
        await store.finish(queue, event_id, subject="room", occurred_s=occurred_s)
    assert await newest(store, queue, "room") == 1_700_000_000.125


@each_store
async def test_each_claim_gets_the_newest_time_of_its_own_subject(store: Store, queue: str) -> None:
    await store.finish(queue, "a", subject="main/a", occurred_s=1.5)
    await store.finish(queue, "b", subject="main/b", occurred_s=2.5)
    subjects = ("main/a", "main/none", "main/b", "main/a")
    assert await asyncio.gather(*(newest(store, queue, subject) for subject in subjects)) == [1.5, None, 2.5, 1.5]


@each_store
async def test_completions_in_one_group_set_the_newest_time_of_their_own_subjects(store: Store, queue: str) -> None:
    await asyncio.gather(
        *(store.finish(queue, str(number), subject=f"room {number % 3}", occurred_s=number) for number in range(30))
    )
    assert [await newest(store, queue, f"room {number}") for number in range(3)] == [27, 28, 29]


@each_store
async def test_an_unknown_subject_has_no_newest_time(store: Store, queue: str) -> None:
    await store.finish(queue, "e")
    assert await newest(store, queue, "room") is None


@each_store
async def test_a_claim_without_a_subject_gets_no_newest_time(store: Store, queue: str) -> None:
    await store.finish(queue, "a", subject="room", occurred_s=1.5)
    claims = await asyncio.gather(*(store.claim(queue, str(each), each) for each in (None, "room")))
    assert claims == [Acquired(), Acquired(newest_s=1.5)]


@each_store
async def test_a_claim_gets_the_newest_time_together_with_earlier_failures(store: Store, queue: str) -> None:
    await store.claim(queue, "e", "room")
    await store.release(queue, "e", failures=1)
    await store.finish(queue, "later", subject="room", occurred_s=1.5)
    assert await store.claim(queue, "e", "room") == Acquired(failures=1, newest_s=1.5)


@each_store
async def test_newest_times_belong_to_one_queue(store: Store, queue: str) -> None:
    await store.finish(queue_name(), "a", subject="room", occurred_s=1.5)
    assert await newest(store, queue, "room") is None


@each_store
@pytest.mark.parametrize("subject", ["", "\0", "x" * 100_000, "房间🎓", "a:b", "\ud800"])
async def test_a_subject_is_any_text(store: Store, queue: str, subject: str) -> None:
    if isinstance(store, SqliteStore) and subject == "\ud800":
        pytest.skip("SQLite cannot store such text, and JSON with it is unreadable before it reaches a store")
    await store.finish(queue, "e", subject=subject, occurred_s=1)
    assert await newest(store, queue, subject) == 1


@each_store
async def test_a_thousand_concurrent_claims_each_get_their_own_answer(store: Store, queue: str) -> None:
    ids = [str(number) for number in range(1000)]
    assert await asyncio.gather(*(store.claim(queue, each) for each in ids)) == [Acquired()] * 1000
    await asyncio.gather(*(store.finish(queue, each) for each in ids[::2]))
    again = await asyncio.gather(*(store.claim(queue, each) for each in ids))
    assert again == [Duplicate(), LeasedElsewhere()] * 500


@each_store
async def test_the_first_of_two_concurrent_claims_on_each_of_many_events_gets_it(store: Store, queue: str) -> None:
    await store.claim(queue, "0")
    await store.release(queue, "0", failures=3)
    claims = await asyncio.gather(*(store.claim(queue, str(number)) for number in [*range(100), *range(100)]))
    assert claims == [Acquired(failures=3), *[Acquired()] * 99, *[LeasedElsewhere()] * 100]


@each_store
async def test_a_single_process_holds_every_partition(store: Store, queue: str) -> None:
    assert await store.assign(queue, PARTITIONS, ()) == Assignment(frozenset(PARTITIONS))


@shared_stores
async def test_an_event_in_flight_in_another_process_cannot_be_claimed(
    store: Store, queue: str, another: Another
) -> None:
    await store.claim(queue, "e")
    async with another() as other:
        assert await other.claim(queue, "e") == LeasedElsewhere()


@shared_stores
async def test_an_event_that_another_process_finished_is_a_duplicate(
    store: Store, queue: str, another: Another
) -> None:
    await store.finish(queue, "e")
    async with another() as other:
        assert await other.claim(queue, "e") == Duplicate()


@shared_stores
async def test_an_event_in_flight_in_a_process_that_ended_can_be_claimed(
    store: Store, queue: str, another: Another
) -> None:
    async with another() as other:
        await other.claim(queue, "e")
    assert await store.claim(queue, "e") == Acquired(deaths=1)


@shared_stores
async def test_a_crash_counts_only_if_the_event_was_handled_exclusively(
    store: Store, queue: str, another: Another
) -> None:
    for deaths, crashes, exclusive in ((1, 0, False), (2, 1, True), (3, 2, True), (4, 2, False)):
        async with another() as other:
            await other.claim(queue, "e")
            if exclusive:
                await other.mark_exclusive(queue, "e")
        assert await store.claim(queue, "e") == Acquired(deaths, crashes)
        await store.release(queue, "e")


@shared_stores
async def test_an_event_in_flight_at_two_deaths_is_a_crash_suspect(store: Store, queue: str, another: Another) -> None:
    for is_suspect in (False, True):
        async with another() as dying:
            await dying.claim(queue, "e")
        claim = await store.claim(queue, "e")
        assert isinstance(claim, Acquired)
        assert claim.crash_suspect == is_suspect
        await store.release(queue, "e")


@shared_stores
async def test_deaths_are_counted_until_the_event_starts_anew(store: Store, queue: str, another: Another) -> None:
    async with another() as dying:
        await dying.claim(queue, "e")
    assert await store.claim(queue, "e") == Acquired(deaths=1)
    await store.start_anew(queue, "e", 1)
    await store.release(queue, "e")
    assert await store.claim(queue, "e") == Acquired(copy=1)


@shared_stores
async def test_only_the_holder_of_a_claim_can_start_anew(store: Store, queue: str, another: Another) -> None:
    await store.claim(queue, "e")
    await store.release(queue, "e", failures=1)
    async with another() as other:
        await other.claim(queue, "e")
        with pytest.raises(Unreachable):
            await store.start_anew(queue, "e", 1)
        await other.release(queue, "e")
    assert await store.claim(queue, "e") == Acquired(failures=1)


@shared_stores
async def test_only_the_holder_of_a_claim_can_note_an_attempt(store: Store, queue: str, another: Another) -> None:
    await store.claim(queue, "e")
    await store.release(queue, "e")
    async with another() as other:
        await other.claim(queue, "e")
        assert not await store.note_attempt(queue, "e", failures=1, tried=1)
        await other.release(queue, "e")
    assert await store.claim(queue, "e") == Acquired()


@shared_stores
async def test_a_process_that_dies_leaves_the_attempt_that_it_noted(store: Store, queue: str, another: Another) -> None:
    async with another() as dying:
        await dying.claim(queue, "e")
        await dying.note_attempt(queue, "e", failures=1, tried=1)
    assert await store.claim(queue, "e") == Acquired(deaths=1, failures=1, tried=1)


@shared_stores
async def test_a_released_event_counts_no_crash(store: Store, queue: str) -> None:
    await store.claim(queue, "e")
    await store.mark_exclusive(queue, "e")
    await store.release(queue, "e")
    assert await store.claim(queue, "e") == Acquired()


@shared_stores
async def test_failures_are_counted_across_processes(store: Store, queue: str, another: Another) -> None:
    async with another() as other:
        await other.claim(queue, "e")
        await other.release(queue, "e", failures=1)
    assert await store.claim(queue, "e") == Acquired(failures=1)


@shared_stores
async def test_only_the_holder_of_a_claim_can_release_it(store: Store, queue: str, another: Another) -> None:
    await store.claim(queue, "e")
    async with another() as other:
        await other.release(queue, "e", failures=1)
        assert await other.claim(queue, "e") == LeasedElsewhere()


@shared_stores
async def test_of_two_processes_that_claim_an_event_at_once_exactly_one_gets_it(
    store: Store, queue: str, another: Another
) -> None:
    async with another() as other:
        for number in range(200):
            claims = await asyncio.gather(*(each.claim(queue, str(number)) for each in (store, other)))
            assert sorted(type(claim).__name__ for claim in claims) == ["Acquired", "LeasedElsewhere"]


@shared_stores
async def test_an_event_that_is_being_finished_cannot_be_claimed(store: Store, queue: str, another: Another) -> None:
    async with another() as other:
        for number in range(200):
            await store.claim(queue, str(number))
            _, claim = await asyncio.gather(store.finish(queue, str(number)), other.claim(queue, str(number)))
            assert isinstance(claim, LeasedElsewhere | Duplicate)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(tmp_path: Path, clock: Clock) -> AsyncIterator[Database]:
    database = await Database.open(tmp_path / "store.db", clock, clock)
    yield database
    await database.close()


async def test_sqlite_deletes_old_completion_records(database: Database, clock: Clock) -> None:
    store = SqliteStore(database, ttl_s=3600)
    await store.finish("q", "old", subject="room", occurred_s=1)
    await store.claim("q", "failed")
    await store.release("q", "failed", failures=1)
    for _ in range(3700):  # the lease clock advances by heartbeats
        clock.now_s += 1
        await database.run(lambda _: None, durable=False)
    for number in range(1000):
        await store.finish("q", str(number))
    assert await store.claim("q", "old") == Acquired()
    assert await store.claim("q", "999") == Duplicate()
    assert await store.claim("q", "failed") == Acquired()
    assert await newest(store, "q", "room") is None


async def test_sqlite_keeps_the_newest_time_of_a_subject_that_goes_on(database: Database, clock: Clock) -> None:
    store = SqliteStore(database, ttl_s=3600)
    for number in range(5):
        clock.now_s += 1000
        await store.finish("q", str(number), subject="room", occurred_s=number)
    await asyncio.gather(*(store.finish("q", f"other {number}") for number in range(1000)))
    assert await store.claim("q", "0") == Acquired()
    assert await newest(store, "q", "room") == 4


async def test_sqlite_changes_the_index_of_subjects_once_in_a_hundredth_of_their_time(
    database: Database, clock: Clock
) -> None:
    store, began_s, noted = SqliteStore(database, ttl_s=3600), clock.now_s, []
    for number in range(5):
        await store.finish("q", str(number), subject="room", occurred_s=number)
        noted += await database.run(lambda connection: connection.execute("SELECT noted_at FROM newest").fetchone())
        clock.now_s += 20
    assert [moment - began_s for moment in noted] == [0, 0, 40, 40, 80]
    assert await newest(store, "q", "room") == 4


@pytest.mark.parametrize("address", ["redis"], indirect=True)
async def test_every_key_in_redis_has_a_time_to_live(address: str, store: Store, queue: str) -> None:
    await store.claim(queue, "in flight")
    await store.claim(queue, "failed")
    await store.release(queue, "failed", failures=1)
    await store.mark_exclusive(queue, "in flight")
    await store.finish(queue, "e", subject="room", occurred_s=1)
    async with redis.asyncio.Redis.from_url(address) as client:
        keys = [key async for key in client.scan_iter(f"*{queue}*")]
        assert len(keys) == 4
        keys += [b"hookline:leases", *[key async for key in client.scan_iter("hookline:claims:*")]]
        assert len(keys) >= 6
        assert all([await client.pttl(key) > 0 for key in keys])


@pytest.mark.parametrize("address", ["postgresql"], indirect=True)
async def test_postgresql_deletes_old_completion_records(address: str, store: Store, queue: str) -> None:
    await store.finish(queue, "old", subject="room", occurred_s=1)
    await store.claim(queue, "failed")
    await store.release(queue, "failed", failures=1)
    for table, moment in (("handled", "finished_at"), ("newest", "noted_at"), ("claims", "claimed_at")):
        await rows(address, f"UPDATE hookline_{table} SET {moment} = now() - interval '2 h' WHERE queue = ?", queue)  # noqa: S608
    await asyncio.gather(*(store.finish(queue, str(number)) for number in range(1000)))

    async def is_forgotten() -> bool:
        return await store.claim(queue, "old") == Acquired()

    await eventually(is_forgotten)
    assert await store.claim(queue, "999") == Duplicate()
    assert await store.claim(queue, "failed") == Acquired()
    assert await newest(store, queue, "room") is None


async def test_a_memory_store_has_no_transactions() -> None:
    assert not hasattr(MemoryStore(), "transaction")
