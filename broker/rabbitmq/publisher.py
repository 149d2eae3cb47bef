"""Publishing with confirms."""

import asyncio
import logging
import math
from typing import NoReturn

from aiormq.abc import AbstractConnection

from hookline.aio.refusal_tally import RefusalTally
from hookline.broker.rabbitmq.confirm_watch import LOOK_EVERY_S, ConfirmWatch
from hookline.broker.rabbitmq.confirms import UNROUTABLE, Confirms
from hookline.broker.rabbitmq.connection import Connection, RabbitMQSettings, in_time, open_channel
from hookline.broker.rabbitmq.guard import Guard
from hookline.broker.rabbitmq.publish_channel import PublishChannel, open_publish_channel
from hookline.broker.rabbitmq.queue_channels import QueueChannels
from hookline.broker.rabbitmq.topology.declaring import Declaration
from hookline.broker.rabbitmq.topology.exchanges import declare_exchanges
from hookline.broker.rabbitmq.wire.connection_state import close_reason, is_blocked, max_message_bytes
from hookline.broker.rabbitmq.wire.encode import Message
from hookline.schemas import topics
from hookline.schemas.broker import Confirm
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable, Obstacle, Unreachable

log = logging.getLogger("hookline.broker")


class RabbitMQPublisher:
    """Implements `schemas.broker.Publisher`. One call publishes at most one message."""

    def __init__(self, connection: Connection, settings: RabbitMQSettings, guard: Guard) -> None:
        self._connection = connection
        self._settings = settings
        self._exchange = topics.RECEIVED if settings.retention.enabled else topics.EXCHANGE
        self._channel: PublishChannel | None = None
        self._used: AbstractConnection | None = None
        self._max_body_bytes = math.inf  # that the server of this connection is known to take
        self._guard = guard
        self.to_queues = QueueChannels(connection, settings)
        self._forbidden: set[Declaration] = set()
        self._tally = RefusalTally()
        self._attached = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        return not self.reason

    @property
    def reason(self) -> str:
        channel = self._channel
        if channel is None or channel.ended.done():
            return "broker_away"
        states = (
            (channel.is_blocked, "broker_alarm"),
            (channel.confirms.is_silent, "broker_silent"),
            (self._guard.fault(topics.EXCHANGE) is not None, "broker_topology"),
            (channel.confirms.is_full, "overloaded"),
        )
        return next((reason for holds, reason in states if holds), self._tally.lasting)

    async def publish(self, envelope: Envelope) -> None:
        await self.begin(envelope)

    def begin(self, envelope: Envelope) -> Confirm:
        """Publish without waiting: implements `broker.spool.drain.Primary`."""
        if len(envelope.body) > self._max_body_bytes:
            raise NotDurable("RabbitMQ takes no event of this size", Obstacle.REFUSED)
        return (self._channel or _away()).send_envelope(self._exchange, envelope)

    async def send(self, message: Message) -> None:
        """Return once the server has confirmed the message. Raises NotDurable."""
        await (self._channel or _away()).send(message)

    async def send_to(self, queue: str, message: Message) -> None:
        """The same for one queue, which holds up no other. Raises NotDurable or Unreachable."""
        try:
            await self.to_queues.send(queue, message)
        except NotDurable as error:
            if str(error) == UNROUTABLE:
                self._guard.look_soon()
            raise

    def open_soon(self) -> None:
        """Publish as soon as there is a connection."""
        self._guard.watch(topics.EXCHANGE, self._declare)
        self._task = asyncio.create_task(self._connection.keep(self._session))

    async def open(self) -> None:
        """Return once events can be published. Raises Unreachable."""
        self.open_soon()
        await in_time(self._attached.wait(), self._settings.connect_timeout_s, "opening the publisher")

    async def close(self) -> None:
        """Wait for outstanding confirms, at most as long as one publish may take, then stop."""
        if self._channel is not None:
            await self._channel.confirms.answered()
        await self.to_queues.answered()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _declare(self, connection: AbstractConnection) -> None:
        await declare_exchanges(connection, self._settings.retention, self._settings.connect_timeout_s, self._forbidden)

    async def _session(self, connection: AbstractConnection) -> None:
        """Publish on one channel until it is closed or refuses everything. Leaves a connection that answers nothing."""
        try:
            await self._publish_on(connection)
        except Unreachable as error:
            if isinstance(error.__cause__, TimeoutError) and not is_blocked(connection):
                self._connection.leave(connection, "it answers heartbeats and nothing else")
            raise

    async def _publish_on(self, connection: AbstractConnection) -> None:
        timeout_s, transport = self._settings.connect_timeout_s, self._connection.transport_of(connection)
        if connection is not self._used:
            self._used, self._max_body_bytes = connection, math.inf
        await self._declare(connection)
        async with open_channel(connection, timeout_s, confirms=True) as channel:
            confirms = self._new_confirms()
            publishing = open_publish_channel(channel, transport, confirms)
            self._channel = publishing
            if self._attached.is_set():  # the exchange may have been deleted, and all bindings with it
                self._guard.look_soon()
            self._attached.set()
            try:
                await self._watch(publishing, connection)
                if publishing.ended.done():
                    reason = await close_reason(channel.closing)
                    log.warning("the publisher's channel was lost: %s", reason)
                    self._max_body_bytes = min(self._max_body_bytes, max_message_bytes(reason))
            finally:
                self._channel = None
                publishing.end()

    def _new_confirms(self) -> Confirms:
        settings = self._settings
        most = settings.max_in_flight + settings.max_waiting
        return Confirms(settings.publish_timeout_s, self._tally, most_written=settings.max_in_flight, most=most)

    async def _watch(self, publishing: PublishChannel, connection: AbstractConnection) -> None:
        """Return when the channel is closed or of no use.

        After a queue was full, RabbitMQ 3.10 goes on refusing on the channels that it refused on.
        """
        watch = ConfirmWatch(publishing.confirms)
        while not publishing.ended.done() and not watch.only_refuses:
            await asyncio.wait([publishing.ended], timeout=LOOK_EVERY_S)
            watch.look()
            if watch.is_silent and not publishing.is_blocked:
                self._connection.leave(connection, "it answers heartbeats and confirms nothing")


def _away() -> NoReturn:
    raise NotDurable("RabbitMQ is away")
