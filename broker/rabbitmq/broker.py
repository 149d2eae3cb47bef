"""The RabbitMQ broker: one topic exchange, a quorum queue for each worker, a connection for each direction.

Publishing and consuming use separate connections: an alarm on the server blocks every connection that publishes.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from aiormq.abc import AbstractConnection

from hookline.aio.pulse import Pulse
from hookline.broker.rabbitmq.connection import Connection, RabbitMQSettings
from hookline.broker.rabbitmq.consumer import RabbitMQQueue, Subscription
from hookline.broker.rabbitmq.consumer_timeout import exceeds_default, server_version
from hookline.broker.rabbitmq.dead_letters import RabbitMQDeadLetters
from hookline.broker.rabbitmq.forwarding import MAX_MOVING, Forwarding
from hookline.broker.rabbitmq.guard import Guard, WorkerTopology
from hookline.broker.rabbitmq.history import RabbitMQHistory
from hookline.broker.rabbitmq.management import management_of
from hookline.broker.rabbitmq.publisher import RabbitMQPublisher
from hookline.broker.rabbitmq.queue_states import RabbitMQQueueStates
from hookline.broker.rabbitmq.retries import RabbitMQRetries
from hookline.broker.rabbitmq.topology.bindings import Wishes
from hookline.broker.rabbitmq.topology.exchanges import declare_exchanges
from hookline.broker.rabbitmq.topology.queue_depth import exists
from hookline.broker.rabbitmq.topology.worker_queues import WorkerQueues
from hookline.schemas import topics
from hookline.schemas.broker import MAX_UNSETTLED_S

log = logging.getLogger("hookline.broker")

_CLOSE_S = 3.0
_HUNG_UP_S = 0.3


class RabbitMQBroker:
    """Implements `schemas.broker.Broker`."""

    def __init__(self, settings: RabbitMQSettings, back: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._server_is_back = Pulse()
        self._publish_connection = Connection(settings, "hookline publisher", self._server_is_back, back)
        self._consume_connection = Connection(settings, "hookline consumer", self._server_is_back, back)
        self._queues: list[RabbitMQQueue] = []
        self._warned_of: set[str] = set()
        self._subscribing = asyncio.Lock()  # the server's lock on bindings belongs to a connection, not to a task
        self._wishes = Wishes()
        self._management = management_of(settings)
        self._guard = Guard(self._publish_connection, settings.observer)
        self.publisher = RabbitMQPublisher(self._publish_connection, settings, self._guard)
        self.history = RabbitMQHistory(self._consume_connection, self.publisher, settings)
        self.queue_states = RabbitMQQueueStates(
            self._consume_connection.require, settings.connect_timeout_s, self._management
        )
        self.dead_letters = RabbitMQDeadLetters(self._consume_connection, self.publisher, settings)
        self.retries = RabbitMQRetries(self._consume_connection, settings)

    @classmethod
    async def open(cls, settings: RabbitMQSettings, back: Callable[[], None] = lambda: None) -> "RabbitMQBroker":
        """Connect, and declare the exchanges. Raises Unreachable or SettingsError. Hangs up if it is cancelled.

        `back` is called whenever a lost connection is back.
        """
        broker = cls(settings, back)
        try:
            await broker._publish_connection.open()
            await broker._consume_connection.open()
            await declare_exchanges(
                broker._consume_connection.require(), settings.retention, settings.connect_timeout_s
            )
            await broker.publisher.open()
            broker._guard.open()
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                broker._hang_up()
            await broker.close()
            raise
        return broker

    def connect_soon(self) -> None:
        """Do not wait for the next try: another process has reached the server."""
        self._server_is_back.send()

    def use_addresses(self, settings: RabbitMQSettings) -> None:
        """Connect with the addresses of these settings from now on. Open connections stay."""
        if self._management is not None and settings.management_url:
            self._management.use(settings)
        for connection in (self._publish_connection, self._consume_connection):
            connection.use_addresses(settings)
        self.connect_soon()

    async def declare_partitions(self, queue: str, patterns: Sequence[str]) -> None:
        topology = self._topology(self._subscription(queue, patterns, MAX_MOVING), by_partition=True)
        await self._declare(topology, self._consume_connection.require())
        self._guard.watch(topics.queue_name(queue), topology.check)

    async def subscribe(
        self,
        queue: str,
        patterns: Sequence[str],
        prefetch: int,
        partition: str | None = None,
        *,
        unsettled_s: float = 0.0,
    ) -> RabbitMQQueue:
        asked = self._subscription(queue, patterns, prefetch, partition)
        subscription = replace(asked, unsettled_s=unsettled_s)
        self._warn_of_consumer_timeout(subscription)
        if partition is not None:
            return await self._partition(subscription)
        topology = self._topology(subscription)
        await self._declare(topology, self._consume_connection.require())
        consumer = await self._consumer(subscription, topology)
        self._look_after(consumer, topology)
        await self._forward_from_partitions(consumer, subscription)
        return consumer

    @classmethod
    def open_soon(cls, settings: RabbitMQSettings, back: Callable[[], None] = lambda: None) -> "RabbitMQBroker":
        """Connect in the background, again and again. The publisher raises NotDurable meanwhile."""
        broker = cls(settings, back)
        broker._publish_connection.open_soon()
        broker._consume_connection.open_soon()
        broker.publisher.open_soon()
        broker._guard.open()
        return broker

    @property
    def faults(self) -> list[str]:
        """What this process relies on and does not have: each a sentence for an operator."""
        return [*self._guard.faults, *self.publisher.to_queues.faults, *self._not_consumed()]

    def _not_consumed(self) -> Iterator[str]:
        """Without a connection the reason of that, which is the same for all queues."""
        lacking = [each for each in self._queues if not each.closed and not each.attached]
        if lacking and self._consume_connection.fault:
            yield self._consume_connection.fault
            return
        partitions = Counter(each.of_partitioned for each in lacking if each.of_partitioned)
        yield from (f"{each.name} is not consumed by this process" for each in lacking if not each.of_partitioned)
        for name, count in partitions.items():
            yield f"{name}: {count} partitions are not consumed by this process"

    async def close(self) -> None:
        """Close in order. After a few seconds, or if it is cancelled, it hangs up: a server may answer nothing."""
        closing = asyncio.create_task(self._close_in_order())
        try:
            await asyncio.wait([closing], timeout=_CLOSE_S)
        finally:
            self._hang_up()
            await asyncio.wait([closing], timeout=_HUNG_UP_S)  # nothing waits for the server any more
        if closing.done():
            closing.result()

    def _hang_up(self) -> None:
        for connection in (self._publish_connection, self._consume_connection):
            connection.hang_up()

    async def _close_in_order(self) -> None:
        await asyncio.gather(self._guard.close(), *(queue.close() for queue in self._queues))
        await self.publisher.close()
        await asyncio.gather(self._publish_connection.close(), self._consume_connection.close())

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
        if exceeds_default(version, asked.unsettled_s):
            self._warned_of.add(asked.queue)
            log.warning(
                "worker %s: an event may take %g s with its wait, but RabbitMQ %s delivers it again after %g s "
                "by default (consumer_timeout): raise it there, or lower timeout_s",
                asked.queue,
                asked.unsettled_s,
                ".".join(map(str, version)),
                MAX_UNSETTLED_S,
            )

    async def _partition(self, subscription: Subscription) -> RabbitMQQueue:
        """The consumer of the first partition also forwards messages of the worker's own queue to their partitions.

        Only one process does that, so they stay in order.
        """
        topology = self._topology(subscription, by_partition=True)
        consumer = await self._consumer(subscription, topology)
        if subscription.partition == topics.PARTITION_WORDS[0]:
            whole = replace(subscription, partition=None, prefetch=MAX_MOVING)
            await self._forward(consumer, whole, topology)
        return consumer

    async def _forward_from_partitions(self, consumer: RabbitMQQueue, subscription: Subscription) -> None:
        """Forward messages that still wait in partitions of a worker that was ordered before to its queue."""
        last = topics.partition_name(subscription.queue, topics.PARTITION_WORDS[-1])
        if await exists(self._consume_connection.require(), last, subscription.timeout_s):
            for partition in topics.PARTITION_WORDS:
                old = replace(subscription, partition=partition, prefetch=MAX_MOVING)
                await self._forward(consumer, old, None)

    async def _forward(self, consumer: RabbitMQQueue, source: Subscription, topology: WorkerTopology | None) -> None:
        """Forward messages of another queue of the worker until this consumer is closed."""
        try:
            forwarding = Forwarding(await self._consumer(source, topology), source)
        except BaseException:
            await consumer.close()
            raise
        consumer.close_with(forwarding.close)

    async def _consumer(self, subscription: Subscription, topology: WorkerTopology | None) -> RabbitMQQueue:
        declare_again = None if topology is None else partial(self._declare, topology)
        consumer = RabbitMQQueue(self._consume_connection, self.publisher, subscription, declare_again)
        self._queues = [*(each for each in self._queues if not each.closed), consumer]
        try:
            await consumer.open()
        except BaseException:
            await consumer.close()
            raise
        return consumer

    def _topology(self, asked: Subscription, *, by_partition: bool = False) -> WorkerTopology:
        queues = WorkerQueues(asked.queue, asked.patterns, by_partition)
        return WorkerTopology(queues, asked.timeout_s, self._wishes, self._management, self._settings.observer)

    async def _declare(self, topology: WorkerTopology, connection: AbstractConnection) -> None:
        async with self._subscribing:
            await topology.declare(connection)

    def _look_after(self, consumer: RabbitMQQueue, topology: WorkerTopology) -> None:
        """Have the guard look after a worker's queue until its consumer is closed."""

        async def forget() -> None:
            self._guard.forget(consumer.name, topology.check)

        self._guard.watch(consumer.name, topology.check)
        consumer.close_with(forget)
