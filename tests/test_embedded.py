"""What only the embedded broker has: one file, whose cost does not grow with what is in it."""

import asyncio
import errno
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

from hookline.broker.embedded import broker as broker_module
from hookline.broker.embedded import partitions, tables
from hookline.broker.embedded.broker import EmbeddedBroker
from hookline.broker.embedded.publisher import Limits
from hookline.schemas.broker import NOTHING_KEPT, Again, Done, Parked, Received
from hookline.schemas.errors import NotDurable, Unreachable
from hookline.schemas.topics import PARTITION_WORDS
from hookline.sqlite import log as sqlite_log
from hookline.sqlite.database import Database
from hookline.workers.store import Acquired
from hookline.workers.stores.sqlite.store import SqliteStore
from tests.contract.installations import EmbeddedInstallation, envelope, eventually, put_in_queues, taken

ALL = ("#",)
TICK_S = 0.001


class Clock:
    """Advances by a tick at each reading."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        self.now_s += TICK_S
        return self.now_s


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(tmp_path / "queues.db", monotonic=Clock())
    yield database
    await database.close()


async def in_table(database: Database, table: str, queue: str) -> int:
    """How many rows the queue has in a table."""
    statement = f"SELECT count(*) FROM {table} WHERE queue = ?"  # noqa: S608
    return int((await database.run(lambda each: each.execute(statement, (queue,)).fetchone()))[0])


@pytest.mark.parametrize(("limit", "moved"), [(10, 1000), (1200, 1200)])
async def test_very_many_messages_that_are_due_are_moved_in_steps(database: Database, limit: int, moved: int) -> None:

    def fill(connection: sqlite3.Connection) -> None:
        put_in_queues(connection, ["hookline.q"], 2500)
        connection.execute("INSERT INTO delayed SELECT queue, seq % 7, seq, 2 FROM deliveries")
        connection.execute("DELETE FROM deliveries")

    await database.run(fill)
    take = partial(tables.take, queue="hookline.q", owner=database.owner)
    tokens = [each.token for each in await database.run(partial(take, limit=limit))]
    assert len(tokens) == limit
    assert await in_table(database, "deliveries", "hookline.q") == moved
    assert await in_table(database, "delayed", "hookline.q") == 2500 - moved
    while received := await database.run(partial(take, limit=700)):
        tokens += [each.token for each in received]
    assert sorted(tokens) == [*range(1, 2501)]


async def test_a_worker_that_is_no_longer_ordered_gets_a_long_backlog_in_steps(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"hookline.q.{word}" for word in PARTITION_WORDS[:3]]
    await database.run(lambda connection: put_in_queues(connection, names[:1], 700))
    await database.run(lambda connection: put_in_queues(connection, names, 500))
    run, left = database.run, [2200]

    async def counted(step: Any, **options: Any) -> Any:
        answer = await run(step, **options)
        count = "SELECT count(*) FROM deliveries WHERE queue GLOB 'hookline.q.*'"
        left.append((await run(lambda each: each.execute(count).fetchone()))[0])
        return answer

    monkeypatch.setattr(database, "run", counted)
    broker = EmbeddedBroker(database)
    await broker.subscribe("q", ALL, 1)
    monkeypatch.undo()
    assert left[-1] == 0
    assert max(before - after for before, after in pairwise(left)) == partitions.MAX_MOVED
    assert await in_table(database, "deliveries", "hookline.q") == 1200
    await broker.close()


async def test_a_delayed_message_comes_again_whenever_it_falls_due(database: Database) -> None:
    broker = EmbeddedBroker(database)
    queue = await broker.subscribe("q", ALL, 200)
    await asyncio.gather(*(broker.publisher.publish(envelope()) for _ in range(200)))
    for number, received in enumerate(await taken(queue, 200)):
        await queue.settle(received, Again((number + 0.5) * TICK_S, 2, "not yet"))
    assert len({received.token for received in await taken(queue, 200)}) == 200
    await broker.close()


async def test_messages_that_are_done_are_deleted_together(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    settled: list[int] = []
    exchange = tables.exchange

    def counted(connection: sqlite3.Connection, **arguments: Any) -> tuple[list[Received], set[int]]:
        settled.append(len(arguments["settled"]))
        return exchange(connection, **arguments)

    monkeypatch.setattr(tables, "exchange", counted)
    monkeypatch.setattr("hookline.broker.embedded.broker._POLL_S", 60.0)
    broker = EmbeddedBroker(database)
    queue = await broker.subscribe("q", ALL, 40)
    await asyncio.gather(*(broker.publisher.publish(envelope()) for _ in range(80)))
    for _ in range(80):
        await queue.settle(await queue.take(), Done())
        await database.run(lambda connection: connection.execute("SELECT 1"))  # time for an exchange
    await queue.close()
    assert sum(settled) == 80
    assert len([count for count in settled if count]) <= 10
    await broker.close()


async def take_after(faults: Sequence[Exception], database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish an event, and take it from a queue whose first exchanges with the file fail with these."""
    left, exchange = list(faults), tables.exchange

    def failing_at_first(connection: sqlite3.Connection, **arguments: Any) -> tuple[list[Received], set[int]]:
        if left:
            raise left.pop()
        return exchange(connection, **arguments)

    monkeypatch.setattr(tables, "exchange", failing_at_first)
    broker = EmbeddedBroker(database)
    queue = await broker.subscribe("q", ALL, 1)
    await broker.publisher.publish(envelope())
    await taken(queue)
    await broker.close()


async def test_a_fault_of_the_file_that_lasts_is_logged_once_and_so_is_its_end(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("hookline.broker.embedded.broker._POLL_S", 0.001)
    await take_after([OSError(errno.ENOSPC, "the disk is full")] * 20, database, monkeypatch)
    assert [record.getMessage() for record in caplog.records] == [
        "hookline.q: queues.db cannot be used: the disk is full",
        "hookline.q: its file can be used again",
    ]


async def test_the_log_says_when_events_cannot_be_written_and_when_they_can_again(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "the disk is full")

    broker = EmbeddedBroker(database)
    with monkeypatch.context() as patch:
        patch.setattr(tables, "check_room", full)
        for _ in range(3):
            with pytest.raises(NotDurable):
                await broker.publisher.publish(envelope())
    for _ in range(3):
        await broker.publisher.publish(envelope())
    written = [record.getMessage() for record in caplog.records if "written" in record.getMessage()]
    assert written == [
        "events cannot be written: queues.db cannot be used: the disk is full",
        "events can be written again",
    ]
    await broker.close()


async def test_a_queue_goes_on_after_an_error_that_nobody_expected(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await take_after([TypeError("s3cret")] * 5, database, monkeypatch)
    (logged,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert logged.startswith("hookline.q: TypeError in ")


async def test_made_up_names_of_types_fill_no_log(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    broker = EmbeddedBroker(database)
    made_up = [msgspec.structs.replace(envelope(), event_type=f"unknown.x{number}") for number in range(6000)]
    for first in range(0, len(made_up), 500):
        await asyncio.gather(*(broker.publisher.publish(each) for each in made_up[first : first + 500]))
    lines = [record.getMessage() for record in caplog.records if "no queue wants" in record.getMessage()]
    assert len(lines) < 100
    assert lines[-1].startswith("no queue wants more topics of ")
    await broker.close()


async def refuse(*_: object, **__: object) -> None:
    """Stands for `Database.run`."""
    raise Unreachable("queues.db cannot be used: the disk is full")


async def test_a_file_that_stays_unreachable_fills_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(broker_module, "_POLL_S", 0.001)
    database = await Database.open(tmp_path / "queues.db")
    broker = EmbeddedBroker(database)
    queues = [await broker.subscribe(name, ALL, 1) for name in ("first", "second", "third")]
    run = Mock(side_effect=refuse)

    async def tried() -> bool:
        return run.call_count > 10 and not any(queue.attached for queue in queues)

    with monkeypatch.context() as full:
        full.setattr(database, "run", run)
        await eventually(tried)
        await queues[0].close()

    async def attached() -> bool:
        return all(queue.attached for queue in queues[1:])

    await eventually(attached)
    fault, end = [record.message for record in caplog.records]
    assert fault.endswith(": queues.db cannot be used: the disk is full")
    assert end.endswith(": its file can be used again")
    await broker.close()
    await database.close()


async def test_a_disk_that_fails_now_and_then_fills_no_log(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    publisher = EmbeddedBroker(database).publisher
    for _ in range(3):
        await publisher.publish(envelope())
        with monkeypatch.context() as full:
            full.setattr(database, "join", Mock(side_effect=Unreachable("queues.db cannot be used: disk I/O error")))
            with pytest.raises(NotDurable):
                await publisher.publish(envelope())
    assert [record.message for record in caplog.records if "written" in record.message] == [
        "events cannot be written: queues.db cannot be used: disk I/O error",
        "events can be written again",
    ]
    await publisher.close()


class Disk:
    """Fails to sync while `fails` is set, after the transaction was written. Counts how often."""

    def __init__(self) -> None:
        self.fails = False
        self.failed = 0

    def sync(self, descriptor: int) -> None:
        if self.fails:
            self.failed += 1
            raise OSError(errno.EIO, "Input/output error")
        os.fsync(descriptor)

    async def is_failing(self) -> bool:
        return self.failed > 0


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(sqlite_log, "sync", disk.sync)
    return disk


async def test_what_was_taken_in_a_step_that_could_not_be_synced_comes_again(database: Database, disk: Disk) -> None:
    broker = EmbeddedBroker(database)
    queue = await broker.subscribe("q", ALL, 1)
    for number in (1, 2):
        await broker.publisher.publish(envelope(number=number))
    first = await queue.take()
    disk.fails = True
    queue.done([first])
    await eventually(disk.is_failing)
    disk.fails = False
    second = await asyncio.wait_for(queue.take(), 60)
    assert second.token != first.token
    await broker.close()


async def test_what_could_not_be_put_back_is_taken_by_the_next_subscription(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = EmbeddedBroker(database)
    queue = await broker.subscribe("q", ALL, 1)
    await broker.publisher.publish(envelope())
    received = await queue.take()
    with monkeypatch.context() as full:
        full.setattr(database, "run", refuse)
        await queue.close()
    again = await broker.subscribe("q", ALL, 1)
    assert (await asyncio.wait_for(again.take(), 60)).token == received.token
    await broker.close()


async def test_what_could_not_be_put_back_goes_to_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "_PUT_BACK_EVERY_S", 0.01)
    database, other_database = [await Database.open(tmp_path / "queues.db") for _ in range(2)]
    broker, other = EmbeddedBroker(database), EmbeddedBroker(other_database)
    await broker.declare_partitions("q", ALL)
    queue = await broker.subscribe("q", ALL, 1, "p00")
    envelopes = [envelope(subject=f"room-{number}") for number in range(200)]
    await asyncio.gather(*(broker.publisher.publish(each) for each in envelopes))
    received = await queue.take()
    with monkeypatch.context() as full:
        full.setattr(database, "run", refuse)
        await queue.close()
    next_queue = await other.subscribe("q", ALL, 1, "p00")
    assert (await asyncio.wait_for(next_queue.take(), 60)).token == received.token
    for each in (broker, other):
        await each.close()
    for opened in (database, other_database):
        await opened.close()


async def test_a_dead_letter_is_surely_one_though_its_first_sync_failed(database: Database, disk: Disk) -> None:
    broker = EmbeddedBroker(database)
    queue = await broker.subscribe("q", ALL, 1)
    await broker.publisher.publish(envelope())
    received = await queue.take()
    disk.fails = True
    parking = asyncio.create_task(queue.settle(received, Parked("failed", "why", 1)))
    await eventually(disk.is_failing)
    disk.fails = False
    assert await parking
    await broker.close()


async def test_an_error_text_with_lone_surrogates_is_parked(tmp_path: Path) -> None:
    installation = EmbeddedInstallation(tmp_path / "queues.db")
    async with installation.opened() as broker:
        queue = await broker.subscribe("q", ALL, 10)
        await broker.publisher.publish(envelope())
        (received,) = await taken(queue)
        await queue.settle(received, Parked("failed", "ValueError: \ud800", 1))
        await queue.close()
    (dead_letter,) = await installation.dead("q")
    assert dead_letter.detail == "ValueError: \\ud800"


async def test_a_rolled_back_binding_routes_nothing(database: Database) -> None:
    router = tables.Router()

    def store(connection: sqlite3.Connection, *, bound: str) -> None:
        tables.bind(connection, queue=bound, patterns=set(ALL))
        router.store(connection, tables.state(connection), envelopes=[envelope()], retention=NOTHING_KEPT)
        if bound == "in vain":
            raise ValueError(bound)

    with pytest.raises(ValueError, match="in vain"):
        await database.run(partial(store, bound="in vain"))
    await database.run(partial(store, bound="q"))
    assert await database.run(lambda c: c.execute("SELECT queue FROM deliveries").fetchall()) == [("q",)]


async def test_a_publish_that_takes_too_long_is_refused(database: Database) -> None:
    broker = EmbeddedBroker(database, Limits(publish_timeout_s=0))
    with pytest.raises(NotDurable, match="not written in time"):
        await broker.publisher.publish(envelope())
    await broker.close()


async def test_publishing_recovers_after_one_timed_out(database: Database) -> None:
    broker = EmbeddedBroker(database, Limits(publish_timeout_s=0.2))
    held_up = asyncio.Event()
    blocking = asyncio.create_task(
        database.run(lambda _: asyncio.run_coroutine_threadsafe(held_up.wait(), loop).result())
    )
    loop = asyncio.get_running_loop()
    with pytest.raises(NotDurable, match="not written in time"):
        await broker.publisher.publish(envelope())
    held_up.set()
    await blocking
    await broker.publisher.publish(envelope())
    await broker.close()


async def test_closing_waits_for_publishes_in_flight(database: Database) -> None:
    broker = EmbeddedBroker(database)
    publishing = asyncio.create_task(broker.publisher.publish(envelope()))
    await asyncio.sleep(0)
    await broker.close()
    assert publishing.done()


async def test_statements_for_an_event_search_by_key_and_scan_no_large_table(database: Database) -> None:
    broker = EmbeddedBroker(database)
    store = SqliteStore(database)
    queue = await broker.subscribe("q", ALL, 10)
    asked: list[str] = []
    await database.run(lambda connection: connection.set_trace_callback(asked.append))
    await asyncio.gather(*(broker.publisher.publish(envelope()) for _ in range(3)))
    for received in await taken(queue, 3):
        event_id = received.headers["cloudEvents_id"]
        assert await store.claim("q", event_id) == Acquired()
        await store.finish("q", event_id, subject="room", occurred_s=1)
        await queue.settle(received, Done())
    await queue.close()
    await database.run(lambda connection: connection.set_trace_callback(None))
    plans = await database.run(lambda connection: [step for each in asked for step in plan(connection, each)])
    assert {"SEARCH", "SCAN"} <= {step.split()[0] for step in plans}
    assert [step for step in plans if "TEMP B-TREE" in step] == []
    small = {
        "owners",
        "lease_clock",
        "retry_clock",
        "alive",
        "bindings",
        "bindings_version",
        "history_size",
        "sqlite_sequence",
        "json_each",
        "asked",
        "pragma_page_count",  # one row each
        "pragma_page_size",
    }
    scanned = {step.split()[1] for step in plans if step.startswith("SCAN") and not is_of_values(step)}
    assert scanned <= small


def is_of_values(step: str) -> bool:
    """Whether a step of a plan reads rows that the statement spells out; versions of SQLite say it differently.

    A subquery has steps of its own in the plan, which say what it reads.
    """
    return "CONSTANT ROW" in step or "VALUES CLAUSE" in step or step.startswith("SCAN (subquery")


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    if not statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
        return []
    return [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
