"""Delaying the messages of one worker's queue, also where one of its retry queues fails."""

import asyncio
from collections.abc import Mapping

from hookline.broker.rabbitmq.confirms import LATE, REFUSED, UNROUTABLE
from hookline.broker.rabbitmq.connection import Connection
from hookline.broker.rabbitmq.names import retry_name
from hookline.broker.rabbitmq.publisher import RabbitMQPublisher
from hookline.broker.rabbitmq.topology.retry_queues import declare_retry, delay_step_ms
from hookline.broker.rabbitmq.wire.encode import Message
from hookline.schemas.broker import Received
from hookline.schemas.errors import NotDurable

YOUNG_S = 1.0
"""How old a retry queue must be. RabbitMQ 3.10 may forget a queue that was declared less than about half a second
before it was killed, with every message that it has confirmed."""
_CHOICES = 3
_FAULTS_OF_ONE = frozenset({UNROUTABLE, REFUSED, LATE})
"""What may be the fault of one queue. After others of RabbitMQ's faults another queue would do no better."""


class RetryQueues:
    """Belongs to one consumer. A message whose retry queue fails waits in the one of the next longer delay.

    It still returns after its own delay, unless a message ahead of it waits for longer.
    """

    def __init__(self, connection: Connection, publisher: RabbitMQPublisher, queue: str, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._publisher = publisher
        self._queue = queue
        self._timeout_s = timeout_s
        self._usable_at_s: dict[int, float] = {}

    async def send(self, received: Received, headers: Mapping[str, str], delay_s: float) -> None:
        """Return once a retry queue has confirmed the message. Raises NotDurable, Unreachable or SettingsError."""
        due_at_s, delay_ms = self._loop.time() + delay_s, delay_step_ms(delay_s)
        for _ in range(_CHOICES):
            if self._publisher.to_queues.takes(retry_name(self._queue, delay_ms)):
                try:
                    await self._send(received, headers, delay_ms, due_at_s)
                except NotDurable as error:
                    if str(error) not in _FAULTS_OF_ONE:
                        raise
                else:
                    return
            delay_ms = delay_step_ms((delay_ms + 1) / 1000)
        raise NotDurable(f"neither {retry_name(self._queue, delay_step_ms(delay_s))} nor the next two take it")

    async def _send(self, received: Received, headers: Mapping[str, str], delay_ms: int, due_at_s: float) -> None:
        name = await self._usable(delay_ms)
        # The exact delay, except for messages ahead of it: the queue holds none of those for longer than its step.
        expiration_ms = min(max(round(1000 * (due_at_s - self._loop.time())), 0), delay_ms)
        message = Message("", name, headers, received.content_type, received.body, expiration_ms)
        try:
            await self._publisher.send_to(name, message)
        except NotDurable:
            self._usable_at_s.pop(delay_ms, None)  # someone may have deleted the queue
            raise

    async def _usable(self, delay_ms: int) -> str:
        """The name of a retry queue, once it is there and old enough."""
        if delay_ms not in self._usable_at_s:
            await declare_retry(self._connection.require(), self._queue, delay_ms, self._timeout_s)
            self._usable_at_s[delay_ms] = self._loop.time() + YOUNG_S
        await asyncio.sleep(max(0.0, self._usable_at_s[delay_ms] - self._loop.time()))
        return retry_name(self._queue, delay_ms)
