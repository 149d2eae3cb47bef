"""The RabbitMQ broker: one topic exchange, a quorum queue for each worker, a connection for each direction.

Publishing and consuming never share a connection: an alarm on the server stops everything on one that publishes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from aiormq.abc import AbstractConnection

from hookline.broker.rabbitmq.connection import Connection, RabbitMQSettings
from hookline.broker.rabbitmq.consumer import RabbitMQQueue, Subscription
from hookline.broker.rabbitmq.dead_letters import RabbitMQDeadLetters
from hookline.broker.rabbitmq.forwarding import AT_ONCE, Forwarding
from hookline.broker.rabbitmq.history import RabbitMQHistory
from hookline.broker.rabbitmq.publisher import RabbitMQPublisher
from hookline.broker.rabbitmq.topology.exchanges import declare_exchanges
from hookline.broker.rabbitmq.topology.queue_depth import exists
from hookline.broker.rabbitmq.topology.worker_queues import declare_partitions, declare_queue
from hookline.schemas import topics

Declare: TypeAlias = Callable[[Subscription, AbstractConnection], Awaitable[None]]


class RabbitMQBroker:
    """Implements `schemas.broker.Broker`."""

    def __init__(self, settings: RabbitMQSettings) -> None:
        self._settings = settings
        self._outward = Connection(settings, "hookline publisher")
        self._inward = Connection(settings, "hookline consumer")
        self._queues: list[RabbitMQQueue] = []
        self._subscribing = asyncio.Lock()  # the server's lock on bindings is held by a connection, not by a task
        self.publisher = RabbitMQPublisher(self._outward, settings)
        self.history = RabbitMQHistory(self._inward, self.publisher, settings)
        self.dead_letters = RabbitMQDeadLetters(self._inward, self.publisher, settings)

    @classmethod
    async def open(cls, settings: RabbitMQSettings) -> "RabbitMQBroker":
        """Connect, and declare what everybody shares. Raises Unreachable or SettingsError."""
        broker = cls(settings)
        try:
            await broker._outward.open()
            await broker._inward.open()
            await declare_exchanges(broker._inward.require(), settings.retention, settings.connect_timeout_s)
            await broker.publisher.open()
        except BaseException:
            await broker.close()
            raise
        return broker

    async def declare_partitions(self, queue: str, patterns: Sequence[str]) -> None:
        await self._declare_partitions(self._subscription(queue, patterns, AT_ONCE), self._inward.require())

    async def subscribe(
        self, queue: str, patterns: Sequence[str], prefetch: int, partition: str | None = None
    ) -> RabbitMQQueue:
        subscription = self._subscription(queue, patterns, prefetch, partition)
        if partition is not None:
            return await self._partition(subscription)
        await self._declare_queue(subscription, self._inward.require())
        consumer = await self._consumer(subscription, self._declare_queue)
        await self._empty_partitions(consumer, subscription)
        return consumer

    async def close(self) -> None:
        for queue in self._queues:
            await queue.close()
        await self.publisher.close()
        await self._outward.close()
        await self._inward.close()

    def _subscription(
        self, queue: str, patterns: Sequence[str], prefetch: int, partition: str | None = None
    ) -> Subscription:
        timeout_s = self._settings.connect_timeout_s
        return Subscription(topics.check_queue(queue), tuple(patterns), prefetch, timeout_s, partition)

    async def _partition(self, subscription: Subscription) -> RabbitMQQueue:
        """Whoever has the first one also sorts what was put into the worker's own queue: one process, so in order."""
        consumer = await self._consumer(subscription, self._declare_partitions)
        if subscription.partition == topics.PARTITION_WORDS[0]:
            whole = replace(subscription, partition=None, prefetch=AT_ONCE)
            await self._pass_through(consumer, whole, self._declare_partitions)
        return consumer

    async def _empty_partitions(self, consumer: RabbitMQQueue, subscription: Subscription) -> None:
        """What waits since the worker was ordered comes back to its queue."""
        last = topics.partition_name(subscription.queue, topics.PARTITION_WORDS[-1])
        if await exists(self._inward.require(), last, subscription.timeout_s):
            for partition in topics.PARTITION_WORDS:
                old = replace(subscription, partition=partition, prefetch=AT_ONCE)
                await self._pass_through(consumer, old, None)

    async def _pass_through(self, consumer: RabbitMQQueue, source: Subscription, declare: Declare | None) -> None:
        """Let messages of another queue of the worker go on, for as long as this consumer does."""
        try:
            forwarding = Forwarding(await self._consumer(source, declare), source)
        except BaseException:
            await consumer.close()
            raise
        consumer.close_with(forwarding.close)

    async def _consumer(self, subscription: Subscription, declare: Declare | None) -> RabbitMQQueue:
        declaring = None if declare is None else partial(declare, subscription)
        consumer = RabbitMQQueue(self._inward, self.publisher, subscription, declaring)
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
