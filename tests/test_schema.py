"""Stores of earlier and later versions: brought forward with everything in them, or refused."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from redis.asyncio import Redis

from hookline.broker.embedded.broker import EmbeddedBroker
from hookline.broker.embedded.queue_states import EmbeddedQueueStates
from hookline.events import ParticipantJoined, RecordingStarted
from hookline.runtime.installation import Installation
from hookline.schemas.broker import Broker
from hookline.schemas.dead_letters import UNROUTED, Action, DeadLetter
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.settings import load
from hookline.sqlite import schema
from hookline.sqlite.database import Database
from hookline.workers.event_log import EventLog, Place, Query
from hookline.workers.store import Acquired, Assignment, Duplicate, Store
from hookline.workers.stores.postgresql import schema as postgresql_schema
from hookline.workers.stores.postgresql.event_log import PostgresqlEventStorage
from hookline.workers.stores.postgresql.store import PostgresqlStore
from hookline.workers.stores.redis.event_log import RedisEventStorage
from hookline.workers.stores.redis.scripts import SCHEMA_VERSION
from hookline.workers.stores.redis.store import RedisStore
from hookline.workers.stores.sqlite.event_log import SqliteEventStorage
from hookline.workers.stores.sqlite.store import SqliteStore
from tests.contract.event_logs import FOREVER_S
from tests.contract.installations import envelope, taken
from tests.events import START, make
from tests.locked_folders import as_another_user
from tests.services import postgresql, redis

FIXTURES = Path(__file__).parent / "fixtures"
AT_S = datetime(2026, 1, 2, 4, tzinfo=UTC).timestamp()
"""When the process that wrote the SQLite fixture was killed."""
ROOM_EVENTS = [
    make(ParticipantJoined, "joined", user_id="用户"),
    make(RecordingStarted, "started", at_s=60, task_id="task"),
]


class Clock:
    def __init__(self) -> None:
        self.now_s = AT_S + 3600

    def __call__(self) -> float:
        return self.now_s


async def check_store(store: Store) -> None:
    """Check everything that the fixtures hold of a store."""
    assert await store.claim("attendance", "finished") == Duplicate()
    assert await store.claim("attendance", "failed") == Acquired(failures=1)
    assert await store.claim("attendance", "in flight") == Acquired(deaths=1)
    assert await store.claim("attendance", "alone") == Acquired(deaths=1, crashes=1)
    assert await store.claim("attendance", "new", "room-1") == Acquired(newest_s=7.0)
    assert await store.assign("ordered", ["p00", "p01"], ()) == Assignment(frozenset({"p00", "p01"}))


async def check_event_log(log: EventLog) -> None:
    assert (await log.search(Query(room_id="room"))).events == ROOM_EVENTS[::-1]
    assert (await log.search(Query(user_id="用户"))).events == ROOM_EVENTS[:1]
    assert (await log.rooms()).places == [Place("krtc", "krtc-main", "room")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A copy of the SQLite fixture."""
    return Path(shutil.copy(FIXTURES / "before_versions.sqlite3", tmp_path / "hookline.db"))


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    database = await Database.open(path, Clock())
    yield database
    await database.close()


def content(path: Path) -> bytes:
    return path.read_bytes()


def pragma(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def set_pragma(path: Path, name: str, value: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA {name} = {value}")


async def test_a_sqlite_file_without_a_version_gets_the_latest(path: Path, database: Database) -> None:
    assert pragma(FIXTURES / "before_versions.sqlite3", "user_version") == 0
    assert pragma(path, "user_version") == len(schema.STEPS)


async def test_a_sqlite_file_without_a_version_keeps_claims_and_partitions(database: Database) -> None:
    await check_store(SqliteStore(database))


async def test_a_sqlite_file_without_a_version_keeps_room_events(database: Database) -> None:
    for _ in range(2):
        await check_event_log(EventLog(await SqliteEventStorage.open(database)))


async def test_the_event_log_takes_over_many_events_of_the_room_log_and_mends_their_times(tmp_path: Path) -> None:
    """Earlier versions kept events of 1970 and 9999, whose times no provider can have meant."""
    database = await Database.open(tmp_path / "hookline.db")
    times = {"1970": datetime(1970, 1, 1, tzinfo=UTC), "9999": datetime(9999, 1, 1, tzinfo=UTC)}
    absurd = [make(ParticipantJoined, name, user_id="u", occurred_at=at) for name, at in times.items()]
    events = [*absurd, *(make(ParticipantJoined, str(n), at_s=n, user_id="u") for n in range(1200))]
    rows = [(event.id, event.occurred_at.timestamp(), msgspec.json.encode(event)) for event in events]
    await database.run(lambda c: c.executemany("INSERT INTO room_events VALUES (?, ?, ?)", rows))
    log = EventLog(await SqliteEventStorage.open(database))
    kept = await log.room(Place("krtc", "krtc-main", "room"))
    assert {event.id for event in kept} == {event.id for event in events}
    assert {event.occurred_at for event in kept if event.id in times} == {START}
    assert await database.run(lambda c: c.execute("SELECT count(*) FROM room_events").fetchall()) == [(0,)]
    await database.close()


async def bodies(broker: Broker, queue: str, count: int, partition: str | None = None) -> list[str]:
    subscription = await broker.subscribe(queue, ["*.*.room.created"], 10, partition)
    found = [received.body.decode() for received in await taken(subscription, count)]
    await subscription.close()
    return found


async def test_a_sqlite_file_without_a_version_keeps_what_waits_in_queues(path: Path) -> None:
    clock = Clock()
    clock.now_s = AT_S + 30
    database = await Database.open(path, clock, clock)
    broker = EmbeddedBroker(database)
    assert await bodies(broker, "attendance", 2) == ['{"number":4}', '{"number":5}']
    clock.now_s = AT_S + 61
    assert await bodies(broker, "attendance", 3) == ['{"number":1}', '{"number":4}', '{"number":5}']
    assert await bodies(broker, "ordered", 1, "p09") == ['{"number":4}']
    await broker.close()
    await database.close()


async def scanned(broker: Broker, queue: str) -> list[DeadLetter]:
    async with aclosing(broker.dead_letters.scan(queue, lambda _: Action.KEEP)) as scan:
        return [each.message async for each in scan]


async def test_a_sqlite_file_without_a_version_keeps_dead_letters(database: Database) -> None:
    broker = EmbeddedBroker(database)
    found = await scanned(broker, "attendance")
    assert [(each.reason, each.detail, each.replays) for each in found] == [
        ("poisoned", "it is bad", 0),
        ("failed", "KeyError", 1),
    ]
    assert [each.body for each in await scanned(broker, UNROUTED)] == [b'{"number":6}']
    await broker.close()


async def test_a_sqlite_file_without_a_version_keeps_history(database: Database) -> None:
    broker = EmbeddedBroker(database)
    async with aclosing(broker.history.read(datetime.fromtimestamp(0, UTC), datetime.now(UTC))) as pages:
        kept = [envelope.body async for page in pages for envelope in page]
    assert kept == [b'{"number":%d}' % number for number in range(7)]
    await broker.close()


async def test_a_sqlite_file_without_a_version_takes_new_events(database: Database) -> None:
    broker = EmbeddedBroker(database)
    await broker.publisher.publish(envelope(number=7, subject="room-4", body=b'{"number":7}'))
    assert await bodies(broker, "ordered", 2, "p09") == ['{"number":4}', '{"number":7}']
    await broker.close()


async def test_a_file_of_the_first_versions_gets_the_column_that_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "hookline.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            """CREATE TABLE claims (queue TEXT NOT NULL, id TEXT NOT NULL, owner TEXT, until REAL NOT NULL,
            alone INTEGER NOT NULL, crashes INTEGER NOT NULL, PRIMARY KEY (queue, id)) WITHOUT ROWID"""
        )
    database = await Database.open(path)
    store = SqliteStore(database)
    await store.claim("q", "e")
    await store.release("q", "e", failures=1)
    assert await store.claim("q", "e") == Acquired(failures=1)
    await database.close()


def adding(table: str) -> schema.Step:
    def step(connection: sqlite3.Connection) -> None:
        connection.execute(f"CREATE TABLE {table} (n INTEGER)")

    return step


def failing(connection: sqlite3.Connection) -> None:
    adding("half")(connection)
    connection.execute("INSERT INTO nowhere VALUES (1)")


def steps(*more: schema.Step) -> Sequence[schema.Step]:
    return (*schema.STEPS, *more)


async def test_each_step_is_done_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for later in (steps(), steps(adding("first")), steps(adding("second")), steps(adding("third"), adding("fourth"))):
        monkeypatch.setattr(schema, "STEPS", later)
        for _ in range(2):
            await (await Database.open(path)).close()
        assert pragma(path, "user_version") == len(later)


async def test_a_step_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await Database.open(path)).close()
    before = schema.STEPS
    monkeypatch.setattr(schema, "STEPS", steps(adding("whole"), failing))
    with pytest.raises(Unreachable, match="nowhere"):
        await Database.open(path)
    monkeypatch.setattr(schema, "STEPS", before)
    database = await Database.open(path)
    found = await database.run(lambda c: c.execute("SELECT name FROM sqlite_master WHERE name = 'whole'").fetchall())
    assert found == []
    await check_store(SqliteStore(database))
    await database.close()


@pytest.mark.parametrize("kind", ["a new file", "a file without a version"])
async def test_processes_that_start_at_once_all_succeed(tmp_path: Path, path: Path, kind: str) -> None:
    opened = path if kind == "a file without a version" else tmp_path / "new.db"
    for database in await asyncio.gather(*(Database.open(opened) for _ in range(12))):
        await database.close()
    assert pragma(opened, "user_version") == len(schema.STEPS)


async def test_subjects_of_an_earlier_version_get_full_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So they do if an index is made of all rows at once, which takes half as long as row after row."""
    path, latest = tmp_path / "hookline.db", schema.STEPS
    monkeypatch.setattr(schema, "STEPS", latest[: latest.index(schema._keep_subjects_by_age)])  # noqa: SLF001
    await (await Database.open(path)).close()
    names = sorted((sha256(b"%d" % number).hexdigest(), number) for number in range(20_000))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany("INSERT INTO newest VALUES ('queue', ?, 0, ?)", names)
    monkeypatch.setattr(schema, "STEPS", latest)
    await (await Database.open(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        pages = pragma(path, "page_count") - pragma(path, "freelist_count")
        assert connection.execute("SELECT count(*) FROM newest").fetchone() == (20_000,)
        connection.execute("VACUUM")
    assert pages <= 1.05 * pragma(path, "page_count")


async def test_a_newer_sqlite_file_is_refused_and_left_alone(path: Path) -> None:
    await (await Database.open(path)).close()
    set_pragma(path, "user_version", len(schema.STEPS) + 1)
    before = content(path)
    newer = rf"hookline\.db was written by a newer version .*is {len(schema.STEPS) + 1},.* knows {len(schema.STEPS)}\)"
    with pytest.raises(SettingsError, match=newer):
        await Database.open(path)
    assert content(path) == before


async def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (n INTEGER)")
    set_pragma(path, "user_version", 1)
    before = content(path)
    with pytest.raises(SettingsError, match=r"other\.db is the database of another program"):
        await Database.open(path)
    assert content(path) == before


async def test_broker_store_and_room_log_refuse_a_newer_file_alike(tmp_path: Path, path: Path) -> None:
    await (await Database.open(path)).close()
    set_pragma(path, "user_version", len(schema.STEPS) + 1)
    settings = tmp_path / "hookline.toml"
    settings.write_text(f'[broker]\nurl = "sqlite:{path.name}"\n[store]\nurl = "sqlite:{path.name}"\n')
    async with Installation(load(settings, with_sources=False)) as installation:
        for opened in (installation.broker, installation.store, installation.event_log):
            with pytest.raises(SettingsError, match="newer version"):
                await opened()


@contextmanager
def as_a_user_who_may_not_write(path: Path, *, mode: int = 0o400) -> Iterator[None]:
    path.chmod(mode)
    with as_another_user():  # root may write anyway
        yield


async def test_an_error_about_an_unreadable_queue_says_what_is_needed(path: Path) -> None:
    with (
        as_a_user_who_may_not_write(path, mode=0o000),
        pytest.raises(Unreachable, match="this user must be able to write to the file and to its folder"),
    ):
        await EmbeddedQueueStates(path).names()


async def test_an_error_about_a_read_only_file_says_what_is_needed(path: Path) -> None:
    with (
        as_a_user_who_may_not_write(path),
        pytest.raises(Unreachable, match="must be able to write to the file and to its folder"),
    ):
        await Database.open(path)


async def on(url: str, *statements: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(statement.encode())


@pytest.fixture
def empty(pytestconfig: pytest.Config) -> Iterator[str]:
    """A PostgreSQL database of its own."""
    with postgresql.own_database(pytestconfig) as url:
        yield url


@pytest.fixture
async def dumped(empty: str) -> str:
    """The empty database with the tables and rows of the PostgreSQL fixture."""
    await on(empty, content(FIXTURES / "before_versions.postgresql.sql").decode())
    return empty


async def version_of(url: str) -> list[tuple[int]]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        return await (await connection.execute("SELECT version FROM hookline_schema")).fetchall()


async def test_postgresql_tables_without_a_version_get_the_latest_and_keep_everything(dumped: str) -> None:
    store = await PostgresqlStore.open(dumped)
    storages = await asyncio.gather(*(PostgresqlEventStorage.open(dumped, FOREVER_S) for _ in range(3)))
    assert await version_of(dumped) == [(len(postgresql_schema.STEPS),)]
    await check_store(store)
    for storage in storages:
        await check_event_log(EventLog(storage))
        await storage.close()
    await store.close()


async def test_postgresql_stores_that_open_at_once_all_succeed(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_schema, "STEPS", (*postgresql_schema.STEPS, ["CREATE TABLE once ()"]))
    logs = await asyncio.gather(*(PostgresqlEventStorage.open(empty) for _ in range(8)))
    assert await version_of(empty) == [(len(postgresql_schema.STEPS),)]
    for log in logs:
        await log.close()


async def test_each_step_in_postgresql_is_done_once(dumped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = postgresql_schema.STEPS
    for more in ((), (["CREATE TABLE first ()"],), (["CREATE TABLE never ()"], ["CREATE TABLE second ()"])):
        monkeypatch.setattr(postgresql_schema, "STEPS", (*before, *more))
        for _ in range(2):
            await (await PostgresqlEventStorage.open(dumped)).close()
        assert await version_of(dumped) == [(len(before) + len(more),)]
    async with await psycopg.AsyncConnection.connect(dumped) as connection:
        found = await connection.execute("SELECT to_regclass('first'), to_regclass('never'), to_regclass('second')")
        assert await found.fetchone() == ("first", None, "second")


async def test_a_step_that_fails_leaves_postgresql_as_it_was(dumped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = ["CREATE TABLE half ()", "INSERT INTO nowhere VALUES (1)"]
    monkeypatch.setattr(postgresql_schema, "STEPS", (*postgresql_schema.STEPS, failing))
    with pytest.raises(Unreachable, match="nowhere"):
        await PostgresqlStore.open(dumped)
    async with await psycopg.AsyncConnection.connect(dumped) as connection:
        found = await connection.execute("SELECT to_regclass('half'), to_regclass('hookline_schema')")
        assert await found.fetchone() == (None, None)


async def test_newer_tables_in_postgresql_are_refused(dumped: str) -> None:
    await (await PostgresqlEventStorage.open(dumped)).close()
    await on(dumped, "UPDATE hookline_schema SET version = version + 1")
    known = len(postgresql_schema.STEPS)
    newer = rf"database hookline_\w+ were written by a newer version .*is {known + 1},.* knows {known}\)"
    for opened in (PostgresqlStore.open, PostgresqlEventStorage.open):
        with pytest.raises(SettingsError, match=newer):
            await opened(dumped)
    assert await version_of(dumped) == [(known + 1,)]


@pytest.fixture
async def restricted(empty: str) -> AsyncIterator[str]:
    """The empty database, opened by a role that may not create tables."""
    role = f"hookline_{uuid4().hex[:10]}"
    await on(
        empty,
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",  # as by default from PostgreSQL 15 on
        f"CREATE ROLE {role} LOGIN PASSWORD '{postgresql.PASSWORD}'",
        f"ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}",
    )
    owner = conninfo_to_dict(empty)["user"]
    yield empty.replace(f"//{owner}:", f"//{role}:")
    await on(empty, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


async def test_a_role_that_may_not_create_tables_is_told_what_to_do(restricted: str) -> None:
    with pytest.raises(SettingsError, match="start once with a role that may create tables"):
        await PostgresqlStore.open(restricted)


async def test_a_role_that_may_not_create_tables_uses_those_that_are_there(empty: str, restricted: str) -> None:
    await (await PostgresqlEventStorage.open(empty)).close()
    store = await PostgresqlStore.open(restricted)
    assert await store.claim("q", "e") == Acquired()
    await store.close()
    storage = await PostgresqlEventStorage.open(restricted, FOREVER_S)
    await EventLog(storage).append(ROOM_EVENTS[0])
    assert await EventLog(storage).get("joined") == ROOM_EVENTS[0]
    await storage.close()


@pytest.fixture
async def redis_url(pytestconfig: pytest.Config) -> AsyncIterator[str]:
    """A Redis database of its own."""
    url = urlsplit(redis.server_url(pytestconfig))._replace(path="/5").geturl()
    yield url
    async with Redis.from_url(url) as client:
        await client.flushdb()


async def test_redis_holds_the_version_of_its_keys(redis_url: str) -> None:
    await (await RedisEventStorage.open(redis_url)).close()
    async with Redis.from_url(redis_url) as client:
        assert await client.get("hookline:schema") == str(SCHEMA_VERSION).encode()


async def test_the_event_log_in_redis_takes_over_the_room_log_and_deletes_unused_keys(redis_url: str) -> None:
    events = [*ROOM_EVENTS, *(make(ParticipantJoined, str(n), room_id="many", user_id="u") for n in range(1200))]
    async with Redis.from_url(redis_url) as client:
        await client.set("hookline:schema", 2)
        await client.hset(
            "hookline:rooms:events", mapping={event.id: msgspec.json.encode(event).decode() for event in events}
        )
        await client.zadd("hookline:rooms:times", {event.id: event.occurred_at.timestamp() for event in events})
        await client.zadd("hookline:members:attendance", {"an owner": 1})
        await client.set("of:another:program", "1")
        for _ in range(2):
            storage = await RedisEventStorage.open(redis_url, FOREVER_S)
            log = EventLog(storage)
            assert (await log.search(Query(room_id="room"))).events == ROOM_EVENTS[::-1]
            assert len(await log.room(Place("krtc", "krtc-main", "many"))) == 1200
            await storage.close()
        unused = ("hookline:rooms:events", "hookline:rooms:times", "hookline:members:attendance")
        assert await client.exists(*unused) == 0
        assert await client.exists("of:another:program") == 1


async def test_newer_keys_in_redis_are_refused(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        await client.set("hookline:schema", 7)
        for opened in (RedisStore.open, RedisEventStorage.open):
            with pytest.raises(SettingsError, match=r"newer version .*7.* knows \d\)"):
                await opened(redis_url)
        assert await client.get("hookline:schema") == b"7"
