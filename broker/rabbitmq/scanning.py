"""Looking at the messages of a queue: AMQP cannot browse one.

A scan gets each message without acknowledging it, and requeues at the end those that stay; the server requeues them if
the process dies before. A scan locks its queue, since two scans at a time would see a part of it each.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiormq.abc import AbstractChannel, DeliveredMessage

from hookline.broker.rabbitmq.connection import bounded
from hookline.schemas.errors import Unreachable

# The server passes on up to 32 acknowledgements of a channel at a time. It buffers more without their order, and drops
# them if the channel is closed: messages that were settled would still be in the queue.
PAGE = 16
PAGE_S = 30.0
LOOKS = 100
LOOK_S = 0.001
"""The n-th look waits n times as long, a hundred looks take 5 s in all."""
_REQUEUE_S = 300.0


async def page_of(channel: AbstractChannel, name: str, size: int) -> list[DeliveredMessage]:
    """The next messages of a queue."""
    messages: list[DeliveredMessage] = []
    async with bounded(PAGE_S, f"looking at {name}"):
        while len(messages) < size:
            message = await channel.basic_get(name)
            if message.delivery_tag is None:
                break
            messages.append(message)
    return messages


@asynccontextmanager
async def requeueing(channel: AbstractChannel, name: str, looks: int = LOOKS) -> AsyncIterator[list[int]]:
    """A list for the delivery tags of messages that stay. At the end they are requeued, in order and page by page.

    After each page it looks up to `looks` times whether the queue shows the messages again.
    """
    kept: list[int] = []
    try:
        yield kept
    finally:
        with suppress(Unreachable):  # the server requeues the messages of a lost connection
            async with bounded(_REQUEUE_S, "requeueing"):
                for start in range(0, len(kept), PAGE):
                    await _requeue(channel, name, kept[start : start + PAGE], looks)


async def _requeue(channel: AbstractChannel, name: str, tags: list[int], looks: int) -> None:
    """Return once the queue shows the messages again, or after a while: others may add or take messages."""
    target = await ready(channel, name) + len(tags)
    for tag in tags:
        await channel.basic_nack(tag, requeue=True, wait=False)
    for look in range(looks):
        if await ready(channel, name) >= target:
            return
        await asyncio.sleep(look * LOOK_S)  # a busy server needs longer


async def ready(channel: AbstractChannel, name: str) -> int:
    """How many messages a queue can deliver. Returns after the server has read all that was sent on the channel.

    Raises Unreachable.
    """
    async with bounded(PAGE_S, f"looking at {name}"):
        return int((await channel.queue_declare(name, passive=True)).message_count or 0)
