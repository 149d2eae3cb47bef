"""How many messages wait in a queue, and whether there is such a queue."""

from collections.abc import Sequence
from typing import NamedTuple

from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

from hookline.broker.rabbitmq.connection import bounded, open_channel
from hookline.schemas.errors import Unreachable


class Depth(NamedTuple):
    """What a passive declaration tells of a queue: its messages that are ready, and its consumers."""

    messages: int
    consumers: int


async def depths(connection: AbstractConnection, names: Sequence[str], timeout_s: float) -> dict[str, Depth]:
    """The depths of those queues that exist. A missing one costs a channel."""
    left, found = list(names), dict[str, Depth]()
    while left:
        try:
            async with (
                bounded(timeout_s, f"looking at {left[0]}"),
                open_channel(connection, timeout_s) as channel,
            ):
                while left:
                    ok = await channel.queue_declare(left[0], passive=True)
                    found[left.pop(0)] = Depth(int(ok.message_count or 0), int(ok.consumer_count or 0))
        except Unreachable as error:
            if not isinstance(error.__cause__, ChannelNotFoundEntity):
                raise
            del left[0]
    return found


async def depth(connection: AbstractConnection, name: str, timeout_s: float) -> int | None:
    """How many messages wait in a queue; None if there is no such queue."""
    found = await depths(connection, [name], timeout_s)
    return found[name].messages if found else None


async def exists(connection: AbstractConnection, name: str, timeout_s: float) -> bool:
    """Whether there is a queue of this name."""
    return await depth(connection, name, timeout_s) is not None
