"""The RabbitMQ broker: one topic exchange, a quorum queue for each worker, a connection for each direction.

Publishing and consuming use separate connections: an alarm on the server blocks every connection that publishes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from aiormq.abc import AbstractConnection

from hookline.broker.rabbitmq.connection import Connection, RabbitMQSettings
from hookline.broker.rabbitmq.consumer import RabbitMQQueue, Subscription
from hookline.broker.rabbitmq.consumer_timeout import exceeds_default, server_version
from hookline.broker.rabbitmq.dead_letters import RabbitMQDeadLetters
from hookline.broker.rabbitmq.forwarding import MAX_MOVING, Forwarding
from hookline.broker.rabbitmq.history import RabbitMQHistory
from hookline.broker.rabbitmq.publisher import RabbitMQPublisher
from hookline.broker.rabbitmq.topology.exchanges import declare_exchanges
from hookline.broker.rabbitmq.topology.queue_depth import exists
from hookline.broker.rabbitmq.topology.worker_queues import declare_partitions, declare_queue
from hookline.schemas import topics
from hookline.schemas.broker import MAX_UNSETTLED_S

log = logging.getLogger("hookline.broker")

Declare: TypeAlias = Callable[[Subscription, AbstractConnection], Awaitable[None]]


class RabbitMQBroker:
    """Implements `schemas.broker.Broker`."""

    def __init__(self, settings: RabbitMQSettings) -> None:
        self._settings = settings
        self._publish_connection = Connection(settings, "hookline publisher")
        self._consume_connection = Connection(settings, "hookline consumer")
        self._queues: list[RabbitMQQueue] = []
        self._warned_of: set[str] = set()
        self._subscribing = asyncio.Lock()  # the server's lock on bindings belongs to a connection, not to a task
        self.publisher = RabbitMQPublisher(self._publish_connection, settings)
        self.history = RabbitMQHistory(self._consume_connection, self.publisher, settings)
        self.dead_letters = RabbitMQDeadLetters(self._consume_connection, self.publisher, settings)

    @classmethod
    async def open(cls, settings: RabbitMQSettings) -> "RabbitMQBroker":
        """Connect, and declare the exchanges. Raises Unreachable or SettingsError."""
        broker = cls(settings)
        try:
            await broker._publish_connection.open()
            await broker._consume_connection.open()
            await declare_exchanges(
                broker._consume_connection.require(), settings.retention, settings.connect_timeout_s
            )
            await broker.publisher.open()
        except BaseException:
            await broker.close()
            raise
        return broker

    async def declare_partitions(self, queue: str, patterns: Sequence[str]) -> None:
        await self._declare_partitions(
            self._subscription(queue, patterns, MAX_MOVING), self._consume_connection.require()
        )

    async def subscribe(
        self,
        queue: str,
        patterns: Sequence[str],
        prefetch: int,
        partition: str | None = None,
        *,
        handler_timeout_s: float = 0.0,
    ) -> RabbitMQQueue:
        asked = self._subscription(queue, patterns, prefetch, partition)
        subscription = replace(asked, handler_timeout_s=handler_timeout_s)
        self._warn_of_consumer_timeout(subscription)
        if partition is not None:
            return await self._partition(subscription)
        await self._declare_queue(subscription, self._consume_connection.require())
        consumer = await self._consumer(subscription, self._declare_queue)
        await self._forward_from_partitions(consumer, subscription)
        return consumer

    async def close(self) -> None:
        for queue in self._queues:
            await queue.close()
        await self.publisher.close()
        await self._publish_connection.close()
        await self._consume_connection.close()

    def _subscription(
        self, queue: str, patterns: Sequence[str], prefetch: int, partition: str | None = None
    ) -> Subscription:
        timeout_s = self._settings.connect_timeout_s
        return Subscription(topics.check_queue(queue), tuple(patterns), prefetch, timeout_s, partition)

    def _warn_of_consumer_timeout(self, asked: Subscription) -> None:
        """Once for each worker, since an ordered one subscribes to many partitions."""
        connection = self._consume_connection.connection
        if connection is None or asked.queue in self._warned_of:
            return
        version = server_version(connection)
        if exceeds_default(version, asked.handler_timeout_s):
            self._warned_of.add(asked.queue)
            log.warning(
                "worker %s: timeout_s is %g, but RabbitMQ %s delivers an event again after %g s by default "
                "(consumer_timeout): raise it there, or lower timeout_s",
                asked.queue,
                asked.handler_timeout_s,
                ".".join(map(str, version)),
                MAX_UNSETTLED_S,
            )

    async def _partition(self, subscription: Subscription) -> RabbitMQQueue:
        """The consumer of the first partition also forwards messages of the worker's own queue to their partitions.

        Only one process does that, so they stay in order.
        """
        consumer = await self._consumer(subscription, self._declare_partitions)
        if subscription.partition == topics.PARTITION_WORDS[0]:
            whole = replace(subscription, partition=None, prefetch=MAX_MOVING)
            await self._forward(consumer, whole, self._declare_partitions)
        return consumer

    async def _forward_from_partitions(self, consumer: RabbitMQQueue, subscription: Subscription) -> None:
        """Forward messages that still wait in partitions of a worker that was ordered before to its queue."""
        last = topics.partition_name(subscription.queue, topics.PARTITION_WORDS[-1])
        if await exists(self._consume_connection.require(), last, subscription.timeout_s):
            for partition in topics.PARTITION_WORDS:
                old = replace(subscription, partition=partition, prefetch=MAX_MOVING)
                await self._forward(consumer, old, None)

    async def _forward(self, consumer: RabbitMQQueue, source: Subscription, declare: Declare | None) -> None:
        """Forward messages of another queue of the worker until this consumer is closed."""
        try:
            forwarding = Forwarding(await self._consumer(source, declare), source)
        except BaseException:
            await consumer.close()
            raise
        consumer.close_with(forwarding.close)

    async def _consumer(self, subscription: Subscription, declare: Declare | None) -> RabbitMQQueue:
        declare_again = None if declare is None else partial(declare, subscription)
        consumer = RabbitMQQueue(self._consume_connection, self.publisher, subscription, declare_again)
        self._queues = [*(each for each in self._queues if not each.closed), consumer]
        try:
            await consumer.open()
        except BaseException:
            await consumer.close()
            raise
        return consumer

    async def _declare_queue(self, asked: Subscription, connection: AbstractConnection) -> None:
        async with self._subscribing:
            await declare_queue(connection, asked.queue, asked.patterns, asked.timeout_s)

    async def _declare_partitions(self, asked: Subscription, connection: AbstractConnection) -> None:
        async with self._subscribing:
            await declare_partitions(connection, asked.queue, asked.patterns, asked.timeout_s)
