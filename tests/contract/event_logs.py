"""The event log in each store, opened by one process or by several."""

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import psycopg
import redis.asyncio

from hookline.events import CanonicalEvent
from hookline.sqlite.database import Database
from hookline.workers.event_log import EventLog, EventStorage, Query, entry
from hookline.workers.stores.postgresql.event_log import PostgresqlEventStorage
from hookline.workers.stores.redis.event_log import RedisEventStorage
from hookline.workers.stores.sqlite.event_log import SqliteEventStorage

FOREVER_S = 100 * 365 * 24 * 3600.0


@asynccontextmanager
async def opened_storage(address: str, keep_s: float = FOREVER_S) -> AsyncIterator[EventStorage]:
    """The storage at an address, opened by a process that ends with the block."""
    if address.startswith("sqlite:"):
        database = await Database.open(Path(address.removeprefix("sqlite:")))
        yield await SqliteEventStorage.open(database, keep_s)
        await database.close()
    elif address.startswith("redis:"):
        in_redis = await RedisEventStorage.open(address, keep_s)
        yield in_redis
        await in_redis.close()
    else:
        in_postgresql = await PostgresqlEventStorage.open(address, keep_s)
        yield in_postgresql
        await in_postgresql.close()


@asynccontextmanager
async def opened_log(address: str, keep_s: float = FOREVER_S) -> AsyncIterator[EventLog]:
    async with opened_storage(address, keep_s) as storage:
        yield EventLog(storage)


async def found(log: EventLog, query: Query, limit: int = 1000) -> list[str]:
    """The ids of the events on all pages."""
    page = await log.search(query, limit=limit)
    ids = [event.id for event in page.events]
    while page.cursor is not None:
        page = await log.search(query, limit=limit, cursor=page.cursor)
        ids += [event.id for event in page.events]
    return ids


async def index_rows(address: str, events: Sequence[CanonicalEvent]) -> list[int]:
    """How many rows the storage has for each event, besides the event itself."""
    if address.startswith("redis:"):
        return await _index_members(address, events)
    ids = [event.id for event in events]
    counts = Counter(await (_sqlite_ids if address.startswith("sqlite:") else _postgresql_ids)(address))
    return [counts[event_id] for event_id in ids]


async def _index_members(address: str, events: Sequence[CanonicalEvent]) -> list[int]:
    async with redis.asyncio.Redis.from_url(address) as client:
        found = []
        for event in events:
            keys = entry(event).keys
            pipeline: Any = client.pipeline(transaction=False)
            for key in keys:
                pipeline.zscore(f"hookline:events:{key}", event.id)
            pipeline.zscore("hookline:log:received", " ".join(keys) + "\n" + event.id)
            found.append(sum(score is not None for score in await pipeline.execute()))
        return found


async def _sqlite_ids(address: str) -> list[str]:
    with closing(sqlite3.connect(address.removeprefix("sqlite:"))) as connection:
        return [event_id for (event_id,) in connection.execute("SELECT id FROM logged_event_keys")]


async def _postgresql_ids(address: str) -> list[str]:
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        cursor = await connection.execute("SELECT id FROM hookline_event_keys")
        return [event_id for (event_id,) in await cursor.fetchall()]
