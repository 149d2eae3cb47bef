"""Publishing to queues by name, on a channel for each, so that a queue that fails holds up no other.

RabbitMQ 3.10 takes nothing more from a channel while it waits for the leader of a queue: half a minute for each
message. A quorum queue that was declared less than about half a second before such a server was killed never has a
leader again. What is published to it is not confirmed, and what was confirmed before is not delivered.
"""

import asyncio
import logging
import time
from collections import defaultdict

from aiormq.abc import AbstractConnection

from hookline.aio.refusal_tally import RefusalTally
from hookline.broker.rabbitmq.confirms import LATE, REFUSED, Confirms
from hookline.broker.rabbitmq.connection import Connection, RabbitMQSettings, bounded
from hookline.broker.rabbitmq.publish_channel import PublishChannel, open_publish_channel
from hookline.broker.rabbitmq.wire.encode import Message
from hookline.schemas.errors import NotDurable

log = logging.getLogger("hookline.broker")

_FAILS_FOR_S = 60.0


class QueueChannels:
    """Opens a channel at the first message for a queue, and keeps it as long as the connection lasts."""

    def __init__(self, connection: Connection, settings: RabbitMQSettings) -> None:
        self._connection = connection
        self._settings = settings
        self._opening: dict[str, asyncio.Task[PublishChannel]] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._late: set[str] = set()
        self._failing: dict[str, tuple[float, str]] = {}

    @property
    def faults(self) -> list[str]:
        """Each a sentence for an operator. A queue that took nothing a minute ago may not have been tried since."""
        since_s = time.monotonic() - _FAILS_FOR_S
        for name, (noted_s, _) in list(self._failing.items()):
            if noted_s < since_s and self.takes(name):
                del self._failing[name]
        return [f"the queue {name} takes nothing: {reason}" for name, (_, reason) in self._failing.items()]

    def takes(self, queue: str) -> bool:
        """False while the server has not answered a message for the queue in time."""
        channel = self._opened(queue)
        return channel is None or not channel.confirms.is_silent

    async def send(self, queue: str, message: Message) -> None:
        """Return once the server has confirmed the message. Raises NotDurable or Unreachable.

        Messages are published in the order of these calls, also where the first ones wait for the channel.
        """
        opening = self._channel(queue)
        try:
            async with self._turns[queue]:
                channel = await asyncio.shield(opening)
                published = channel.send(message)
            await published
        except NotDurable as error:
            self._failed(queue, str(error))
            raise
        self._confirmed(queue)

    async def answered(self) -> None:
        """Return once every message has an answer."""
        for queue in list(self._opening):
            if (channel := self._opened(queue)) is not None:
                await channel.confirms.answered()

    def _channel(self, queue: str) -> "asyncio.Task[PublishChannel]":
        """Opens the channel of a queue, unless that was done. Raises Unreachable."""
        connection = self._connection.require()
        opening = self._opening.get(queue)
        if opening is None or (opening.done() and not self._is_open(queue)):
            opening = self._opening[queue] = asyncio.create_task(self._open(connection))
        return opening

    def _is_open(self, queue: str) -> bool:
        channel = self._opened(queue)
        return channel is not None and not channel.ended.done()

    async def _open(self, connection: AbstractConnection) -> PublishChannel:
        async with bounded(self._settings.connect_timeout_s, "opening a channel"):
            channel = await connection.channel(publisher_confirms=True)
        transport = self._connection.transport_of(connection)
        confirms = Confirms(self._settings.publish_timeout_s, RefusalTally(), most=self._settings.max_in_flight)
        return open_publish_channel(channel, transport, confirms)

    def _opened(self, queue: str) -> PublishChannel | None:
        opening = self._opening.get(queue)
        if opening is None or not opening.done() or opening.cancelled() or opening.exception() is not None:
            return None
        return opening.result()

    def _failed(self, queue: str, reason: str) -> None:
        if reason == REFUSED:
            self._note(queue, reason)
        elif reason == LATE:
            self._late.add(queue)

    def _confirmed(self, queue: str) -> None:
        """The server works, so the queues that it has not answered for in time are at fault."""
        if self._failing.pop(queue, None) is not None:
            log.info("the queue %s takes messages again", queue)
        if self._late:
            for late in self._late - {queue}:
                if not self.takes(late):
                    self._note(late, "it does not confirm, while others do")
            self._late.clear()

    def _note(self, queue: str, reason: str) -> None:
        if queue not in self._failing:
            log.error("the queue %s takes nothing: %s; if it has no leader, delete it in RabbitMQ", queue, reason)
        self._failing[queue] = (time.monotonic(), reason)
