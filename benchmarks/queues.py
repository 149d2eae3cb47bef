"""Clears, binds and drains the queues on RabbitMQ, without the product's own code."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel

from benchmarks.errors import InvalidRun
from benchmarks.filling import ORDERED_QUEUE, QUEUE, run_async
from hookline.schemas import topics

REFERENCE_QUEUE = "reference"

_PREFETCH = 2000
_SILENCE_S = 20.0
_SETTLE_S = 0.3
_QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}


@dataclass(frozen=True, slots=True)
class Found:
    """A message of a queue: the id of its event, if it is Hookline's, and its body."""

    id: str
    body: bytes


def server_version(url: str) -> str:
    """The version of RabbitMQ."""
    return run_async(_server_version(url))


async def _server_version(url: str) -> str:
    async with await aiormq.connect(url) as connection:
        return str(connection.server_properties.get("version", "unknown"))


def clear(url: str) -> None:
    """Delete all queues of a run with their messages, and declare that of the references again."""
    run_async(_clear(url))


async def _clear(url: str) -> None:
    partitions = [topics.partition_name(ORDERED_QUEUE, partition) for partition in topics.PARTITION_WORDS]
    ours = [topics.queue_name(QUEUE), topics.queue_name(ORDERED_QUEUE), topics.UNROUTED]
    async with _channel(url) as channel:
        for name in (*ours, *partitions, REFERENCE_QUEUE):
            await channel.queue_delete(name)
        await channel.declare_queue(REFERENCE_QUEUE, durable=True, arguments=_QUORUM)


def copy_to_reference(url: str) -> None:
    """Bind the queue of the references to every event, like a worker's queue."""
    run_async(_copy_to_reference(url))


async def _copy_to_reference(url: str) -> None:
    async with _channel(url) as channel:
        queue = await channel.get_queue(REFERENCE_QUEUE)
        await queue.bind(topics.EXCHANGE, "#")


def emptied(url: str, queue: str) -> Sequence[Found]:
    """All messages of a queue, taken once no more arrive."""
    return run_async(_emptied(url, queue))


def waiting(url: str, queue: str) -> int:
    """The number of messages in a queue, once no more arrive."""
    return run_async(_waiting_there(url, queue))


async def _waiting_there(url: str, queue: str) -> int:
    async with _channel(url) as channel:
        return await _settled(channel, queue)


async def _emptied(url: str, queue: str) -> Sequence[Found]:
    found: list[Found] = []
    async with _channel(url) as channel:
        count = await _settled(channel, queue)
        await channel.set_qos(prefetch_count=_PREFETCH)
        complete = asyncio.Event()

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            found.append(Found(str(message.headers.get("cloudEvents_id", "")), message.body))
            if len(found) % (_PREFETCH // 4) == 0 or len(found) >= count:
                await message.channel.basic_ack(message.delivery_tag or 0, multiple=True)
            if len(found) >= count:
                complete.set()

        await (await channel.get_queue(queue)).consume(take)
        while count and not complete.is_set():
            await _progress(found, complete)
    return found


async def _settled(channel: AbstractChannel, queue: str) -> int:
    """The number of ready messages once no more arrive: requests in flight are still being published."""
    before, count = -1, await _ready(channel, queue)
    while count != before:
        await asyncio.sleep(_SETTLE_S)
        before, count = count, await _ready(channel, queue)
    return count


async def _ready(channel: AbstractChannel, queue: str) -> int:
    declared = await channel.declare_queue(queue, passive=True)
    return declared.declaration_result.message_count or 0


async def _progress(found: Sequence[Found], complete: asyncio.Event) -> None:
    before = len(found)
    try:
        await asyncio.wait_for(complete.wait(), _SILENCE_S)
    except TimeoutError:
        if len(found) == before:
            raise InvalidRun("a queue delivers fewer messages than it reports") from None


@asynccontextmanager
async def _channel(url: str) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel()
