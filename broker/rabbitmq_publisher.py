"""Publishing with confirms: what many callers publish at a time goes out in one write."""

import asyncio
from collections import deque
from itertools import count
from uuid import uuid4

from aiormq.abc import AbstractConnection
from aiormq.exceptions import DeliveryError, PublishError

from broker import rabbitmq_topology as topology
from broker.rabbitmq_frames import Lane, Message, Pending
from broker.rabbitmq_link import Link, RabbitMQSettings, open_channel
from schemas import topics
from schemas.envelope import Envelope, to_headers
from schemas.errors import NotDurable

_MAX_BATCH = 64
_MAX_BATCH_BYTES = 256 * 1024


class RabbitMQPublisher:
    """Implements `schemas.broker.Publisher`. Nothing is ever sent twice for one call."""

    def __init__(self, link: Link, settings: RabbitMQSettings) -> None:
        self._link = link
        self._settings = settings
        self._exchange = topics.RECEIVED if settings.retention.enabled else topics.EXCHANGE
        self._lane: Lane | None = None
        self._pending: deque[Pending] = deque()
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._waiting = 0
        self._silent = False  # a publish has timed out since the last confirm
        self._attempts = count()
        self._prefix = uuid4().hex[:12]
        self._attached = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        lane = self._lane
        if lane is None or self._is_blocked():
            return False
        return not (self._silent and lane.unconfirmed) and self._in_flight(lane) < self._settings.max_in_flight

    async def publish(self, envelope: Envelope) -> None:
        await self.send(
            Message(self._exchange, envelope.routing_key, to_headers(envelope), envelope.content_type, envelope.body)
        )

    async def send(self, message: Message) -> None:
        """Return once every queue that the message was routed to has it on disk. Raises NotDurable."""
        lane = self._lane
        if lane is None:
            raise NotDurable("RabbitMQ is away")
        if self._in_flight(lane) >= self._settings.max_in_flight:
            raise NotDurable("too many events are being published")
        message_id = f"{self._prefix}-{next(self._attempts)}"
        payload = lane.format(message, message_id)
        pending = Pending(message, message_id, payload, asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        self._news.set()
        self._waiting += 1
        try:
            await self._confirmed(pending)
        finally:
            self._waiting -= 1
            lane.forget(message_id)
            if not self._waiting:
                self._idle.set()

    async def open(self) -> None:
        """Start to publish; return once that is possible. Raises Unreachable."""
        self._task = asyncio.create_task(self._link.keep(self._session))
        await topology.in_time(self._attached.wait(), self._settings.connect_timeout_s, "opening the publisher")

    async def close(self) -> None:
        """Wait for the confirms that are still to come, for as long as a publish may take, then stop."""
        while self._waiting:
            self._idle.clear()
            await self._idle.wait()  # every wait for a confirm has its time-out
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _confirmed(self, pending: Pending) -> None:
        try:
            async with asyncio.timeout(self._settings.publish_timeout_s):
                await pending.confirmed
            self._silent = False
        except TimeoutError:
            self._silent = True
            raise NotDurable("RabbitMQ did not confirm in time") from None
        except PublishError:
            raise NotDurable("no queue of RabbitMQ takes the event") from None
        except DeliveryError:
            raise NotDurable("a queue of RabbitMQ refused the event") from None

    def _in_flight(self, lane: Lane) -> int:
        return len(self._pending) + lane.unconfirmed

    def _is_blocked(self) -> bool:
        """Whether the server has said that it takes nothing now (a memory or disk alarm).

        `ready()` returns at once unless the connection is blocked. It is stepped by hand, since nobody here may wait.
        """
        connection = self._link.connection
        if connection is None:
            return True
        probe = connection.ready().__await__()
        try:
            next(probe)
        except StopIteration:
            return False
        finally:
            probe.close()
        return True

    async def _session(self, connection: AbstractConnection) -> None:
        """Publish on one connection until its channel is closed."""
        timeout_s = self._settings.connect_timeout_s
        await topology.declare_exchanges(connection, self._settings.retention, timeout_s)
        async with open_channel(connection, timeout_s, confirms=True) as channel:
            lane = Lane(channel)
            closing = channel.closing
            closing.add_done_callback(lambda _: self._lost(lane))
            self._lane = lane
            self._attached.set()
            try:
                while not closing.done():
                    await self._news.wait()
                    self._news.clear()
                    await self._flush(lane)
            finally:
                self._lost(lane)

    async def _flush(self, lane: Lane) -> None:
        while batch := self._next_batch():
            if self._is_blocked():  # it would be kept when the alarm is over, long after we said that it was not
                _fail(batch, NotDurable("RabbitMQ takes nothing now (memory or disk alarm)"))
            else:
                await lane.write(batch)

    def _next_batch(self) -> list[Pending]:
        """What is to be written next; what nobody waits for any more is left out."""
        batch: list[Pending] = []
        size = 0
        while self._pending and len(batch) < _MAX_BATCH and size < _MAX_BATCH_BYTES:
            pending = self._pending.popleft()
            if not pending.confirmed.done():
                batch.append(pending)
                size += len(pending.message.body)
        return batch

    def _lost(self, lane: Lane) -> None:
        if self._lane is lane:
            self._lane = None
            error = NotDurable("the connection to RabbitMQ was lost")
            lane.fail(error)
            _fail(list(self._pending), error)
            self._pending.clear()
            self._news.set()


def _fail(batch: list[Pending], error: NotDurable) -> None:
    for pending in batch:
        if not pending.confirmed.done():
            pending.confirmed.set_exception(error)
