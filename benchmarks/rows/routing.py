"""What RabbitMQ spends on routing: the same events through a topic exchange, exact keys, and the queue's name."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

import aio_pika
from pamqp.common import FieldTable

from benchmarks import filling
from benchmarks.accounting import Meter
from benchmarks.figures import Comparison, Measured, Row
from benchmarks.run import Run
from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.broker.rabbitmq.publisher import RabbitMQPublisher
from hookline.broker.rabbitmq.wire.encode import Message
from hookline.schemas.envelope import Envelope, to_headers

_TOPIC, _DIRECT, _QUEUE = "routing.topic", "routing.direct", "routing.queue"
_IN_FLIGHT = 256

Address = Callable[[Envelope], tuple[str, str]]
"""The exchange and the routing key of an event."""


def exact_keys(run: Run) -> Iterator[Row]:
    """RabbitMQ's CPU for one event. The direct exchange has a binding for each routing key that occurs."""
    envelopes = list(run.callbacks.envelopes(run.installation().sources, run.extent.events))
    yield from filling.run_async(_rows(run, envelopes))


async def _rows(run: Run, envelopes: Sequence[Envelope]) -> list[Row]:
    ways: dict[str, Address] = {
        "direct": lambda envelope: (_DIRECT, envelope.routing_key),
        "topic": lambda envelope: (_TOPIC, envelope.routing_key),
        "name": lambda _: ("", _QUEUE),
    }
    measured: dict[str, list[Measured]] = {name: [] for name in ways}
    keys = {envelope.routing_key for envelope in envelopes}
    async with await aio_pika.connect(run.servers.amqp_url) as connection:
        queue = await _declare(await connection.channel(), keys)
        broker = await RabbitMQBroker.open(RabbitMQSettings(run.servers.amqp_url))
        try:
            for _ in range(run.extent.rounds):
                for name, address in ways.items():
                    measured[name].append(await _publish(run, broker.publisher, envelopes, address))
                    await queue.purge()
        finally:
            await broker.close()
    by_topic = measured["topic"]
    return [
        Comparison(f"{len(keys)} exact keys", measured["direct"], "topic exchange", by_topic).cpu(),
        Comparison("the queue's name", measured["name"], "topic exchange", by_topic).cpu(),
    ]


async def _declare(channel: aio_pika.abc.AbstractChannel, keys: set[str]) -> aio_pika.abc.AbstractQueue:
    queue = await channel.declare_queue(_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    topic = await channel.declare_exchange(_TOPIC, aio_pika.ExchangeType.TOPIC, durable=True)
    await queue.bind(topic, "#")
    behind: FieldTable = {"alternate-exchange": _TOPIC}
    direct = await channel.declare_exchange(_DIRECT, aio_pika.ExchangeType.DIRECT, durable=True, arguments=behind)
    for key in keys:
        await queue.bind(direct, key)
    return queue


async def _publish(run: Run, publisher: RabbitMQPublisher, envelopes: Sequence[Envelope], address: Address) -> Measured:
    """Publish all events, with so many in flight. The CPU time is RabbitMQ's."""
    messages = [
        Message(*address(envelope), to_headers(envelope), envelope.content_type, envelope.body)
        for envelope in envelopes
    ]
    meter, started_s = Meter(run.servers.groups()), time.monotonic()
    for first in range(0, len(messages), _IN_FLIGHT):
        await asyncio.gather(*map(publisher.send, messages[first : first + _IN_FLIGHT]))
    seconds = time.monotonic() - started_s
    return Measured(events=len(messages), seconds=seconds, cpu_s={"program": meter.spent_s()["rabbitmq"]})
