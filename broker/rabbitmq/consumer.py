"""Consuming a queue: deliveries go to a local buffer, and outcomes of workers are carried out."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import assert_never

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

from hookline.aio.retry_delays import RetryDelays
from hookline.broker.rabbitmq.ack_batcher import AckBatcher, Token
from hookline.broker.rabbitmq.connection import Connection, Use, bounded, finish, in_time, open_channel
from hookline.broker.rabbitmq.consume_channel import ConsumeChannel
from hookline.broker.rabbitmq.consumer_timeout import consumer_arguments, server_version, with_advice
from hookline.broker.rabbitmq.headers import ATTEMPT, death_notes, retry_notes
from hookline.broker.rabbitmq.publisher import RabbitMQPublisher
from hookline.broker.rabbitmq.retrying import RetryQueues
from hookline.broker.rabbitmq.wire.connection_state import close_reason
from hookline.broker.rabbitmq.wire.encode import Message
from hookline.broker.rabbitmq.wire.frame_transport import FrameTransport
from hookline.schemas import topics
from hookline.schemas.broker import Again, Done, Outcome, Parked, Received
from hookline.schemas.copies import as_next_copy
from hookline.schemas.errors import NotDurable, SettingsError, Unreachable

log = logging.getLogger("hookline.broker")

_PASS_ON = RetryDelays(first_s=1.0, max_s=5.0)
_TRIES = 3
_PARK_LATER_S = 60.0
_REQUEUE_S = 4.0
_CANCELLED = (
    "RabbitMQ cancelled it, as it does for a queue that was deleted or has lost its leader, and from 4.3 on where a "
    "delivery was unacknowledged for longer than consumer_timeout"
)


@dataclass(frozen=True, slots=True)
class Subscription:
    """A worker's request to consume. `timeout_s` bounds each call to the server."""

    queue: str
    patterns: tuple[str, ...]
    prefetch: int
    timeout_s: float
    partition: str | None = None
    unsettled_s: float = 0.0

    @property
    def name(self) -> str:
        """The name of the queue on the server."""
        if self.partition is None:
            return topics.queue_name(self.queue)
        return topics.partition_name(self.queue, self.partition)


class RabbitMQQueue:
    """Implements `schemas.broker.Queue`. Consumes again after a lost connection or a deleted queue."""

    def __init__(
        self, connection: Connection, publisher: RabbitMQPublisher, subscription: Subscription, declare: Use | None
    ) -> None:
        self._connection = connection
        self._publisher = publisher
        self._subscription = subscription
        self._declare = declare
        self.name = subscription.name
        self.of_partitioned = "" if subscription.partition is None else topics.queue_name(subscription.queue)
        """The name of the queue of which this one is a partition; empty if it is none."""
        self._buffer: deque[Received] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._others: list[Callable[[], Awaitable[None]]] = []
        self._retry_queues = RetryQueues(connection, publisher, subscription.queue, subscription.timeout_s)
        self._attached = asyncio.Event()
        self._consuming = False
        self._acks: AckBatcher | None = None
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Future[None] = self._loop.create_future()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Return once the server has accepted the consumer. Raises Unreachable."""
        self._task = asyncio.create_task(self._connection.keep(self._session))
        await in_time(self._attached.wait(), self._subscription.timeout_s, f"consuming {self.name}")

    async def take(self) -> Received:
        while True:
            while self._buffer:
                received = self._buffer.popleft()
                if received.token.acks.is_open:  # otherwise the next channel delivers it again
                    return received
            await self._arrival()

    def take_arrived(self, most: int) -> Sequence[Received]:
        if most >= len(self._buffer):
            taken = [*self._buffer]
            self._buffer.clear()
        else:
            taken = [self._buffer.popleft() for _ in range(most)]
        return [received for received in taken if received.token.acks.is_open]

    def done(self, received: Sequence[Received]) -> None:
        acks = self._acks
        if acks is not None:  # what came on an earlier channel comes again
            acks.done(*[token.tag for each in received if (token := each.token).acks is acks])

    async def settle(self, received: Received, outcome: Outcome) -> bool:
        token: Token = received.token
        match outcome:
            case Done():
                token.acks.done(token.tag)
                return False
            case Again():
                return await self._pass_on(token, partial(self._delay, received, outcome))
            case Parked():
                park, park_later = partial(self._park, received, outcome), partial(self._park_later, received, outcome)
                return await self._pass_on(token, park, park_later)
            case _:
                assert_never(outcome)

    def holds(self, received: Received) -> bool:
        token: Token = received.token
        return token.acks.is_open

    async def move(self, received: Received, name: str) -> None:
        """Move a message to another queue, unchanged."""
        headers = {**received.headers, ATTEMPT: str(received.attempt)}
        message = Message("", name, headers, received.content_type, received.body)
        await self._pass_on(received.token, partial(self._publisher.send_to, name, message))

    @property
    def attached(self) -> bool:
        """Whether the server delivers to this consumer."""
        return self._attached.is_set()

    @property
    def unsettled(self) -> int:
        return 0 if self._acks is None else self._acks.unsettled

    @property
    def closed(self) -> bool:
        return self._closing.done()

    def close_with(self, other: Callable[[], Awaitable[None]]) -> None:
        """Call `other` first when this queue is closed."""
        self._others.append(other)

    async def close(self) -> None:
        await asyncio.gather(*(other() for other in self._others))
        if not self._closing.done():
            self._closing.set_result(None)
        if self._task is not None:
            if self._consuming:
                await finish(self._over.wait())
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _session(self, connection: AbstractConnection) -> None:
        """Consume on one connection. A deleted queue is declared again, unless this consumer declares none."""
        try:
            await self._consume(connection)
        except Unreachable as error:
            if not isinstance(error.__cause__, ChannelNotFoundEntity):
                raise
            if self._declare is not None:
                log.warning("%s was deleted from RabbitMQ and is declared again", self.name)
                await self._declare(connection)
                await self._consume(connection)

    async def _consume(self, connection: AbstractConnection) -> None:
        """Consume on one channel until it ends or the queue is closed."""
        if self._closing.done():
            return
        self._consuming = True
        try:
            async with open_channel(connection, self._subscription.timeout_s) as channel:
                await self._consume_on(channel, self._connection.transport_of(connection))
        finally:
            self._consuming = False
            if self._closing.done():
                self._over.set()

    async def _consume_on(self, channel: AbstractChannel, transport: FrameTransport | None) -> None:
        consume_channel = ConsumeChannel(channel, transport, self._subscription.prefetch, self._arrived)
        acks = self._acks = consume_channel.acks
        try:
            tag = await self._attach(channel, consume_channel)
            self._attached.set()
            await asyncio.wait([acks.ended, self._closing], return_when=asyncio.FIRST_COMPLETED)
            if acks.is_open:
                await self._requeue(channel, consume_channel, tag)
            else:
                reason = _CANCELLED if consume_channel.is_cancelled else await close_reason(channel.closing)
                log.warning("%s: the consumer was lost: %s", self.name, with_advice(reason))
        finally:
            self._attached.clear()
            acks.end()

    async def _attach(self, channel: AbstractChannel, consume_channel: ConsumeChannel) -> str:
        channel.on_consumer_cancel_callbacks.add(lambda _: consume_channel.cancelled())
        async with bounded(self._subscription.timeout_s, f"consuming {self.name}"):
            await channel.basic_qos(prefetch_count=self._subscription.prefetch)
            version = server_version(channel.connection)
            arguments = consumer_arguments(version, self._subscription.unsettled_s)
            ok = await channel.basic_consume(self.name, consume_channel.delivered, arguments=arguments)
        return str(ok.consumer_tag)

    def _arrived(self, received: Received) -> None:
        self._buffer.append(received)
        if self._waiting:
            self._wake()

    async def _arrival(self) -> None:
        """Wait for a delivery. Those who wait are served in the order in which they came."""
        woken = self._loop.create_future()
        self._waiting.append(woken)
        try:
            await woken
        except asyncio.CancelledError:
            if not woken.cancelled():  # the delivery goes to the next in line
                self._wake()
            elif woken in self._waiting:
                self._waiting.remove(woken)
            raise

    def _wake(self) -> None:
        while self._waiting:
            woken = self._waiting.popleft()
            if not woken.done():
                woken.set_result(None)
                return

    async def _requeue(self, channel: AbstractChannel, consume_channel: ConsumeChannel, consumer_tag: str) -> None:
        """Cancel the consumer, acknowledge settled messages, and requeue the rest.

        Messages of a partition must keep their order. The server requeues them when the channel is closed, before the
        next consumer becomes active. A nack of more than 32 messages would change their order. So would cancelling the
        consumer, for messages on their way here; and it would activate the next consumer too soon.
        """
        with suppress(Unreachable):  # the server requeues the messages of a lost connection
            async with bounded(_REQUEUE_S, "requeueing"):
                if self._subscription.partition is None:
                    await channel.basic_cancel(consumer_tag)
                    await consume_channel.acknowledged()
                    await channel.basic_nack(0, multiple=True, requeue=True)
                else:
                    await consume_channel.acknowledged()

    async def _pass_on(
        self,
        token: Token,
        send: Callable[[], Awaitable[None]],
        instead: Callable[[], Awaitable[None]] | None = None,
    ) -> bool:
        """Publish the message elsewhere, then acknowledge it here. Whether `send` has published it.

        A failed publish is retried with growing delays, at last by `instead`, and the message stays unacknowledged
        until then. Requeued, it would be delivered again at once. It is requeued when the queue is closed.
        """
        for failures in count(1):
            if not token.acks.is_open:
                break
            is_sent = instead is None or failures <= _TRIES
            try:
                await (send if is_sent or instead is None else instead)()
            except (NotDurable, Unreachable, SettingsError) as error:
                log.warning("%s: a delivery cannot be passed on: %s", self.name, error)
                await asyncio.wait([token.acks.ended], timeout=_PASS_ON.delay_s(failures))
            else:
                token.acks.done(token.tag)
                return is_sent
        return False

    async def _delay(self, received: Received, again: Again) -> None:
        if again.delay_s > 0:
            headers = {**as_next_copy(received.headers), **retry_notes(again, datetime.now(UTC))}
            await self._retry_queues.send(received, headers, again.delay_s)
        else:
            headers = {**as_next_copy(received.headers), ATTEMPT: str(again.attempt)}
            message = Message("", self.name, headers, received.content_type, received.body)
            await self._publisher.send_to(self.name, message)

    async def _park(self, received: Received, parked: Parked) -> None:
        headers = {**received.headers, **death_notes(parked, self._subscription.queue, datetime.now(UTC))}
        dead = topics.dead_name(self._subscription.queue)
        try:
            await self._publisher.send_to(dead, Message("", dead, headers, received.content_type, received.body))
        except NotDurable as error:
            raise NotDurable(f"{dead}: {error}") from error

    async def _park_later(self, received: Received, parked: Parked) -> None:
        """Its queue of dead letters fails. Deliveries that wait for it here would leave no room for others."""
        await self._delay(received, Again(_PARK_LATER_S, parked.attempts, parked.reason, kept_error=parked.detail))
        log.warning("%s: a delivery that cannot be parked comes again in %g s", self.name, _PARK_LATER_S)
