"""Pending retries on RabbitMQ: the messages of a worker's retry queues.

A message that is rejected is dead-lettered to the worker's queue by the server, just as it is when its time has come,
and with the same headers. So a message that is due now is in one of the two queues at any time, never in none or both.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from hookline.broker.rabbitmq.connection import Connection, RabbitMQSettings, bounded, open_channel
from hookline.broker.rabbitmq.headers import pending_retry
from hookline.broker.rabbitmq.names import REGISTER
from hookline.broker.rabbitmq.scanning import PAGE, PAGE_S, page_of, ready, requeueing
from hookline.broker.rabbitmq.topology.lock import locked
from hookline.broker.rabbitmq.topology.queue_depth import exists
from hookline.broker.rabbitmq.topology.register import registered
from hookline.broker.rabbitmq.topology.retry_queues import retry_depths
from hookline.schemas import topics
from hookline.schemas.dead_letters import Action, Scanned
from hookline.schemas.errors import UnknownQueue
from hookline.schemas.retries import PendingRetry

_LOOKS = 20  # 0.2 s in all: a requeued message whose time has come leaves at once


class RabbitMQRetries:
    """Implements `schemas.broker.Retries`."""

    def __init__(self, connection: Connection, settings: RabbitMQSettings) -> None:
        self._connection = connection
        self._timeout_s = settings.connect_timeout_s

    async def counts(self) -> Mapping[str, int]:
        connection = self._connection.require()
        async with locked(connection, topics.short_name(REGISTER), self._timeout_s):
            queues = sorted(await registered(connection, self._timeout_s))
        numbers = {queue: sum((await self._depths(queue)).values()) for queue in queues}
        return {queue: number for queue, number in numbers.items() if number}

    async def count(self, queue: str) -> int:
        found = await self._depths(queue)
        if not found and not await exists(self._connection.require(), topics.queue_name(queue), self._timeout_s):
            raise UnknownQueue(queue)
        return sum(found.values())

    async def scan(
        self, queue: str, decide: Callable[[PendingRetry], Action]
    ) -> AsyncGenerator[Scanned[PendingRetry], None]:
        connection = self._connection.require()
        async with locked(connection, f"{queue}.retries", self._timeout_s):
            await self.count(queue)  # raises if there is no such queue
            for name, number in (await self._depths(queue)).items():
                async with aclosing(self._scan(connection, name, number, decide)) as scanning:
                    async for scanned in scanning:
                        yield scanned

    async def _scan(
        self, connection: AbstractConnection, name: str, left: int, decide: Callable[[PendingRetry], Action]
    ) -> AsyncGenerator[Scanned[PendingRetry], None]:
        """Scan one retry queue."""
        async with (
            open_channel(connection, self._timeout_s) as channel,
            requeueing(channel, name, _LOOKS) as kept,
        ):
            while page := await page_of(channel, name, min(left, PAGE)):
                left -= len(page)
                chosen = [(message, _scanned(message, decide)) for message in page]
                kept += [message.delivery_tag or 0 for message, each in chosen if each.action is Action.KEEP]
                async with bounded(PAGE_S, f"settling messages of {name}"):
                    await _carry_out(channel, chosen)
                    await ready(channel, name)
                for _, each in chosen:
                    yield each

    async def _depths(self, queue: str) -> dict[str, int]:
        return await retry_depths(self._connection.require(), queue, self._timeout_s)


def _scanned(message: DeliveredMessage, decide: Callable[[PendingRetry], Action]) -> Scanned[PendingRetry]:
    properties = message.header.properties
    retry = pending_retry(properties.headers, properties.content_type or "", message.body)
    return Scanned(retry, decide(retry))


async def _carry_out(channel: AbstractChannel, chosen: list[tuple[DeliveredMessage, Scanned[PendingRetry]]]) -> None:
    for message, each in chosen:
        if each.action is Action.REPLAY:
            await channel.basic_reject(message.delivery_tag or 0, requeue=False, wait=False)
        elif each.action is Action.DROP:
            await channel.basic_ack(message.delivery_tag or 0, wait=False)
