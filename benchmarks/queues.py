"""The queues of a run on RabbitMQ, seen from outside: made, filled, and read to the last message."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import aio_pika
import uvloop
from aio_pika.abc import AbstractChannel

from benchmarks.faults import Worthless
from broker.rabbitmq import RabbitMQBroker
from broker.rabbitmq_link import RabbitMQSettings
from schemas import topics
from schemas.envelope import Envelope

T = TypeVar("T")

QUEUE = "bench"
ORDERED_QUEUE = "bench-ordered"
REFERENCE_QUEUE = "reference"

_FILL_AT_A_TIME = 500
_PREFETCH = 2000
_SILENCE_S = 20.0
_SETTLE_S = 0.3
_QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}


@dataclass(frozen=True, slots=True)
class Found:
    """A message as it stood in a queue: the id of its event, if it is ours, and its body."""

    id: str
    body: bytes


def make_queue(url: str) -> None:
    """Our worker's queue, wanting every event, and the queue of the references; both empty."""
    _run(_make_queue(url))


async def _make_queue(url: str) -> None:
    async with _channel(url) as channel:
        for name in (topics.queue_name(QUEUE), REFERENCE_QUEUE):
            await channel.queue_delete(name)
        await channel.declare_queue(REFERENCE_QUEUE, durable=True, arguments=_QUORUM)
    async with _broker(url) as broker:
        await broker.subscribe(QUEUE, ["#"], prefetch=1)


def copy_to_reference(url: str) -> None:
    """Let the references' queue take every event from now on, as a worker's does."""
    _run(_copy_to_reference(url))


async def _copy_to_reference(url: str) -> None:
    async with _channel(url) as channel:
        queue = await channel.get_queue(REFERENCE_QUEUE)
        await queue.bind(topics.EXCHANGE, "#")


def make_partitions(url: str) -> None:
    """The queues of our ordered worker, wanting every event; empty."""
    _run(_make_partitions(url))


async def _make_partitions(url: str) -> None:
    names = [topics.partition_name(ORDERED_QUEUE, partition) for partition in topics.PARTITION_WORDS]
    async with _channel(url) as channel:
        for name in (topics.queue_name(ORDERED_QUEUE), *names):
            await channel.queue_delete(name)
    async with _broker(url) as broker:
        await broker.declare_partitions(ORDERED_QUEUE, ["#"])


def remove(url: str, queue: str) -> None:
    """Delete a queue with all that is in it."""
    _run(_remove(url, queue))


async def _remove(url: str, queue: str) -> None:
    async with _channel(url) as channel:
        await channel.queue_delete(queue)


def fill(url: str, envelopes: Iterable[Envelope]) -> None:
    """Publish to every queue that wants them; return once all are confirmed."""
    _run(_fill(url, envelopes))


async def _fill(url: str, envelopes: Iterable[Envelope]) -> None:
    remaining = iter(envelopes)
    async with _broker(url) as broker:
        while batch := list(islice(remaining, _FILL_AT_A_TIME)):
            await asyncio.gather(*(broker.publisher.publish(envelope) for envelope in batch))


def emptied(url: str, queue: str) -> Sequence[Found]:
    """Take all that is in a queue."""
    return _run(_emptied(url, queue))


async def _emptied(url: str, queue: str) -> Sequence[Found]:
    found: list[Found] = []
    async with _channel(url) as channel:
        waiting = await _settled(channel, queue)
        await channel.set_qos(prefetch_count=_PREFETCH)
        complete = asyncio.Event()

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            found.append(Found(str(message.headers.get("cloudEvents_id", "")), message.body))
            if len(found) % (_PREFETCH // 4) == 0 or len(found) >= waiting:
                await message.channel.basic_ack(message.delivery_tag or 0, multiple=True)
            if len(found) >= waiting:
                complete.set()

        await (await channel.get_queue(queue)).consume(take)
        while waiting and not complete.is_set():
            await _progress(found, complete)
    return found


async def _settled(channel: AbstractChannel, queue: str) -> int:
    """How many messages wait, once no more come: requests that were on their way are still being published."""
    before, waiting = -1, await _waiting(channel, queue)
    while waiting != before:
        await asyncio.sleep(_SETTLE_S)
        before, waiting = waiting, await _waiting(channel, queue)
    return waiting


async def _waiting(channel: AbstractChannel, queue: str) -> int:
    declared = await channel.declare_queue(queue, passive=True)
    return declared.declaration_result.message_count or 0


async def _progress(found: Sequence[Found], complete: asyncio.Event) -> None:
    before = len(found)
    try:
        await asyncio.wait_for(complete.wait(), _SILENCE_S)
    except TimeoutError:
        if len(found) == before:
            raise Worthless("a queue gives out fewer messages than it says it has") from None


@asynccontextmanager
async def _channel(url: str) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel()


@asynccontextmanager
async def _broker(url: str) -> AsyncIterator[RabbitMQBroker]:
    broker = await RabbitMQBroker.open(RabbitMQSettings(url))
    try:
        yield broker
    finally:
        await broker.close()


def _run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
