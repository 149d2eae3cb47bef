"""What only the PostgreSQL store does."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
import pytest

from hookline.schemas.errors import Unreachable
from hookline.workers.failure_policy import HandlerTimedOut
from hookline.workers.handler import HandlerTimeout
from hookline.workers.store import Acquired, Duplicate
from hookline.workers.stores.postgresql import store as postgresql_store
from hookline.workers.stores.postgresql.store import TIMEOUT_S, PostgresqlStore
from tests.contract.installations import queue_name
from tests.contract.store_processes import line_of, store_process
from tests.contract.stores import effects, prepare_effects, write
from tests.services import postgresql


@pytest.fixture
async def url(pytestconfig: pytest.Config) -> str:
    url = postgresql.server_url(pytestconfig)
    await prepare_effects(url)
    return url


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresqlStore]:
    store = await PostgresqlStore.open(url, connections=2)
    yield store
    await store.close()


@pytest.fixture
async def queue() -> str:
    return queue_name()


async def test_more_transactions_than_connections_take_turns(url: str, store: PostgresqlStore, queue: str) -> None:
    await asyncio.gather(*(write(store, queue, str(number), str(number)) for number in range(50)))
    assert sorted(map(int, await effects(url, queue))) == list(range(50))


async def test_completion_records_of_transactions_are_deleted_too(url: str, store: PostgresqlStore, queue: str) -> None:
    await store.finish(queue, "old")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("UPDATE hookline_handled SET finished_at = now() - interval '8 d' WHERE id = 'old'")
    for number in range(1000):
        await write(store, queue, str(number))
    assert await store.claim(queue, "old") == Acquired()
    assert await store.claim(queue, "0") == Duplicate()


async def test_a_statement_that_fails_is_the_functions_failure(url: str, store: PostgresqlStore, queue: str) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        async with store.transaction(queue, "e", timeout_s=30) as connection:
            await connection.execute("INSERT INTO nowhere VALUES (1)")
    assert await store.claim(queue, "e") == Acquired()


async def test_an_error_that_the_function_hides_undoes_all_its_writes(
    url: str, store: PostgresqlStore, queue: str
) -> None:
    async def hide() -> None:
        async with store.transaction(queue, "e", timeout_s=30) as connection:
            await connection.execute("INSERT INTO effects VALUES (%s, 'effect')", (queue,))
            with suppress(psycopg.Error):
                await connection.execute("SELECT 1 / 0")

    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        await hide()
    assert await effects(url, queue) == []


async def test_the_function_cannot_commit_before_it_has_returned(url: str, store: PostgresqlStore, queue: str) -> None:
    async def commit() -> None:
        async with store.transaction(queue, "e", timeout_s=30) as connection:
            await connection.execute("INSERT INTO effects VALUES (%s, 'effect')", (queue,))
            await connection.commit()

    with pytest.raises(psycopg.ProgrammingError):
        await commit()
    assert await effects(url, queue) == []


async def test_a_connection_that_ends_is_not_the_functions_failure(
    url: str, store: PostgresqlStore, queue: str
) -> None:
    with pytest.raises(Unreachable):
        async with store.transaction(queue, "e", timeout_s=30) as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    await write(store, queue, "e")
    assert await effects(url, queue) == ["effect"]


async def test_a_cancelled_function_has_written_nothing(url: str, store: PostgresqlStore, queue: str) -> None:
    async def hang() -> None:
        async with store.transaction(queue, "e", timeout_s=30) as connection:
            await connection.execute("INSERT INTO effects VALUES (%s, 'effect')", (queue,))
            await connection.execute("SELECT pg_sleep(3600)")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await hang()
    assert await effects(url, queue) == []
    await asyncio.gather(*(write(store, queue, str(number)) for number in range(10)))


async def test_a_read_only_database_is_reported(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in (
            b"DROP DATABASE IF EXISTS hookline_read_only",
            b"CREATE DATABASE hookline_read_only",
            b"ALTER DATABASE hookline_read_only SET default_transaction_read_only = on",
        ):
            await connection.execute(statement)
    with pytest.raises(Unreachable, match=r"read-only .*store\.url must name a server that accepts writes"):
        await PostgresqlStore.open(f"{url.rpartition('/')[0]}/hookline_read_only")


async def test_the_wait_for_a_connection_in_use_has_an_end(
    url: str, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_store, "_WAIT_S", 0.2)
    store = await PostgresqlStore.open(url, connections=1)
    async with store.transaction(queue, "a", timeout_s=30):
        with pytest.raises(Unreachable, match="in use for too long"):
            await write(store, queue, "b")
    await write(store, queue, "b")
    await store.close()


async def test_a_refused_connection_is_reported_long_before_the_time_out(
    pytestconfig: pytest.Config, queue: str
) -> None:
    server = postgresql.own_server(pytestconfig)
    store = await PostgresqlStore.open(server.url, timeout_s=60)
    server.kill()
    try:
        async with asyncio.timeout(30):
            for _ in range(3):
                with pytest.raises(Unreachable):
                    await store.claim(queue, "e")
            with pytest.raises(Unreachable, match="refused"):
                await write(store, queue, "e")
    finally:
        server.start()
    await store.close()


async def test_old_connections_are_not_used_after_the_server_has_restarted(
    pytestconfig: pytest.Config, queue: str
) -> None:
    server = postgresql.own_server(pytestconfig)
    await prepare_effects(server.url)
    store = await PostgresqlStore.open(server.url, connections=4)
    await asyncio.gather(*(write(store, queue, str(number)) for number in range(20)))
    server.kill()
    server.start()
    with pytest.raises(Unreachable):
        await write(store, queue, "lost")
    await asyncio.gather(*(write(store, queue, f"later {number}") for number in range(20)))
    await store.close()


async def test_the_server_looks_after_connections_whose_client_has_vanished(store: PostgresqlStore, queue: str) -> None:
    """With its default it would look after two hours, and keep the client's locks until then."""
    shown = "SELECT current_setting('tcp_keepalives_idle')::int, current_setting('tcp_user_timeout')"
    async with store.transaction(queue, "e", timeout_s=30) as connection:
        assert await (await connection.execute(shown)).fetchone() == (10, "25000")


async def test_statements_are_prepared_where_no_pooler_is_in_between(store: PostgresqlStore, queue: str) -> None:
    for number in range(10):
        await write(store, queue, str(number))
    async with store.transaction(queue, "e", timeout_s=30) as connection:
        prepared = await (await connection.execute("SELECT count(*) FROM pg_prepared_statements")).fetchone()
    assert prepared is not None
    assert prepared[0] > 0


async def test_a_wrong_password_is_reported(url: str) -> None:
    with pytest.raises(Unreachable, match="password authentication failed"):
        await PostgresqlStore.open(url.replace(postgresql.PASSWORD, "wrong"))


async def update(store: PostgresqlStore, queue: str, event_id: str, timeout_s: float) -> None:
    async with store.transaction(queue, event_id, timeout_s=timeout_s) as connection:
        await connection.execute("UPDATE effects SET text = %s WHERE queue = %s", (event_id, queue))


async def test_a_frozen_process_keeps_its_locks_no_longer_than_its_time_out_and_a_margin(
    url: str, store: PostgresqlStore, queue: str
) -> None:
    await write(store, queue, "first")
    with store_process(url, queue, "hold_a_lock") as process:
        assert await line_of(process) == "done"
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(Unreachable, match="lock timeout"):
            await update(store, queue, "waits", timeout_s=0.5)
        await update(store, queue, "later", timeout_s=60)
        assert await effects(url, queue) == ["later"]


@pytest.mark.parametrize(("sleeps_s", "error"), [(0.0, Unreachable), (1.8, Unreachable), (60.0, HandlerTimedOut)])
async def test_a_wait_for_a_frozen_process_is_not_the_functions_time_out_whenever_it_begins(
    url: str, store: PostgresqlStore, queue: str, sleeps_s: float, error: type[Exception]
) -> None:
    """The third row is a function that is slow by itself."""
    timeout_s = 3.0

    async def wait() -> None:
        limit = HandlerTimeout(timeout_s)
        async with store.transaction(queue, "waits", timeout_s=timeout_s) as connection:
            with limit:
                await asyncio.sleep(sleeps_s)
                await connection.execute("UPDATE effects SET text = 'x' WHERE queue = %s", (queue,))

    await write(store, queue, "first")
    with store_process(url, queue, "hold_a_lock_for_long") as process:
        assert await line_of(process) == "done"
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(error):
            await wait()


@asynccontextmanager
async def store_on_own_server(
    config: pytest.Config, timeout_s: float = TIMEOUT_S
) -> AsyncIterator[tuple[postgresql.Server, PostgresqlStore]]:
    """A store with its server, which may be frozen."""
    server = postgresql.own_server(config)
    await prepare_effects(server.url)
    store = await PostgresqlStore.open(server.url, timeout_s=timeout_s)
    try:
        yield server, store
    finally:
        server.thaw()
        await store.close()


async def test_a_function_that_waits_for_a_frozen_server_has_not_timed_out(
    pytestconfig: pytest.Config, queue: str
) -> None:
    limit = HandlerTimeout(1.0)

    async def wait(server: postgresql.Server, store: PostgresqlStore) -> None:
        async with store.transaction(queue, "e", timeout_s=1.0) as connection:
            server.freeze()
            with limit:
                await connection.execute("SELECT 1")

    async with store_on_own_server(pytestconfig, timeout_s=2) as (server, store):
        with pytest.raises(Unreachable, match="did not answer"):
            await wait(server, store)


FREEZES = {
    "ends before the time-out": (0.3, 1.95),
    "ends after the time-out": (0.3, 2.05),
    "ends long before the time-out": (0.1, 1.3),
    "begins before the time-out": (1.4, 2.6),
}


@pytest.mark.parametrize("freeze", FREEZES.values(), ids=FREEZES.keys())
async def test_a_freeze_of_the_server_uses_up_no_time_of_a_function_whenever_it_ends(
    pytestconfig: pytest.Config, queue: str, freeze: tuple[float, float]
) -> None:
    limit = HandlerTimeout(2.0)
    loop, (from_s, until_s) = asyncio.get_running_loop(), freeze

    async def wait(server: postgresql.Server, store: PostgresqlStore) -> None:
        async with store.transaction(queue, "e", timeout_s=2.0) as connection:
            timers = loop.call_later(from_s, server.freeze), loop.call_later(until_s, server.thaw)
            try:
                with limit:
                    while True:
                        await connection.execute("SELECT pg_sleep(0.05)")
            finally:
                for timer in timers:
                    timer.cancel()

    async with store_on_own_server(pytestconfig) as (server, store):
        with pytest.raises(Unreachable, match="did not answer"):
            await wait(server, store)


async def test_a_function_that_is_slow_by_itself_has_timed_out(url: str, store: PostgresqlStore, queue: str) -> None:
    limit = HandlerTimeout(1.5)

    async def wait() -> None:
        async with store.transaction(queue, "e", timeout_s=1.5) as connection:
            with limit:
                await connection.execute("SELECT pg_sleep(60)")

    with pytest.raises(HandlerTimedOut):
        await wait()


async def test_a_deadlock_is_not_the_functions_failure(url: str, store: PostgresqlStore, queue: str) -> None:
    for number in range(2):
        await write(store, f"{queue}{number}", "row")
    both = asyncio.Barrier(2)

    async def cross(first: int) -> None:
        async with store.transaction(queue, f"cross {first}", timeout_s=60) as connection:
            for number in (first, 1 - first):
                await connection.execute("UPDATE effects SET text = 'x' WHERE queue = %s", (f"{queue}{number}",))
                if number == first:
                    await both.wait()

    ends = await asyncio.gather(cross(0), cross(1), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["NoneType", "Unreachable"]


@pytest.mark.parametrize("is_chained", [True, False], ids=["from it", "after it"])
async def test_an_error_that_is_raised_after_one_of_the_servers_is_not_the_functions_failure(
    url: str, store: PostgresqlStore, queue: str, *, is_chained: bool
) -> None:
    async def wrap() -> None:
        async with store.transaction(queue, "e", timeout_s=30) as connection:
            try:
                await connection.execute("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$")
            except psycopg.Error as error:
                if is_chained:
                    raise RuntimeError("of a library") from error
                raise RuntimeError("of a library")  # noqa: B904  as careless code does

    with pytest.raises(Unreachable):
        await wrap()


async def test_two_errors_that_name_each_other_as_their_cause_are_the_functions_failure(
    url: str, store: PostgresqlStore, queue: str
) -> None:
    """As in a function that cleans up after one error, fails again, and raises the first one from the second."""
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__context__ = second, first
    with pytest.raises(ValueError, match="first"):
        async with store.transaction(queue, "e", timeout_s=30):
            raise first


async def test_what_a_function_makes_of_a_lost_connection_is_not_its_failure(
    url: str, store: PostgresqlStore, queue: str
) -> None:
    async def ignore() -> None:
        async with store.transaction(queue, "e", timeout_s=30) as connection:
            with suppress(psycopg.Error):
                await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            raise ValueError("nothing was found")

    with pytest.raises(Unreachable):
        await ignore()
    with pytest.raises(ValueError, match="by itself"):
        async with store.transaction(queue, "e", timeout_s=30):
            raise ValueError("by itself")


@pytest.mark.parametrize("code", ["26000", "42P05", "55P03", "25006", "53100", "57P01", "58030", "40001"])
async def test_what_is_the_servers_fault_is_not_the_functions(
    url: str, store: PostgresqlStore, queue: str, code: str
) -> None:
    with pytest.raises(Unreachable):
        async with store.transaction(queue, "e", timeout_s=30) as connection:
            await connection.execute(f"DO $$ BEGIN RAISE SQLSTATE '{code}'; END $$".encode())


@pytest.mark.parametrize("code", ["23505", "22012", "57014", "P0001"])
async def test_what_a_statement_does_wrong_is_the_functions_failure(
    url: str, store: PostgresqlStore, queue: str, code: str
) -> None:
    with pytest.raises(psycopg.Error):
        async with store.transaction(queue, "e", timeout_s=30) as connection:
            await connection.execute(f"DO $$ BEGIN RAISE SQLSTATE '{code}'; END $$".encode())


async def test_a_database_without_an_encoding_holds_claims_as_any_other(url: str) -> None:
    """In SQL_ASCII the driver returns bytes, unless the client names an encoding: a claim would never be ours."""
    name = queue_name().replace("-", "_")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        made = f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        await connection.execute(made.encode())
        try:
            store = await PostgresqlStore.open(f"{url.rpartition('/')[0]}/{name}")
            try:
                assert isinstance(await store.claim("queue", "événement", "room"), Acquired)
                await store.finish("queue", "événement")
                assert await store.claim("queue", "événement") == Duplicate()
            finally:
                await store.close()
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
