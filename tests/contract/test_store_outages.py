"""Redis and PostgreSQL that stop, freeze and come back, and a SQLite file that another process locks."""

import asyncio
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from typing import TypeAlias

import pytest

from hookline.schemas.errors import SettingsError, Unreachable
from hookline.sqlite import writer_thread
from hookline.workers.store import Acquired, Duplicate, LeasedElsewhere, Store
from hookline.workers.stores.postgresql.store import PostgresqlStore
from hookline.workers.stores.redis.store import RedisStore
from tests.contract.installations import eventually
from tests.contract.store_processes import go_on, line_of, store_process
from tests.contract.stores import opened
from tests.services import postgresql, redis

Server: TypeAlias = postgresql.Server | redis.Server

TIMEOUT_S = 2.0
_PATIENCE_S = 30.0

each_server = pytest.mark.parametrize("server", ["redis", "postgresql"], indirect=True)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """This test run's own server, which runs again at the end."""
    redis_or_postgresql = redis.own_server if request.param == "redis" else postgresql.own_server
    own: Server = redis_or_postgresql(request.config)
    yield own
    own.thaw()


@pytest.fixture
async def store(server: Server) -> AsyncIterator[Store]:
    async with opened(server.url, TIMEOUT_S) as store:
        yield store


async def back(store: Store, queue: str) -> None:
    """Wait until the store can be used again."""

    async def is_back() -> bool:
        try:
            await store.forget(queue, ["unknown"])
        except Unreachable:
            return False
        return True

    await eventually(is_back, _PATIENCE_S)


@each_server
async def test_a_server_that_is_down_is_reported_at_once_and_found_again(
    server: Server, store: Store, queue: str
) -> None:
    await store.claim(queue, "e")
    server.kill()
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(Unreachable):
            await store.claim(queue, "f")
    assert time.monotonic() - began < 3 * TIMEOUT_S
    server.start()
    await back(store, queue)
    assert await store.claim(queue, "g") == Acquired()


@each_server
async def test_a_wait_for_a_frozen_server_ends_in_time(server: Server, store: Store, queue: str) -> None:
    server.freeze()
    with pytest.raises(Unreachable):
        async with asyncio.timeout(TIMEOUT_S + 5):
            await store.claim(queue, "e")
    server.thaw()
    await back(store, queue)
    assert await store.claim(queue, "f") == Acquired()


@each_server
async def test_a_claim_whose_answer_was_lost_can_be_made_again(server: Server, store: Store, queue: str) -> None:
    server.freeze()
    with pytest.raises(Unreachable):
        await store.claim(queue, "e")
    server.thaw()
    await back(store, queue)
    assert await store.claim(queue, "e") == Acquired()


@each_server
async def test_a_failure_whose_release_was_not_answered_is_counted_once(
    server: Server, store: Store, queue: str
) -> None:
    """A frozen server carries the release out when it goes on; one that was killed does not."""
    for outage in (server.freeze, server.kill):
        failures = 0 if outage == server.freeze else 1
        assert await store.claim(queue, "e") == Acquired(failures=failures)
        outage()
        with pytest.raises(Unreachable):
            await store.release(queue, "e", failed=True)
        server.thaw() if outage == server.freeze else server.start()
        await back(store, queue)
        assert await store.claim(queue, "e") == Acquired(failures=failures + 1)
        await store.release(queue, "e")


@each_server
async def test_an_event_finished_during_an_outage_counts_as_finished(server: Server, store: Store, queue: str) -> None:
    for event_id in ("a", "b"):
        await store.claim(queue, event_id)
    server.kill()
    with pytest.raises(Unreachable):
        await store.finish(queue, "a")
    server.start()
    await back(store, queue)
    await store.finish(queue, "b")
    async with opened(server.url) as other:
        assert await other.claim(queue, "a") == Duplicate()
    assert await store.claim(queue, "a") == Duplicate()


@each_server
async def test_a_claim_carried_out_while_its_asker_was_frozen_is_free_for_others_within_a_lease(
    server: Server, store: Store, queue: str
) -> None:
    """The asker lives on, and does not know of its claim: its time-out ended before it could read the answer."""
    with store_process(server.url, queue, "claim_in_vain", TIMEOUT_S) as asker:
        assert await line_of(asker) == "ready"
        server.freeze()
        go_on(asker)
        assert await line_of(asker) == "sent"
        asker.send_signal(signal.SIGSTOP)
        server.thaw()
        await asyncio.sleep(TIMEOUT_S)
        await back(store, queue)
        assert await store.claim(queue, "e") == LeasedElsewhere()
        asker.send_signal(signal.SIGCONT)
        assert await line_of(asker) == "unreachable"

        async def is_acquired() -> bool:
            return await store.claim(queue, "e") == Acquired()

        await eventually(is_acquired, _PATIENCE_S)
        assert asker.poll() is None
        assert await store.claim(queue, "other") == LeasedElsewhere()  # which the asker has named all the time


@asynccontextmanager
async def locked(address: str) -> AsyncIterator[None]:
    """Another connection holds the write lock of the SQLite file."""
    with closing(sqlite3.connect(address.removeprefix("sqlite:"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("COMMIT")


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
async def test_an_event_finished_while_the_file_was_locked_counts_as_finished(
    address: str, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_thread, "_BUSY_S", 0.1)
    async with opened(address) as store:
        for event_id in ("a", "b", "c"):
            await store.claim(queue, event_id)
        async with locked(address):
            for event_id in ("a", "b"):
                with pytest.raises(Unreachable):
                    await store.finish(queue, event_id)
        assert await store.claim(queue, "a") == Duplicate()
        await store.finish(queue, "c")
    async with opened(address) as other:
        assert await other.claim(queue, "a") == Duplicate()
        assert await other.claim(queue, "b") == Duplicate()


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
async def test_a_claim_whose_release_failed_can_be_made_again(
    address: str, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_thread, "_BUSY_S", 0.1)
    async with opened(address) as store, opened(address) as other:
        await store.claim(queue, "e")
        async with locked(address):
            with pytest.raises(Unreachable):
                await store.release(queue, "e")
        assert await other.claim(queue, "e") == LeasedElsewhere()
        assert await store.claim(queue, "e") == Acquired()


@each_server
async def test_an_outage_ends_no_lease(server: Server, store: Store, queue: str) -> None:
    """Heartbeats could not arrive, but the claims still hold."""
    await store.claim(queue, "e")
    server.kill()
    server.start()
    async with opened(server.url) as other:
        assert await other.claim(queue, "e") != Acquired()
    await back(store, queue)


@each_server
@pytest.mark.parametrize("what", ["start", "password"])
async def test_an_error_about_a_server_shows_no_password(server: Server, what: str) -> None:
    url = server.url.replace(redis.PASSWORD, "a-wrong-secret") if what == "password" else server.url
    if what == "start":
        server.kill()
    try:
        with pytest.raises(Unreachable) as raised:
            await open_at(url)
    finally:
        if what == "start":
            server.start()
    assert "secret" not in str(raised.value)
    assert redis.PASSWORD not in str(raised.value)


@pytest.mark.parametrize("url", ["redis://:secret@host:port/0", "postgresql://user:secret@host:port/%zz"])
async def test_an_invalid_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(SettingsError, match=r"store\.url") as raised:
        await open_at(url)
    assert "secret" not in str(raised.value)


async def open_at(url: str) -> None:
    if url.startswith("redis"):
        await RedisStore.open(url, timeout_s=TIMEOUT_S)
    else:
        await PostgresqlStore.open(url, timeout_s=TIMEOUT_S)
