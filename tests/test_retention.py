"""What the history keeps and drops, and at what cost. Each broker has its own part."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from hookline.broker.embedded import history_tables as tables
from hookline.broker.embedded.broker import EmbeddedBroker
from hookline.broker.embedded.publisher import Limits
from hookline.broker.rabbitmq import history as rabbitmq_history
from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.schemas import topics
from hookline.schemas.broker import NOTHING_KEPT, Broker, Retention
from hookline.schemas.errors import NotDurable, SettingsError
from hookline.sqlite.database import Database
from tests.contract.installations import (
    envelope,
    eventually,
    opened_rabbitmq,
    publishes,
    queue_name,
    raw_channel,
    taken,
)

KEPT = Retention(enabled=True)
HOUR_S = 3600


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_s, UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(tmp_path: Path, clock: Clock) -> AsyncIterator[Database]:
    database = await Database.open(tmp_path / "queues.db", clock)
    yield database
    await database.close()


async def bodies(broker: Broker, clock: Clock) -> list[int]:
    """The numbers of the kept events."""
    found: list[int] = []
    async with aclosing(broker.history.read(datetime.fromtimestamp(0, UTC), clock.now)) as pages:
        async for page in pages:
            found += [int(each.body) for each in page]
    return found


async def publish(broker: Broker, clock: Clock, numbers: range) -> None:
    for number in numbers:
        clock.now_s += 1
        await broker.publisher.publish(envelope(received_at=clock.now, body=b"%0100d" % number))


async def test_events_that_are_too_old_are_dropped_when_a_new_one_arrives(database: Database, clock: Clock) -> None:
    broker = EmbeddedBroker(database, Limits(retention=Retention(enabled=True, max_age_s=HOUR_S)))
    await publish(broker, clock, range(3))
    clock.now_s += HOUR_S - 2
    await publish(broker, clock, range(3, 4))
    assert await bodies(broker, clock) == [1, 2, 3]


async def test_the_oldest_events_are_dropped_when_the_history_is_too_large(database: Database, clock: Clock) -> None:
    broker = EmbeddedBroker(database, Limits(retention=Retention(enabled=True, max_bytes=10_000)))
    await publish(broker, clock, range(100))
    kept = await bodies(broker, clock)
    assert kept == list(range(100 - len(kept), 100))
    assert 5 <= len(kept) <= 30


async def test_an_event_dropped_from_the_history_stays_in_its_queue(database: Database, clock: Clock) -> None:
    broker = EmbeddedBroker(database, Limits(retention=Retention(enabled=True, max_age_s=1)))
    queue = await broker.subscribe(queue_name(), ("#",), 10)
    await publish(broker, clock, range(3))
    clock.now_s += 1  # less than a lease
    await publish(broker, clock, range(3, 4))
    assert await bodies(broker, clock) == [3]
    assert [int(each.body) for each in await taken(queue, 4)] == [0, 1, 2, 3]
    await broker.close()


async def test_an_event_that_nothing_needs_is_deleted_from_the_file(database: Database, clock: Clock) -> None:
    broker = EmbeddedBroker(database, Limits(retention=Retention(enabled=True, max_age_s=60)))
    await broker.publisher.publish(envelope(received_at=clock.now))
    await database.run(lambda connection: connection.execute("UPDATE envelopes SET waiting = 1"))  # only the history
    clock.now_s += HOUR_S
    await publish(broker, clock, range(1))
    assert await database.run(lambda c: c.execute("SELECT count(*) FROM envelopes").fetchone()[0]) == 1


async def test_a_history_that_was_switched_off_is_dropped_by_age(database: Database, clock: Clock) -> None:
    keeping = EmbeddedBroker(database, Limits(retention=KEPT))
    await publish(keeping, clock, range(3))
    plain = EmbeddedBroker(database)
    await publish(plain, clock, range(3, 4))
    assert await bodies(plain, clock) == [0, 1, 2]
    clock.now_s += NOTHING_KEPT.max_age_s
    await publish(plain, clock, range(4, 5))
    with pytest.raises(SettingsError, match=r"history\.enabled"):
        await bodies(plain, clock)


async def test_the_history_does_not_count_against_the_size_limit(database: Database, clock: Clock) -> None:
    limits = Limits(max_bytes=2**20, retention=Retention(enabled=True, max_bytes=20 * 2**20))
    broker = EmbeddedBroker(database, limits)
    for _ in range(40):
        await broker.publisher.publish(envelope(received_at=clock.now, body=bytes(100_000)))


async def test_feeding_events_is_refused_beyond_the_size_limit(database: Database, clock: Clock) -> None:
    broker = EmbeddedBroker(database, Limits(max_bytes=2**20))
    page = [envelope(received_at=clock.now, body=bytes(100_000)) for _ in range(5)]
    for _ in range(2):
        await broker.history.feed("q", page, {})
    with pytest.raises(NotDurable, match="size limit"):
        await broker.history.feed("q", page, {})


async def test_reading_and_dropping_search_by_key_and_scan_no_large_table(database: Database) -> None:
    asked: list[str] = []

    def step(connection: sqlite3.Connection) -> list[str]:
        connection.set_trace_callback(asked.append)
        tables.read(connection, after=(1.0, 0), until_s=2.0, last=9, limit=5)
        tables.drop(connection, retention=KEPT, at_most=5)
        connection.set_trace_callback(None)
        plans = [connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall() for statement in asked]
        return [str(row[3]) for plan in plans for row in plan]

    steps = await database.run(step)
    assert any("history" in each for each in asked)
    assert [each for each in steps if "TEMP B-TREE" in each] == []
    # A row of values without a table, its one row, and the head of what is ordered by the key.
    small = {"SCAN CONSTANT ROW", "SCAN history_size", "SCAN history"}
    assert {each for each in steps if each.startswith("SCAN")} <= small


@pytest.fixture
async def rabbitmq(rabbitmq_url: str) -> AsyncIterator[RabbitMQBroker]:
    async with opened_rabbitmq(RabbitMQSettings(rabbitmq_url, retention=KEPT)) as broker:
        yield broker


async def test_an_event_that_only_the_stream_took_is_not_durable(rabbitmq_url: str, rabbitmq: RabbitMQBroker) -> None:
    full: dict[str, Any] = {"x-max-length": 0, "x-overflow": "reject-publish"}
    async with raw_channel(rabbitmq_url) as channel:
        declared = await channel.queue_declare(exclusive=True, arguments=full)
        await channel.queue_bind(str(declared.queue), topics.EXCHANGE, "#")
        with pytest.raises(NotDurable, match="refused"):
            await rabbitmq.publisher.publish(envelope())


async def test_a_retention_other_than_the_streams_is_refused(rabbitmq_url: str, rabbitmq: RabbitMQBroker) -> None:
    other = Retention(enabled=True, max_age_s=HOUR_S)
    with pytest.raises(SettingsError, match=r"hookline\.history.*let history\.max_age_s and history\.max_bytes be"):
        await RabbitMQBroker.open(RabbitMQSettings(rabbitmq_url, retention=other))
    assert rabbitmq.publisher.ready


async def test_foreign_messages_in_the_stream_are_skipped(rabbitmq_url: str, rabbitmq: RabbitMQBroker) -> None:
    event = envelope(received_at=datetime.now(UTC))
    naive = {"cloudEvents_id": "x", "cloudEvents_source": "/hookline/krtc/main", "cloudEvents_type": "t"}
    naive |= dict.fromkeys(("cloudEvents_time", "hookline-received-at"), "2026-01-01T00:00:00")
    async with raw_channel(rabbitmq_url) as channel:
        for headers in ({}, {"hookline-end": "another"}, {**naive, "cloudEvents_subject": ""}):
            properties = Basic.Properties(delivery_mode=2, headers={**headers})
            await channel.basic_publish(b"\xff", exchange=topics.RECEIVED, properties=properties)
    await rabbitmq.publisher.publish(event)
    since = datetime.now(UTC) - timedelta(hours=1)
    async with aclosing(rabbitmq.history.read(since, datetime.now(UTC))) as pages:
        assert [each async for page in pages for each in page] == [event]


async def test_reading_ends_although_the_server_has_dropped_the_first_end_marker(
    rabbitmq: RabbitMQBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dropping(rabbitmq_history._EndMarker):  # noqa: SLF001  the server drops whole segments, of megabytes
        dropped = 0

        def is_in(self, message: DeliveredMessage) -> bool:
            found = super().is_in(message)
            self.dropped += found
            return found and self.dropped > 1

    monkeypatch.setattr(rabbitmq_history, "_EndMarker", Dropping)
    monkeypatch.setattr(rabbitmq_history, "_MARK_AGAIN_S", 0)
    event = envelope(received_at=datetime.now(UTC))
    await rabbitmq.publisher.publish(event)
    async with aclosing(rabbitmq.history.read(event.received_at, datetime.now(UTC))) as pages:
        assert [each async for page in pages for each in page] == [event]


async def test_publishing_recovers_after_the_received_exchange_was_deleted(
    rabbitmq_url: str, rabbitmq: RabbitMQBroker
) -> None:
    async with raw_channel(rabbitmq_url) as channel:
        await channel.exchange_delete(topics.RECEIVED)
    with pytest.raises(NotDurable):
        await rabbitmq.publisher.publish(envelope())
    queue = await rabbitmq.subscribe(queue_name(), ("#",), 1)
    await eventually(publishes(rabbitmq))
    await taken(queue)
