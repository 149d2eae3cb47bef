"""How many messages wait in a queue, and whether there is such a queue."""

from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

from hookline.broker.rabbitmq.connection import bounded, open_channel
from hookline.schemas.errors import Unreachable


async def depth(connection: AbstractConnection, name: str, timeout_s: float) -> int | None:
    """How many messages wait in a queue; None if there is no such queue."""
    try:
        async with bounded(timeout_s, f"looking at {name}"), open_channel(connection, timeout_s) as channel:
            return int((await channel.queue_declare(name, passive=True)).message_count or 0)
    except Unreachable as error:
        if isinstance(error.__cause__, ChannelNotFoundEntity):
            return None
        raise


async def exists(connection: AbstractConnection, name: str, timeout_s: float) -> bool:
    """Whether there is a queue of this name."""
    return await depth(connection, name, timeout_s) is not None
