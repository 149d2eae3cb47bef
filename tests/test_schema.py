"""Stores of earlier and later versions: brought forward with everything in them, or refused."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hookline.broker.embedded.broker import EmbeddedBroker
from hookline.events import ParticipantJoined, RecordingStarted
from hookline.runtime.installation import Installation
from hookline.schemas.broker import Broker
from hookline.schemas.dead_letters import UNROUTED, Action, DeadLetter
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.settings import load
from hookline.sqlite import schema
from hookline.sqlite.database import Database
from hookline.workers.room_log import RoomLog
from hookline.workers.store import Acquired, Assignment, Duplicate, Store
from hookline.workers.stores.sqlite.room_log import SqliteRoomLog
from hookline.workers.stores.sqlite.store import SqliteStore
from tests.contract.installations import envelope, taken
from tests.events import make

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
    """Everything that the fixtures' process had told its store."""
    assert await store.claim("attendance", "finished", 60) == Duplicate()
    assert await store.claim("attendance", "failed", 60) == Acquired(failures=1)
    assert await store.claim("attendance", "in flight", 60) == Acquired(crash_suspect=True)
    assert await store.claim("attendance", "alone", 60) == Acquired(crash_suspect=True, crashes=1)
    assert await store.claim("attendance", "new", 60, "room-1") == Acquired(newest_s=7.0)
    assert await store.assign("ordered", ["p00", "p01"]) == Assignment(frozenset({"p00", "p01"}))


async def check_room_log(log: RoomLog) -> None:
    assert sorted(await log.events(), key=lambda event: event.id) == ROOM_EVENTS


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
    await check_room_log(SqliteRoomLog(database))


async def bodies(broker: Broker, queue: str, count: int, partition: str | None = None) -> list[str]:
    subscription = await broker.subscribe(queue, ["*.*.room.created"], 10, partition)
    found = [received.body.decode() for received in await taken(subscription, count)]
    await subscription.close()
    return found


async def test_a_sqlite_file_without_a_version_keeps_what_waits_in_queues(path: Path) -> None:
    clock = Clock()
    clock.now_s = AT_S + 30
    database = await Database.open(path, clock)
    broker = EmbeddedBroker(database)
    assert await bodies(broker, "attendance", 2) == ['{"number":4}', '{"number":5}']
    clock.now_s = AT_S + 61
    assert await bodies(broker, "attendance", 3) == ['{"number":1}', '{"number":4}', '{"number":5}']
    assert await bodies(broker, "ordered", 1, "p09") == ['{"number":4}']
    await broker.close()
    await database.close()


async def scanned(broker: Broker, queue: str) -> list[DeadLetter]:
    async with aclosing(broker.dead_letters.scan(queue, lambda _: Action.KEEP)) as scan:
        return [each.letter async for each in scan]


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
    await store.claim("q", "e", 60)
    await store.release("q", "e", failed=True)
    assert await store.claim("q", "e", 60) == Acquired(failures=1)
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


async def test_a_newer_sqlite_file_is_refused_and_left_alone(path: Path) -> None:
    await (await Database.open(path)).close()
    set_pragma(path, "user_version", 7)
    before = content(path)
    with pytest.raises(SettingsError, match=r"hookline\.db was written by a newer version .*is 7.* knows 1\)"):
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
    set_pragma(path, "user_version", 7)
    settings = tmp_path / "hookline.toml"
    settings.write_text(f'[broker]\nurl = "sqlite:{path.name}"\n[store]\nurl = "sqlite:{path.name}"\n')
    async with Installation(load(settings, with_sources=False)) as installation:
        for opened in (installation.broker, installation.store, installation.room_log):
            with pytest.raises(SettingsError, match="newer version"):
                await opened()


@contextmanager
def as_one_who_may_not_write(path: Path) -> Iterator[None]:
    path.chmod(0o400)
    is_root = os.geteuid() == 0
    if is_root:  # root may write anyway
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


async def test_a_file_that_may_not_be_written_to_says_what_is_needed(path: Path) -> None:
    with (
        as_one_who_may_not_write(path),
        pytest.raises(Unreachable, match="must be able to write to the file and to its folder"),
    ):
        await Database.open(path)
