"""What the store says of one event, for an operator, in every store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from hookline.schemas.broker import Parked
from hookline.sqlite.database import Database
from hookline.workers.attempts import end_mark
from hookline.workers.event_states import EventStates
from hookline.workers.store import Store
from hookline.workers.stores.postgresql.event_states import PostgresqlEventStates
from hookline.workers.stores.redis.event_states import RedisEventStates
from hookline.workers.stores.sqlite.event_states import SqliteEventStates
from tests.contract.stores import real_stores

pytestmark = real_stores
TIMEOUT_S = 10.0


@asynccontextmanager
async def opened_states(address: str) -> AsyncIterator[EventStates]:
    """As a process opens them that only looks."""
    if address.startswith("sqlite:"):
        database = await Database.open(Path(address.removeprefix("sqlite:")))
        yield SqliteEventStates(database)
        await database.close()
    elif address.startswith("redis:"):
        in_redis = RedisEventStates(address, TIMEOUT_S)
        yield in_redis
        await in_redis.close()
    else:
        in_postgresql = await PostgresqlEventStates.open(address, TIMEOUT_S)
        yield in_postgresql
        await in_postgresql.close()


async def test_each_queue_has_a_state_for_an_event(address: str, store: Store) -> None:
    event_id, run = uuid4().hex, uuid4().hex[:8]
    done, held, failed, ended, unseen = (f"{name}-{run}" for name in ("done", "held", "failed", "ended", "unseen"))
    for queue in (done, held, failed, ended):
        await store.claim(queue, event_id)
    await store.finish(done, event_id)
    await store.release(failed, event_id, failures=3)
    await store.release(ended, event_id, failures=end_mark(Parked("failed", "", 2)) + 2)
    async with opened_states(address) as states:
        found = await states.of(event_id, [done, held, failed, ended, unseen])
        assert [(each.queue, each.state) for each in found] == [
            (done, "finished"),
            (held, "claimed"),
            (failed, "tried"),
            (ended, "parked"),
            (unseen, "unknown"),
        ]
        assert (found[0].finished_at is None) == address.startswith("redis:")
        assert [each.failures for each in found] == [0, 0, 3, 2, 0]
        assert await states.of(uuid4().hex, [done]) != found[:1]
        assert await states.of(event_id, []) == []


async def test_looking_at_an_event_changes_nothing(address: str, store: Store) -> None:
    queue, event_id = f"queue-{uuid4().hex[:8]}", uuid4().hex
    async with opened_states(address) as states:
        await store.claim(queue, event_id)
        for _ in range(2):
            (state,) = await states.of(event_id, [queue])
            assert state.state == "claimed"
        assert store.holds(queue, event_id)
        await store.finish(queue, event_id)


@pytest.mark.parametrize("event_id", ["ab:0", "标识 😀", "'; DROP TABLE claims --"])
async def test_any_id_can_be_asked_for(address: str, store: Store, event_id: str) -> None:
    queue = f"queue-{uuid4().hex[:8]}"
    await store.claim(queue, event_id)
    await store.finish(queue, event_id)
    async with opened_states(address) as states:
        assert [each.state for each in await states.of(event_id, [queue])] == ["finished"]
