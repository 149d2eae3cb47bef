"""The history on RabbitMQ: a stream of everything received, read from a time on and fed to workers again."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from aiormq.abc import AbstractChannel, DeliveredMessage

from hookline.broker.rabbitmq.connection import Connection, RabbitMQSettings, bounded, open_channel
from hookline.broker.rabbitmq.publisher import RabbitMQPublisher
from hookline.broker.rabbitmq.topology.bindings import bound_to
from hookline.broker.rabbitmq.topology.queue_depth import exists
from hookline.broker.rabbitmq.wire.encode import Message
from hookline.schemas import topics
from hookline.schemas.envelope import Envelope, envelope_of, to_headers
from hookline.schemas.errors import SettingsError

_PAGE = 64
_SILENCE_S = 30.0
_CLOCKS_APART = timedelta(minutes=5)
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # AMQP has no time before 1970
_END = "hookline-end"
_MARK_AGAIN_S = 60.0


class RabbitMQHistory:
    """Implements `schemas.broker.History`.

    AMQP does not give the length of a stream. A reader publishes an end marker first, and has read everything that was
    kept at that time when the marker arrives. It begins to read before the marker, also for a time in the future.
    """

    def __init__(self, connection: Connection, publisher: RabbitMQPublisher, settings: RabbitMQSettings) -> None:
        self._connection = connection
        self._publisher = publisher
        self._settings = settings

    async def wanted_by(self, queue: str) -> frozenset[str]:
        return await bound_to(self._connection.require(), topics.check_queue(queue), self._settings.connect_timeout_s)

    async def read(self, since: datetime, until: datetime) -> AsyncGenerator[Sequence[Envelope], None]:
        """The server seeks by the time at which it took an event, which is later than its receipt, by its own clock."""
        timeout_s = self._settings.connect_timeout_s
        connection = self._connection.require()
        if not await exists(connection, topics.HISTORY, timeout_s):
            raise SettingsError("history.enabled: it is off, and nothing was kept")
        end = _EndMarker(self._publisher)
        await end.publish()
        async with open_channel(connection, timeout_s) as channel:
            reader = _Reader(channel, timeout_s)
            await reader.open(min(max(since, _EARLIEST), datetime.now(UTC)) - _CLOCKS_APART)
            ended = False
            while not ended:
                messages = await reader.page()
                envelopes = [envelope for message in messages if (envelope := _envelope(message)) is not None]
                ended = any(map(end.is_in, messages))
                yield [envelope for envelope in envelopes if since <= envelope.received_at <= until]
                await end.publish_again()
                await reader.go_on()

    async def feed(self, queue: str, envelopes: Sequence[Envelope], headers: Mapping[str, str]) -> None:
        name = topics.queue_name(queue)
        messages = [
            Message("", name, {**to_headers(envelope), **headers}, envelope.content_type, envelope.body)
            for envelope in envelopes
        ]
        at_once = max(1, self._settings.max_in_flight // 2)
        for start in range(0, len(messages), at_once):
            await asyncio.gather(*(self._publisher.send(message) for message in messages[start : start + at_once]))


class _EndMarker:
    """A message in the stream that one reader knows.

    It is published again each minute: a reader that takes very long may come to its place after the server has dropped
    the oldest events, and the marker with them.
    """

    def __init__(self, publisher: RabbitMQPublisher) -> None:
        self._publisher = publisher
        self._message = Message("", topics.HISTORY, {_END: uuid4().hex}, "", b"")
        self._published_s = 0.0

    async def publish(self) -> None:
        self._published_s = time.monotonic()
        await self._publisher.send(self._message)

    async def publish_again(self) -> None:
        """Publish it if that was more than a minute ago."""
        if time.monotonic() - self._published_s >= _MARK_AGAIN_S:
            await self.publish()

    def is_in(self, message: DeliveredMessage) -> bool:
        return _headers(message).get(_END) == self._message.headers[_END]


class _Reader:
    """Reads the stream in pages. The server sends at most two pages ahead."""

    def __init__(self, channel: AbstractChannel, timeout_s: float) -> None:
        self._channel = channel
        self._timeout_s = timeout_s
        self._buffer: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        self._read = 0

    async def open(self, since: datetime) -> None:
        async def arrived(message: DeliveredMessage) -> None:
            self._buffer.put_nowait(message)

        async with bounded(self._timeout_s, f"reading {topics.HISTORY}"):
            await self._channel.basic_qos(prefetch_count=2 * _PAGE)
            await self._channel.basic_consume(topics.HISTORY, arrived, arguments={"x-stream-offset": since})

    async def page(self) -> list[DeliveredMessage]:
        """At least one message. Raises Unreachable if none arrives: the connection or the stream is gone."""
        async with bounded(_SILENCE_S, f"reading {topics.HISTORY}"):
            messages = [await self._buffer.get()]
        while len(messages) < _PAGE and not self._buffer.empty():
            messages.append(self._buffer.get_nowait())
        self._read = messages[-1].delivery_tag or 0
        return messages

    async def go_on(self) -> None:
        """Acknowledge the page, so that the server sends more."""
        async with bounded(self._timeout_s, f"reading {topics.HISTORY}"):
            await self._channel.basic_ack(self._read, multiple=True, wait=False)


def _headers(message: DeliveredMessage) -> Mapping[str, Any]:
    return message.header.properties.headers or {}


def _envelope(message: DeliveredMessage) -> Envelope | None:
    """None for the end marker of a reader, and for a message that was not sealed by us."""
    return envelope_of(_headers(message), message.header.properties.content_type or "", message.body)
