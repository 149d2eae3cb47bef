"""The RabbitMQ broker: one topic exchange, a quorum queue for each worker, a connection for each direction.

Publishing and consuming never share a connection: an alarm on the server stops everything on one that publishes.
"""

import asyncio
from collections.abc import Sequence

from aiormq.abc import AbstractConnection

from broker import rabbitmq_topology as topology
from broker.rabbitmq_history import RabbitMQHistory
from broker.rabbitmq_letters import RabbitMQLetters
from broker.rabbitmq_link import Link, RabbitMQSettings
from broker.rabbitmq_publisher import RabbitMQPublisher
from broker.rabbitmq_queue import RabbitMQQueue, Subscription
from schemas import topics
from schemas.errors import Unreachable


class RabbitMQBroker:
    """Implements `schemas.broker.Broker`."""

    def __init__(self, settings: RabbitMQSettings) -> None:
        self._settings = settings
        self._outward = Link(settings, "hookline publisher")
        self._inward = Link(settings, "hookline consumer")
        self._queues: list[RabbitMQQueue] = []
        self._subscribing = asyncio.Lock()  # the server's lock on bindings is held by a connection, not by a task
        self.publisher = RabbitMQPublisher(self._outward, settings)
        self.history = RabbitMQHistory(self._inward, self.publisher, settings)
        self.letters = RabbitMQLetters(self._inward, self.publisher, settings)

    @classmethod
    async def open(cls, settings: RabbitMQSettings) -> "RabbitMQBroker":
        """Connect, and declare what everybody shares. Raises Unreachable or SettingsError."""
        broker = cls(settings)
        try:
            await broker._outward.open()
            await broker._inward.open()
            await topology.declare_exchanges(broker._connection(), settings.retention, settings.connect_timeout_s)
            await broker.publisher.open()
        except BaseException:
            await broker.close()
            raise
        return broker

    async def subscribe(self, queue: str, patterns: Sequence[str], prefetch: int) -> RabbitMQQueue:
        subscription = Subscription(
            topics.check_queue(queue), tuple(patterns), prefetch, self._settings.connect_timeout_s
        )
        async with self._subscribing:
            await topology.declare_queue(self._connection(), queue, patterns, self._settings.connect_timeout_s)
        consumer = RabbitMQQueue(self._inward, self.publisher, subscription)
        self._queues.append(consumer)
        try:
            await consumer.open()
        except BaseException:
            await consumer.close()
            raise
        return consumer

    async def close(self) -> None:
        for queue in self._queues:
            await queue.close()
        await self.publisher.close()
        await self._outward.close()
        await self._inward.close()

    def _connection(self) -> AbstractConnection:
        connection = self._inward.connection
        if connection is None:
            raise Unreachable("RabbitMQ is away")
        return connection
