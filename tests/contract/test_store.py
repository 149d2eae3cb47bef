"""What every store does."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.sqlite import Database
from workers.sqlite_store import SqliteStore
from workers.store import Busy, MemoryStore, Mine, Seen, Store


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    database = await Database.open(tmp_path / "store.db")
    yield await SqliteStore.open(database)
    await database.close()


async def test_an_event_that_nobody_has_may_be_handled(store: Store) -> None:
    assert await store.claim("q", "e", 60) == Mine()


async def test_an_event_in_hand_is_not_given_out_twice(store: Store) -> None:
    await store.claim("q", "e", 60)
    assert await store.claim("q", "e", 60) == Busy()


async def test_a_finished_event_was_seen(store: Store) -> None:
    await store.claim("q", "e", 60)
    await store.finish("q", "e")
    assert await store.claim("q", "e", 60) == Seen()


async def test_an_event_that_was_released_may_be_handled_again(store: Store) -> None:
    await store.claim("q", "e", 60)
    await store.release("q", "e")
    assert await store.claim("q", "e", 60) == Mine()


async def test_each_queue_has_its_own_memory(store: Store) -> None:
    await store.claim("q", "e", 60)
    await store.finish("q", "e")
    assert await store.claim("other", "e", 60) == Mine()


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
    database = await Database.open(tmp_path / "store.db", clock)
    yield database
    await database.close()


async def test_a_claim_ends_with_its_time(database: Database, clock: Clock) -> None:
    store = await SqliteStore.open(database)
    await store.claim("q", "e", 5)
    clock.now_s += 6
    assert await store.claim("q", "e", 5) == Mine()


async def test_another_process_waits_for_one_that_lives(database: Database, clock: Clock) -> None:
    store = await SqliteStore.open(database)
    other = await Database.open(database.path, clock)
    await store.claim("q", "e", 60)
    assert await (await SqliteStore.open(other)).claim("q", "e", 60) == Busy()
    await other.close()


async def test_another_process_does_not_wait_for_one_that_is_gone(database: Database, clock: Clock) -> None:
    other = await Database.open(database.path, clock)
    await (await SqliteStore.open(other)).claim("q", "e", 3600)
    await other.close()
    assert await (await SqliteStore.open(database)).claim("q", "e", 3600) == Mine(suspect=True)


async def test_an_event_is_suspect_once_its_process_died_with_it(database: Database, clock: Clock) -> None:
    store = await SqliteStore.open(database)
    await died_with(database.path, clock, alone=False)
    assert await store.claim("q", "e", 60) == Mine(suspect=True, crashes=0)


async def test_a_crash_counts_only_if_the_event_was_alone(database: Database, clock: Clock) -> None:
    store = await SqliteStore.open(database)
    for crashes, alone in ((0, False), (1, True), (2, True), (2, False)):
        await died_with(database.path, clock, alone=alone)
        assert await store.claim("q", "e", 60) == Mine(suspect=True, crashes=crashes)
        await store.release("q", "e")


async def test_a_failure_is_no_crash(database: Database) -> None:
    store = await SqliteStore.open(database)
    await store.claim("q", "e", 60)
    await store.isolate("q", "e")
    await store.release("q", "e")
    assert await store.claim("q", "e", 60) == Mine()


async def died_with(path: Path, clock: Clock, *, alone: bool) -> None:
    """A process that claims the event and ends without a word."""
    other = await Database.open(path, clock)
    store = await SqliteStore.open(other)
    await store.claim("q", "e", 60)
    if alone:
        await store.isolate("q", "e")
    await other.close()


async def test_what_was_finished_long_ago_is_forgotten_in_the_end(database: Database, clock: Clock) -> None:
    store = await SqliteStore.open(database, ttl_s=3600)
    await store.finish("q", "old")
    clock.now_s += 3601
    for number in range(1000):
        await store.finish("q", str(number))
    assert await store.claim("q", "old", 60) == Mine()
    assert await store.claim("q", "999", 60) == Seen()
