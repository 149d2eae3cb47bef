"""Looks at RabbitMQ's queues over AMQP: passive declarations tell how many messages are ready, and how many consume.

AMQP shows neither what is in flight nor how old a message is. Taking the oldest one to look at it would count as a
delivery of it, and after a hundred of those RabbitMQ gives up on a message.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence

from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

from hookline.broker.rabbitmq.connection import bounded, open_channel
from hookline.broker.rabbitmq.names import REGISTER, retry_name
from hookline.broker.rabbitmq.topology.lock import locked
from hookline.broker.rabbitmq.topology.register import registered
from hookline.broker.rabbitmq.topology.retry_queues import delay_steps_ms
from hookline.schemas import topics
from hookline.schemas.errors import Unreachable
from hookline.schemas.queue_states import QueueState

_AT_A_TIME = 8


class RabbitMQQueueStates:
    """Implements `schemas.queue_states.QueueStates`. `connection` raises Unreachable while there is none."""

    def __init__(self, connection: Callable[[], AbstractConnection], timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s

    async def names(self) -> Sequence[str]:
        connection = self._connection()
        async with locked(connection, topics.short_name(REGISTER), self._timeout_s):
            return sorted(await registered(connection, self._timeout_s))

    async def states(self, queues: Collection[str], *, retrying: bool = False) -> Sequence[QueueState]:
        found = [await self._state(queue, retrying=retrying) for queue in queues]
        return [state for state in found if state is not None]

    async def unrouted(self) -> int:
        counts = await self._counts([topics.UNROUTED])
        return sum(ready for ready, _ in counts.values())

    async def _state(self, queue: str, *, retrying: bool) -> QueueState | None:
        own, dead = topics.queue_name(queue), topics.dead_name(queue)
        partitions = [topics.partition_name(queue, each) for each in topics.PARTITION_WORDS]
        counts = await self._counts([own, dead, partitions[0]])
        if own not in counts:
            return None
        if partitions[0] in counts:
            counts |= await self._counts(partitions[1:])
        working = [counts[name] for name in (own, *partitions) if name in counts]
        # The own queue of an ordered worker has a consumer, too: it moves messages to the partitions.
        consuming = [counts[name] for name in partitions if name in counts] or working
        return QueueState(
            queue=queue,
            waiting=sum(ready for ready, _ in working),
            in_flight=None,
            retrying=await self._retrying(queue) if retrying else None,
            dead=counts.get(dead, (0, 0))[0],
            consumers=sum(consumers for _, consumers in consuming),
            oldest_s=None,
        )

    async def _retrying(self, queue: str) -> int:
        names = [retry_name(queue, step_ms) for step_ms in delay_steps_ms()]
        parts = [names[first::_AT_A_TIME] for first in range(_AT_A_TIME)]  # most are missing, which costs a channel
        found = await asyncio.gather(*map(self._counts, parts))
        return sum(ready for counts in found for ready, _ in counts.values())

    async def _counts(self, names: Sequence[str]) -> dict[str, tuple[int, int]]:
        """The ready messages and the consumers of the queues that exist. A missing one closes the channel."""
        connection, left, counts = self._connection(), list(names), dict[str, tuple[int, int]]()
        while left:
            try:
                async with (
                    bounded(self._timeout_s, f"looking at {left[0]}"),
                    open_channel(connection, self._timeout_s) as channel,
                ):
                    while left:
                        ok = await channel.queue_declare(left[0], passive=True)
                        counts[left.pop(0)] = (int(ok.message_count or 0), int(ok.consumer_count or 0))
            except Unreachable as error:
                if not isinstance(error.__cause__, ChannelNotFoundEntity):
                    raise
                del left[0]
        return counts
