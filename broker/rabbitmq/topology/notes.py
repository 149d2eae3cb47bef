"""Notes: messages that a queue keeps for Hookline itself, since AMQP lists neither queues nor bindings."""

import asyncio

from aiormq.abc import AbstractChannel
from aiormq.exceptions import DeliveryError

from hookline.broker.rabbitmq.wire.properties import persistent

_REFUSED_WAIT_S = 0.1


async def publish_note(channel: AbstractChannel, queue: str, body: bytes, content_type: str | None = None) -> None:
    """Return once the queue has the note. A queue that another process is declaring may refuse it for a moment."""
    while True:
        try:
            await channel.basic_publish(body, routing_key=queue, properties=persistent(content_type), mandatory=True)
        except DeliveryError:
            await asyncio.sleep(_REFUSED_WAIT_S)
        else:
            return
