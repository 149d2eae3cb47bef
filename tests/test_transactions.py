"""Workers whose own writes are committed with the completion record of the event."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hookline import Backoff, Delivery, Worker, worker
from hookline.events import ParticipantJoined
from hookline.schemas.broker import Again, Done
from hookline.schemas.errors import SettingsError
from hookline.sqlite.database import Database
from hookline.testing import deliver
from hookline.workers.failure_policy import STORE_RETRY_S
from hookline.workers.store import Duplicate, MemoryStore
from hookline.workers.stores.sqlite.store import SqliteStore
from tests.events import make

JOINED = make(ParticipantJoined, user_id="u")
INSERT = "INSERT INTO effects VALUES (?)"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(tmp_path / "store.db")
    await database.run(lambda connection: connection.execute("CREATE TABLE effects (id TEXT)"))
    yield database
    await database.close()


@pytest.fixture
async def store(database: Database) -> SqliteStore:
    return SqliteStore(database)


async def effects(database: Database) -> list[str]:
    return [
        row[0] for row in await database.run(lambda connection: connection.execute("SELECT * FROM effects").fetchall())
    ]


@worker(ParticipantJoined, transactional=True)
async def attendance(event: ParticipantJoined, delivery: Delivery) -> None:
    delivery.transaction.execute(INSERT, (event.id,))


async def test_the_writes_of_a_function_are_committed_with_the_completion_record(
    store: SqliteStore, database: Database
) -> None:
    assert await deliver(attendance, JOINED, store=store) == Done()
    assert await effects(database) == [JOINED.id]
    assert await store.claim("attendance", JOINED.id) == Duplicate()


async def test_a_repeat_writes_nothing(store: SqliteStore, database: Database) -> None:
    await deliver(attendance, JOINED, store=store)
    assert await deliver(attendance, JOINED, store=store) == Done("duplicate")
    assert await effects(database) == [JOINED.id]


async def test_a_function_that_fails_has_written_nothing(store: SqliteStore, database: Database) -> None:
    @worker(ParticipantJoined, transactional=True)
    async def failing(event: ParticipantJoined, delivery: Delivery) -> None:
        delivery.transaction.execute(INSERT, (event.id,))
        raise ValueError

    assert isinstance(await deliver(failing, JOINED, store=store), Again)
    assert await effects(database) == []


@pytest.mark.parametrize(
    "statement",
    [
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT s",
        "ATTACH ':memory:' AS other",
        "PRAGMA user_version = 7",
        "INSERT INTO nowhere VALUES (1)",
    ],
)
async def test_a_forbidden_statement_is_a_failure_and_nothing_is_written(
    store: SqliteStore, database: Database, statement: str
) -> None:
    outcome = await deliver(writing(INSERT.replace("?", "'x'"), statement), JOINED, store=store)
    assert isinstance(outcome, Again)
    assert outcome.reason == "failed"
    assert await effects(database) == []


def writing(*statements: str) -> Worker[ParticipantJoined, None]:
    @worker(ParticipantJoined, transactional=True)
    async def writing(event: ParticipantJoined, delivery: Delivery) -> None:
        for statement in statements:
            delivery.transaction.execute(statement)

    return writing


async def test_many_rows_are_written_at_once(store: SqliteStore, database: Database) -> None:
    @worker(ParticipantJoined, transactional=True)
    async def many(event: ParticipantJoined, delivery: Delivery) -> None:
        delivery.transaction.executemany("INSERT INTO effects VALUES (:id)", ({"id": each} for each in "abc"))

    await deliver(many, JOINED, store=store)
    assert await effects(database) == ["a", "b", "c"]


async def test_a_process_that_was_slower_writes_nothing(store: SqliteStore, database: Database) -> None:
    @worker(ParticipantJoined, transactional=True)
    async def slow(event: ParticipantJoined, delivery: Delivery) -> None:
        delivery.transaction.execute(INSERT, (event.id,))
        await store.finish("slow", event.id)  # as another process does after the claim has ended

    assert await deliver(slow, JOINED, store=store) == Done("duplicate")
    assert await effects(database) == []


async def test_other_workers_have_no_transaction(store: SqliteStore) -> None:
    seen: list[Delivery] = []

    @worker(ParticipantJoined)
    async def plain(event: ParticipantJoined, delivery: Delivery) -> None:
        seen.append(delivery)

    await deliver(plain, JOINED, store=store)
    assert seen[0].transaction is None


async def test_a_store_without_transactions_stops_the_start() -> None:
    with pytest.raises(SettingsError, match=r"store\.url: the worker attendance is transactional"):
        await deliver(attendance, JOINED, store=MemoryStore())


def test_a_transactional_function_takes_its_delivery() -> None:
    with pytest.raises(TypeError, match="takes no Delivery"):

        @worker(ParticipantJoined, transactional=True)
        async def attendance(event: ParticipantJoined) -> None: ...


async def test_a_full_disk_uses_up_no_attempt(store: SqliteStore, database: Database) -> None:
    @worker(ParticipantJoined, queue="large", transactional=True, retry=Backoff(first_s=0, attempts=2))
    async def large(event: ParticipantJoined, delivery: Delivery) -> None:
        delivery.transaction.execute(INSERT, (event.id + "x" * 1_000_000,))

    (pages,) = await database.run(lambda connection: connection.execute("PRAGMA page_count").fetchone())
    await database.run(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 2}"))
    for _ in range(3):
        assert await deliver(large, JOINED, store=store) == Again(STORE_RETRY_S, 1, "unreachable")
    await database.run(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 10_000}"))
    assert await deliver(large, JOINED, store=store) == Done()
