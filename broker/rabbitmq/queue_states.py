"""Looks at RabbitMQ's queues over AMQP: passive declarations tell how many messages are ready, and how many consume.

AMQP shows neither what is in flight nor how old a message is; the management API shows the former. Taking the oldest
message to look at it would count as a delivery of it, and after a hundred of those RabbitMQ gives up on a message.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from aiormq.abc import AbstractConnection

from hookline.broker.rabbitmq.management import Management
from hookline.broker.rabbitmq.names import REGISTER
from hookline.broker.rabbitmq.topology.lock import locked
from hookline.broker.rabbitmq.topology.queue_depth import Depth, depth, depths
from hookline.broker.rabbitmq.topology.register import registered
from hookline.broker.rabbitmq.topology.retry_queues import retry_depths
from hookline.schemas import topics
from hookline.schemas.errors import Unreachable
from hookline.schemas.queue_states import QueueState

log = logging.getLogger("hookline.broker")


class RabbitMQQueueStates:
    """Implements `schemas.queue_states.QueueStates`. `connection` raises Unreachable while there is none."""

    def __init__(
        self, connection: Callable[[], AbstractConnection], timeout_s: float, management: Management | None = None
    ) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._management = management

    async def names(self) -> Sequence[str]:
        connection = self._connection()
        async with locked(connection, topics.short_name(REGISTER), self._timeout_s):
            return sorted(await registered(connection, self._timeout_s))

    async def states(self, queues: Collection[str], *, retrying: bool = False) -> Sequence[QueueState]:
        taken = await self._taken()
        found = [await self._state(queue, taken, retrying=retrying) for queue in queues]
        return [state for state in found if state is not None]

    async def unrouted(self) -> int:
        return await depth(self._connection(), topics.UNROUTED, self._timeout_s) or 0

    async def _taken(self) -> Mapping[str, int] | None:
        """The messages of each queue that a process has and has not settled, if the management API can be asked."""
        if self._management is None:
            return None
        try:
            queues = await self._management.queues()
        except Unreachable as error:
            log.debug("%s", error)
            return None
        return {name: each.messages_unacknowledged for name, each in queues.items()}

    async def _state(self, queue: str, taken: Mapping[str, int] | None, *, retrying: bool) -> QueueState | None:
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
            in_flight=None if taken is None else sum(taken.get(name, 0) for name in (own, *partitions)),
            retrying=await self._retrying(queue) if retrying else None,
            dead=counts[dead].messages if dead in counts else 0,
            consumers=sum(consumers for _, consumers in consuming),
            oldest_s=None,
        )

    async def _retrying(self, queue: str) -> int:
        return sum((await retry_depths(self._connection(), queue, self._timeout_s)).values())

    async def _counts(self, names: Sequence[str]) -> dict[str, Depth]:
        return await depths(self._connection(), names, self._timeout_s)
