"""What it costs to read a room does not depend on what else is stored. Counted by each server, not in seconds."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis.asyncio

from hookline.events import CanonicalEvent, ParticipantJoined
from hookline.sqlite.database import Database
from hookline.workers.event_log import EventLog, Query
from hookline.workers.rooms import latest_rooms, rooms_named
from hookline.workers.stores.sqlite.event_log import SqliteEventStorage
from tests.contract.event_logs import opened_log
from tests.contract.installations import eventually
from tests.contract.stores import real_stores
from tests.events import make

Read = Callable[[EventLog], Awaitable[Any]]

MINE = 50
OTHERS = 3000
_ROWS = b"""SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)
    + (SELECT sum(seq_tup_read) FROM pg_stat_user_tables)"""
_OTHERS = b"""SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""


async def instructions(address: str, read: Read) -> int:
    """Of SQLite's virtual machine."""
    database = await Database.open(Path(address.removeprefix("sqlite:")))
    log = EventLog(await SqliteEventStorage.open(database))
    count = 0

    def note() -> int:
        nonlocal count
        count += 1
        return 0

    await database.run(lambda connection: connection.set_progress_handler(note, 1))
    await read(log)
    await database.close()
    return count


async def bytes_sent(address: str, read: Read) -> int:
    """By the Redis server."""
    async with opened_log(address) as log, redis.asyncio.Redis.from_url(address) as client:
        await log.get("unknown")
        before = (await client.info("stats"))["total_net_output_bytes"]
        await read(log)
        return int((await client.info("stats"))["total_net_output_bytes"]) - int(before)


async def rows_read(address: str, read: Read) -> int:
    """By the PostgreSQL server, which counts those of a connection when it is closed."""

    async def counted(work: Read) -> int:
        before = await settled_rows(address)
        async with opened_log(address) as log:
            await work(log)
        return await settled_rows(address) - before

    async def nothing(log: EventLog) -> None:
        """Opening the log reads some rows."""

    return await counted(read) - await counted(nothing)


async def settled_rows(address: str) -> int:
    """The rows that were read up to now, once no other connection to the database is open."""
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:

        async def is_alone() -> bool:
            return await (await connection.execute(_OTHERS)).fetchone() == (0,)

        await eventually(is_alone, 30)
        row = await (await connection.execute(_ROWS)).fetchone()
    return int(row[0] or 0) if row else 0


@asynccontextmanager
async def own_database(address: str) -> AsyncIterator[str]:
    """An address in a database of its own where the store is PostgreSQL, which counts by database."""
    if not address.startswith("postgresql:"):
        yield address
        return
    name = f"hookline_{uuid4().hex[:10]}"
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        await connection.execute(f"CREATE DATABASE {name}".encode())
        yield f"{address.rpartition('/')[0]}/{name}"
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


async def cost(address: str, read: Read) -> int:
    count = {"sqlite": instructions, "redis": bytes_sent, "postgresql": rows_read}[address.partition(":")[0]]
    return await count(address, read)


def joined(event_id: str, room: str, number: int) -> CanonicalEvent:
    return make(ParticipantJoined, f"{event_id} {number}", at_s=1e9 + number, room_id=room, user_id=str(number % 7))


@pytest.fixture
async def own_address(address: str) -> AsyncIterator[str]:
    async with own_database(address) as own:
        yield own


@real_stores
async def test_reading_a_room_costs_the_same_whatever_else_is_stored(own_address: str) -> None:
    name = uuid4().hex
    reads: list[Read] = [
        lambda log: rooms_named(log, name),
        lambda log: log.search(Query(room_id=name, user_id="1"), limit=5),
        lambda log: log.search(Query(), limit=5),
        lambda log: latest_rooms(log, 1),
        lambda log: log.received(datetime(1970, 1, 2, tzinfo=UTC), limit=5),
    ]
    async with opened_log(own_address) as log:
        await asyncio.gather(*(log.append(joined(name, name, number)) for number in range(MINE)))
    before = [await cost(own_address, read) for read in reads]
    async with opened_log(own_address) as log:
        others = [joined(f"{name} other", f"{name} {number % 100}", number) for number in range(OTHERS)]
        await asyncio.gather(*map(log.append, others))
        await log.append(joined(name, name, OTHERS))
    after = [await cost(own_address, read) for read in reads]
    assert before[0] >= MINE
    assert all(late <= 1.5 * early + 500 for early, late in zip(before, after, strict=True)), (before, after)
