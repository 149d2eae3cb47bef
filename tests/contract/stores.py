"""Each store, opened by one process or by several."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis.asyncio

from hookline.sqlite.database import Database
from hookline.workers.store import Acquired, MemoryStore, Store, TransactionalStore
from hookline.workers.stores.postgresql.store import PostgresqlStore
from hookline.workers.stores.redis.store import RedisStore
from hookline.workers.stores.sqlite.store import SqliteStore
from tests.simulation.model_store import ModelStore
from tests.simulation.network import Host, NetworkPath
from tests.simulation.store_server import ModelServer

_model_servers: dict[str, ModelServer] = {}

Another = Callable[[], AbstractAsyncContextManager[Store]]
"""Opens the store as another process, which ends with the block."""

real_stores = pytest.mark.parametrize("address", ["sqlite", "redis", "postgresql"], indirect=True)
shared_stores = pytest.mark.parametrize("address", ["sqlite", "redis", "postgresql", "model"], indirect=True)
each_store = pytest.mark.parametrize("address", ["memory", "sqlite", "redis", "postgresql", "model"], indirect=True)
transactional_stores = pytest.mark.parametrize("address", ["sqlite", "postgresql"], indirect=True)


@asynccontextmanager
async def opened(address: str, timeout_s: float = 10.0, ttl_s: float = 3600.0) -> AsyncIterator[Store]:
    """The store at an address, opened by a process that ends with the block."""
    if address == "memory:":
        yield MemoryStore()
    elif address.startswith("model:"):
        model = ModelStore(model_server(address), NetworkPath(Host(), timeout_s), uuid4().hex)
        await model.open()
        yield model
        await model.close()
    elif address.startswith("sqlite:"):
        database = await Database.open(Path(address.removeprefix("sqlite:")))
        yield SqliteStore(database, ttl_s)
        await database.close()
    elif address.startswith("redis:"):
        in_redis = await RedisStore.open(address, ttl_s, timeout_s)
        yield in_redis
        await in_redis.close()
    else:
        postgresql = await PostgresqlStore.open(address, ttl_s, timeout_s)
        yield postgresql
        await postgresql.close()


async def advance(address: str, seconds: float) -> None:
    """Advance the lease clock of a store, as the heartbeats of other processes do."""
    await _change_clock(address, "value", seconds)


async def hold_up(address: str, seconds: float) -> None:
    """Let the lease clock's last heartbeat be that much longer ago, as after an outage or a jump of the wall clock."""
    await _change_clock(address, "at", -seconds)


async def _change_clock(address: str, column: str, seconds: float) -> None:
    if address.startswith("model:"):
        model_server(address).change_clock(column, seconds)
    elif address.startswith("redis:"):
        async with redis.asyncio.Redis.from_url(address) as client:
            await client.hincrby("hookline:leases", column, round(1000 * seconds))
    elif address.startswith("sqlite:"):
        with closing(sqlite3.connect(address.removeprefix("sqlite:"), isolation_level=None)) as connection:
            connection.execute(f"UPDATE lease_clock SET {column} = {column} + ?", (seconds,))  # noqa: S608
    else:
        interval = " * interval '1 s'" if column == "at" else ""
        await rows(address, f"UPDATE hookline_lease_clock SET {column} = {column} + ?::float8{interval}", str(seconds))  # noqa: S608
        if column == "at":
            claimed = "UPDATE hookline_claims SET claimed_at = claimed_at + ?::float8 * interval '1 s'"
            await rows(address, claimed, str(seconds))


def model_server(address: str) -> ModelServer:
    """The model server of the simulation at an address. It lasts while something refers to it."""
    return _model_servers.setdefault(address, ModelServer())


async def newest(store: Store, queue: str, subject: str) -> float | None:
    """The newest time of a subject, from a claim on a new event."""
    claim = await store.claim(queue, uuid4().hex, subject)
    assert isinstance(claim, Acquired)
    return claim.newest_s


async def write(store: Store, queue: str, event_id: str, text: str = "effect") -> None:
    """Handle an event in the store's own transaction, with one row as its effect."""
    assert isinstance(store, TransactionalStore)
    async with store.transaction(queue, event_id, timeout_s=30) as transaction:
        await note(transaction, queue, text)


async def note(transaction: Any, queue: str, text: str) -> None:
    """Write one row in a transaction of either kind."""
    statement = "INSERT INTO effects VALUES ({0}, {0})"
    if isinstance(transaction, psycopg.AsyncConnection):
        await transaction.execute(statement.format("%s").encode(), (queue, text))
    else:
        transaction.execute(statement.format("?"), (queue, text))


async def prepare_effects(address: str) -> None:
    """The table that `write` writes to."""
    await rows(address, "CREATE TABLE IF NOT EXISTS effects (queue text, text text)")


async def effects(address: str, queue: str) -> list[str]:
    """What was written for a queue."""
    return [row[0] for row in await rows(address, "SELECT text FROM effects WHERE queue = ?", queue)]


async def rows(address: str, statement: str, *parameters: str) -> list[tuple[str, ...]]:
    if address.startswith("sqlite:"):
        database = await Database.open(Path(address.removeprefix("sqlite:")))
        found: list[tuple[str, ...]] = await database.run(lambda c: c.execute(statement, parameters).fetchall())
        await database.close()
        return found
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        cursor = await connection.execute(statement.replace("?", "%s").encode(), parameters)
        return await cursor.fetchall() if cursor.description else []
