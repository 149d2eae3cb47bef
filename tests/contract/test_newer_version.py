"""A process that still runs when a newer version has changed the store starts nothing, and loses nothing."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import redis.asyncio

from hookline import worker
from hookline.events import ParticipantJoined
from hookline.schemas.broker import Again, Received
from hookline.schemas.envelope import to_headers
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import Store
from hookline.workers.stores.redis.scripts import SCHEMA_VERSION
from tests.contract.installations import envelope
from tests.contract.stores import opened
from tests.events import make
from tests.services import postgresql
from tests.services import redis as redis_service

NEXT = 1000


@pytest.fixture(params=["sqlite", "redis", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of a store that no other test uses: its schema changes."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'store.db'}"
    elif request.param == "redis":
        with redis_service.own_database(request.config) as url:
            yield url
    else:
        with postgresql.own_database(request.config) as url:
            yield url


async def execute(url: str, *statements: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(statement.encode())


async def upgrade(address: str) -> None:
    """Do what a newer version would do: a step that the running one cannot know."""
    if address.startswith("sqlite:"):
        with closing(sqlite3.connect(address.removeprefix("sqlite:"), isolation_level=None)) as connection:
            connection.execute("ALTER TABLE claims RENAME TO claims_of_the_next_version")
            connection.execute(f"PRAGMA user_version = {NEXT}")
    elif address.startswith("redis:"):
        async with redis.asyncio.Redis.from_url(address) as client:
            await client.set("hookline:schema", SCHEMA_VERSION + 1)
    else:
        renamed = "ALTER TABLE hookline_claims RENAME TO hookline_claims_of_the_next_version"
        await execute(address, renamed, f"UPDATE hookline_schema SET version = {NEXT}")  # noqa: S608


@pytest.fixture
async def store(address: str) -> AsyncIterator[Store]:
    async with opened(address) as store:
        yield store


async def test_an_old_process_calls_no_function_and_uses_up_no_attempt(address: str, store: Store) -> None:
    calls: list[str] = []

    @worker(ParticipantJoined)
    async def welcome(event: ParticipantJoined) -> None:
        calls.append(event.id)

    pipeline = Pipeline(welcome, store, normalise=lambda _: (make(ParticipantJoined, user_id="u"),))
    await upgrade(address)
    outcome = (await pipeline.work(Received(to_headers(envelope("participant.joined")), "", b"{}", 1, None))).outcome
    assert isinstance(outcome, Again)
    assert (outcome.reason, outcome.attempt) == ("unreachable", 1)
    assert calls == []


@pytest.mark.parametrize("address", ["redis"], indirect=True)
async def test_an_old_process_takes_no_partition_from_a_newer_store_in_redis(address: str, store: Store) -> None:
    await upgrade(address)
    with pytest.raises(Unreachable, match="newer version"):
        await store.assign("q", ["p00"], ())


async def test_an_old_process_does_not_start_again(address: str, store: Store) -> None:
    await store.claim("q", "e")
    await upgrade(address)
    with pytest.raises(SettingsError, match="newer version"):
        async with opened(address):
            pass
