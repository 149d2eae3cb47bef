"""An installation of each broker for tests: opened like by several processes, and inspected past the protocol."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelPreconditionFailed

from hookline.broker.embedded import tables
from hookline.broker.embedded.broker import EmbeddedBroker
from hookline.broker.embedded.publisher import Limits
from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.broker.rabbitmq.names import REGISTER, bindings_name, retry_name
from hookline.broker.rabbitmq.topology.register import registered
from hookline.broker.rabbitmq.topology.retry_queues import delay_step_ms
from hookline.schemas import topics
from hookline.schemas.broker import NOTHING_KEPT, Broker, Received, Retention
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable
from hookline.sqlite.database import Database
from tests.services.rabbitmq import server_url

_POLL_S = 0.02
_TIMEOUT_S = 10.0
_LONGEST_MS = 3600 * 1000  # that a test has an event wait


@dataclass(frozen=True, slots=True)
class ParkedMessage:
    headers: Mapping[str, Any]
    body: bytes
    reason: str
    detail: str
    attempts: int


class Inspect(Protocol):
    """What only tests need to see. Names are the broker's, from `schemas.topics`."""

    async def depth(self, name: str) -> int:
        """How many messages of a queue are ready."""

    async def dead(self, queue: str) -> list[ParkedMessage]:
        """The dead letters of a worker's queue, oldest first. May be looked at once."""


class Installation(Inspect, Protocol):
    """Queues that outlive the brokers that are opened on them."""

    address: str

    def opened(
        self, max_in_flight: int = 1000, retention: Retention = NOTHING_KEPT
    ) -> AbstractAsyncContextManager[Broker]:
        """Open a broker like another process would."""


class EmbeddedInstallation:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.address = f"sqlite:{path}"

    def opened(
        self, max_in_flight: int = 1000, retention: Retention = NOTHING_KEPT
    ) -> AbstractAsyncContextManager[Broker]:
        return opened(self.address, max_in_flight, retention)

    async def depth(self, name: str) -> int:
        worker, _, dead = name.removesuffix(".dead"), name, name.endswith(".dead")
        statement = (
            "SELECT count(*) FROM dead WHERE queue = ?"
            if dead
            else "SELECT count(*) FROM deliveries WHERE queue = ? AND owner IS NULL"
        )
        return int(self._rows(statement, worker)[0][0])

    async def dead(self, queue: str) -> list[ParkedMessage]:
        rows = self._rows(
            "SELECT e.headers, e.body, d.reason, d.detail, d.attempts FROM dead d JOIN envelopes e USING (seq) "
            "WHERE d.queue = ? ORDER BY d.seq",
            topics.queue_name(queue),
        )
        return [ParkedMessage(json.loads(row[0]), *row[1:]) for row in rows]

    def _rows(self, statement: str, name: str) -> list[Any]:
        connection = sqlite3.connect(self._path)
        try:
            return connection.execute(statement, (name,)).fetchall()
        finally:
            connection.close()


class RabbitMQInstallation:
    def __init__(self, url: str) -> None:
        self.address = url

    def opened(
        self, max_in_flight: int = 1000, retention: Retention = NOTHING_KEPT
    ) -> AbstractAsyncContextManager[Broker]:
        return opened(self.address, max_in_flight, retention)

    async def clear(self) -> None:
        """Delete everything that earlier tests declared, since some use the same names.

        RabbitMQ answers only the last deletions. It carries out those of a channel in order.
        """
        async with raw_channel(self.address) as channel:
            for queue in await registered(channel.connection, _TIMEOUT_S):
                for name in _names_of(queue):
                    await channel.queue_delete(name, nowait=True)
            await channel.queue_delete(REGISTER)
            await channel.exchange_delete(topics.EXCHANGE)
            await channel.exchange_delete(topics.UNROUTED)
            await channel.queue_delete(topics.UNROUTED)
            await channel.exchange_delete(topics.RECEIVED)
            await channel.queue_delete(topics.HISTORY)

    async def depth(self, name: str) -> int:
        async with raw_channel(self.address) as channel:
            declared = await channel.queue_declare(name, passive=True)
            return int(declared.message_count or 0)

    async def dead(self, queue: str) -> list[ParkedMessage]:
        dead_letters = []
        async with raw_channel(self.address) as channel:
            while (message := await channel.basic_get(topics.dead_name(queue), no_ack=True)).delivery_tag:
                headers: dict[str, Any] = message.header.properties.headers or {}
                reason, detail, attempts = (
                    str(headers[f"hookline-{name}"]) for name in ("reason", "detail", "attempts")
                )
                dead_letters.append(ParkedMessage(headers, message.body, reason, detail, int(attempts)))
        return dead_letters


async def fresh_rabbitmq(config: pytest.Config) -> RabbitMQInstallation:
    """This run's RabbitMQ, without anything that earlier tests declared."""
    installation = RabbitMQInstallation(server_url(config))
    await installation.clear()
    return installation


def _names_of(queue: str) -> Iterator[str]:
    """The names of all queues that a worker may have."""
    yield from (topics.queue_name(queue), topics.dead_name(queue), bindings_name(queue))
    yield from (topics.partition_name(queue, partition) for partition in topics.PARTITION_WORDS)
    delay_ms = delay_step_ms(0)
    while delay_ms < _LONGEST_MS:
        yield retry_name(queue, delay_ms)
        delay_ms = delay_step_ms((delay_ms + 1) / 1000)


@asynccontextmanager
async def opened(address: str, max_in_flight: int = 1000, retention: Retention = NOTHING_KEPT) -> AsyncIterator[Broker]:
    """The broker at an address."""
    if not address.startswith("sqlite:"):
        settings = RabbitMQSettings(address, max_in_flight=max_in_flight, retention=retention)
        async with opened_rabbitmq(settings) as rabbitmq:
            yield rabbitmq
        return
    database = await Database.open(Path(address.removeprefix("sqlite:")))
    embedded = EmbeddedBroker(database, Limits(max_in_flight=max_in_flight, retention=retention))
    try:
        yield embedded
    finally:
        await embedded.close()
        await database.close()


@asynccontextmanager
async def opened_rabbitmq(settings: RabbitMQSettings) -> AsyncIterator[RabbitMQBroker]:
    broker = await RabbitMQBroker.open(settings)
    try:
        yield broker
    finally:
        await broker.close()


@asynccontextmanager
async def raw_channel(url: str) -> AsyncIterator[AbstractChannel]:
    """A channel that bypasses our code."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        yield channel
        await channel.close()
    finally:
        await connection.close()


async def declare_anew(
    url: str, delete: Callable[[AbstractChannel], Awaitable[Any]], declare: Callable[[AbstractChannel], Awaitable[Any]]
) -> None:
    """Have another tool delete a queue or an exchange, and declare it in another form, before a process of ours does.

    Raises TimeoutError.
    """
    async with asyncio.timeout(_TIMEOUT_S):
        while True:
            with suppress(ChannelPreconditionFailed):
                async with raw_channel(url) as channel:
                    await delete(channel)
                    await declare(channel)
                return


async def eventually(condition: Callable[[], Awaitable[bool]], within_s: float = 60.0) -> None:
    """Wait until the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110  # it changes in another process
            await asyncio.sleep(_POLL_S)


def publishes(broker: Broker) -> Callable[[], Awaitable[bool]]:
    """A condition for `eventually`: an event is published."""

    async def once() -> bool:
        try:
            await broker.publisher.publish(envelope())
        except NotDurable:
            return False
        return True

    return once


async def taken(queue: Any, count: int = 1, within_s: float = 15.0) -> list[Received]:
    """Take `count` messages. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        return [await queue.take() for _ in range(count)]


def queue_name() -> str:
    """A unique name for a worker's queue."""
    return f"q-{uuid4().hex[:10]}"


_numbers = count()


def envelope(
    event_type: str = "room.created",
    *,
    number: int | None = None,
    subject: str = "room-1",
    body: bytes = b"{}",
    received_at: datetime | None = None,
) -> Envelope:
    """An envelope of the source `main` at `krtc`, with a new id unless `number` is given."""
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return Envelope(
        id=f"{next(_numbers) if number is None else number:032x}",
        provider="krtc",
        source="main",
        event_type=event_type,
        subject=subject,
        occurred_at=moment,
        received_at=received_at or moment,
        content_type="application/json",
        body=body,
    )


def put_in_queues(connection: sqlite3.Connection, queues: Iterable[str], count: int) -> None:
    """Have so many messages wait in each of these queues of the embedded broker, which are bound to every event."""
    for queue in queues:
        tables.bind(connection, queue=queue, patterns={"#"})
    events = [envelope() for _ in range(count)]
    tables.Router().store(connection, tables.state(connection), envelopes=events, retention=NOTHING_KEPT)
