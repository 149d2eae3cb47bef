"""Drops the oldest unrouted events. RabbitMQ would do that itself, but it would not count them."""

import asyncio

from aiormq.abc import AbstractChannel, DeliveredMessage

from hookline.broker.rabbitmq.connection import bounded
from hookline.broker.rabbitmq.scanning import PAGE_S, ready
from hookline.schemas import topics

_STEP = 10_000  # nobody else can look at them meanwhile
_AT_ONCE = 1000


async def drop_oldest(channel: AbstractChannel, max_events: int) -> int:
    """Drop those above `max_events`, and return how many. The caller has locked the queue, and closes the channel.

    It takes none that stays: a quorum queue would put that one behind all that anybody has looked at before. So a
    consumer takes exactly as many as are dropped, which is many times as fast as getting each.
    """
    dropped, left = 0, min(await ready(channel, topics.UNROUTED) - max_events, _STEP)
    while left > 0:
        count = min(left, _AT_ONCE)
        async with bounded(PAGE_S, f"dropping from {topics.UNROUTED}"):
            last = await _take(channel, count)
            await channel.basic_ack(last.delivery_tag or 0, multiple=True, wait=False)
        dropped += count
        left -= count
    return dropped


async def _take(channel: AbstractChannel, count: int) -> DeliveredMessage:
    """Take so many messages, and return the last."""
    messages: asyncio.Queue[DeliveredMessage] = asyncio.Queue()

    async def arrived(message: DeliveredMessage) -> None:
        messages.put_nowait(message)

    await channel.basic_qos(prefetch_count=count)
    consumer = await channel.basic_consume(topics.UNROUTED, arrived)
    for _ in range(count - 1):
        await messages.get()
    last = await messages.get()
    await channel.basic_cancel(consumer.consumer_tag or "")
    return last
