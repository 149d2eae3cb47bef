"""The PostgreSQL store behind a PgBouncer that pools by transaction."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import psycopg
import pytest
from msgspec.structs import replace

from hookline.events import ParticipantJoined
from hookline.workers.event_log import EventLog, Query
from hookline.workers.store import Acquired, Assignment, Duplicate, LeasedElsewhere
from hookline.workers.stores.postgresql.event_log import PostgresqlEventStorage
from hookline.workers.stores.postgresql.store import PostgresqlStore
from tests.contract.event_logs import FOREVER_S, found
from tests.contract.installations import queue_name
from tests.contract.stores import effects, prepare_effects, write
from tests.events import make
from tests.services import pgbouncer


@pytest.fixture
async def url(pytestconfig: pytest.Config) -> str:
    url = pgbouncer.own_server(pytestconfig).url
    await prepare_effects(url)
    return url


@pytest.fixture
async def stores(url: str) -> AsyncIterator[list[PostgresqlStore]]:
    """Those of three processes."""
    async with AsyncExitStack() as stack:
        opened = [await PostgresqlStore.open(url) for _ in range(3)]
        for store in opened:
            stack.push_async_callback(store.close)
        yield opened


async def test_claims_completions_releases_and_transactions_take_turns(stores: list[PostgresqlStore], url: str) -> None:
    queue = queue_name()

    async def handle(store: PostgresqlStore, number: int) -> None:
        event_id = str(number)
        assert await store.claim(queue, event_id, f"room {number % 7}") == Acquired()
        await store.release(queue, event_id, failures=1)
        assert await store.claim(queue, event_id) == Acquired(failures=1)
        if number % 2:
            await store.finish(queue, event_id)
        else:
            await write(store, queue, event_id, event_id)

    for first in range(0, 300, 30):
        await asyncio.gather(*(handle(stores[number % 3], number) for number in range(first, first + 30)))
    assert sorted(map(int, await effects(url, queue))) == list(range(0, 300, 2))
    assert await asyncio.gather(*(stores[0].claim(queue, str(number)) for number in range(300))) == [Duplicate()] * 300


async def test_leases_and_partitions_work(stores: list[PostgresqlStore]) -> None:
    queue = queue_name()
    first, second, _ = stores
    await first.claim(queue, "e")
    for _ in range(10):
        assert await second.claim(queue, "e") == LeasedElsewhere()
        assert (await first.assign(queue, ["a", "b"], ())).partitions == {"a", "b"}
        assert (await second.assign(queue, ["a", "b"], ())).partitions == frozenset()
    await first.decline(queue, "a")
    await first.revoke(queue, "a")
    assert await second.assign(queue, ["a", "b"], ()) == Assignment(frozenset({"a"}))


async def test_the_event_log_works(url: str) -> None:
    storages = [await PostgresqlEventStorage.open(url, FOREVER_S) for _ in range(3)]
    logs, room = [EventLog(storage) for storage in storages], queue_name()
    events = [
        make(ParticipantJoined, f"{room} {number}", at_s=number, room_id=room, user_id="u") for number in range(300)
    ]
    for log in logs:  # the second and the third time an earlier version
        await asyncio.gather(*map(log.append, events))
        events = [replace(event, occurred_at=event.occurred_at - timedelta(seconds=1)) for event in events]
    kept = await asyncio.gather(*(found(log, Query(room_id=room), 50) for log in logs))
    assert kept == [[event.id for event in reversed(events)]] * 3
    assert len((await logs[0].rooms(limit=1)).places) == 1
    for storage in storages:
        await storage.close()


async def test_the_limits_of_a_function_end_with_its_transaction(stores: list[PostgresqlStore], url: str) -> None:
    queue = queue_name()
    await asyncio.gather(*(write(stores[0], queue, str(number)) for number in range(20)))
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=None) as connection:
        for name in ("lock_timeout", "idle_in_transaction_session_timeout"):
            for _ in range(10):
                row = await (await connection.execute("SELECT current_setting(%s)", (name,))).fetchone()
                assert row == ("0",)
