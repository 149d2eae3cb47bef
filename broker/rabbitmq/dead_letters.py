"""The letters on RabbitMQ: workers' dead ones, and those that no queue wanted.

AMQP lets nobody look at a queue, only take from it: so each letter is got without acknowledgement, and what is to stay
is given back at the end; by the server if we die before. Whoever does so holds a lock, or two would see a part each.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from aiormq.abc import AbstractChannel, DeliveredMessage

from hookline.broker.rabbitmq.connection import Connection, RabbitMQSettings, bounded, open_channel
from hookline.broker.rabbitmq.headers import letter
from hookline.broker.rabbitmq.names import REGISTER
from hookline.broker.rabbitmq.publisher import RabbitMQPublisher
from hookline.broker.rabbitmq.topology.lock import locked
from hookline.broker.rabbitmq.topology.queue_depth import depth
from hookline.broker.rabbitmq.topology.register import registered
from hookline.broker.rabbitmq.wire.encode import Message
from hookline.schemas import topics
from hookline.schemas.dead_letters import REPLAYED_AT, REPLAYS, UNROUTED, Action, DeadLetter, Scanned
from hookline.schemas.errors import NotDurable, SettingsError, Unreachable

# A server has up to 32 acknowledgements of a channel in hand. What exceeds that it keeps in memory, forgets which came
# first, and forgets it all if the channel is closed: then letters that were replayed would be here again.
_PAGE = 16
_PAGE_S = 30.0
_LOOKS = 100
_LOOK_S = 0.001  # 5 s in all
_GIVE_BACK_S = 300.0


class RabbitMQDeadLetters:
    """Implements `schemas.broker.DeadLetters`."""

    def __init__(self, link: Connection, publisher: RabbitMQPublisher, settings: RabbitMQSettings) -> None:
        self._connection = link
        self._publisher = publisher
        self._timeout_s = settings.connect_timeout_s
        self._page_size = min(_PAGE, settings.max_in_flight)

    async def counts(self) -> Mapping[str, int]:
        connection = self._connection.require()
        async with locked(connection, topics.short_name(REGISTER), self._timeout_s):
            queues = await registered(connection, self._timeout_s)
        depths = {queue: await self._depth(topics.dead_name(queue)) for queue in sorted(queues)}
        return {queue: count for queue, count in depths.items() if count}

    async def count(self, queue: str) -> int:
        found = await self._depth(_place(queue))
        if found is None:
            raise SettingsError(f"there is no queue {queue!r}, and no dead letter of one")
        return found

    async def scan(self, queue: str, decide: Callable[[DeadLetter], Action]) -> AsyncGenerator[Scanned, None]:
        connection, place = self._connection.require(), _place(queue)
        async with locked(connection, f"{queue}.dead_letters", self._timeout_s):
            left = await self.count(queue)
            async with open_channel(connection, self._timeout_s) as channel, _giving_back(channel, place) as kept:
                while page := await _page(channel, place, min(left, self._page_size)):
                    left -= len(page)
                    chosen = [(message, _sifted(_letter(message, queue), decide)) for message in page]
                    kept += [message.delivery_tag or 0 for message, each in chosen if each.action is Action.KEEP]
                    await self._carry_out(channel, queue, chosen)
                    for _, each in chosen:
                        yield each

    async def _carry_out(
        self, channel: AbstractChannel, queue: str, chosen: list[tuple[DeliveredMessage, Scanned]]
    ) -> None:
        """Publish what is to be replayed, and only then acknowledge it here. Raises if any of it could not be."""
        replaying = [(message, each.letter) for message, each in chosen if each.action is Action.REPLAY]
        sending = (self._replay(queue, each, message.routing_key or "") for message, each in replaying)
        results = await asyncio.gather(*sending, return_exceptions=True)
        gone = [message for (message, _), result in zip(replaying, results, strict=True) if result is None]
        gone += [message for message, each in chosen if each.action is Action.DROP]
        async with bounded(_PAGE_S, "acknowledging"):
            await _acknowledge(channel, gone)
        for result in results:
            if isinstance(result, NotDurable):
                raise await self._failure(queue, result) from result
            if isinstance(result, BaseException):
                raise result

    async def _replay(self, queue: str, each: DeadLetter, routing_key: str) -> None:
        unrouted = queue == UNROUTED
        replays = each.replays + (not unrouted)
        headers = {**each.headers, REPLAYS: str(replays), REPLAYED_AT: datetime.now(UTC).isoformat()}
        exchange, key = (topics.EXCHANGE, routing_key) if unrouted else ("", topics.queue_name(queue))
        await self._publisher.send(Message(exchange, key, headers, each.content_type, each.body))

    async def _failure(self, queue: str, error: NotDurable) -> Exception:
        if queue != UNROUTED and await self._depth(topics.queue_name(queue)) is None:
            return SettingsError(f"the queue {queue!r} is gone: start its worker once, so that it is declared")
        return Unreachable(f"a letter could not be replayed: {error}")

    async def _depth(self, name: str) -> int | None:
        return await depth(self._connection.require(), name, self._timeout_s)


async def _acknowledge(channel: AbstractChannel, messages: list[DeliveredMessage]) -> None:
    for message in messages:
        await channel.basic_ack(message.delivery_tag or 0, wait=False)


@asynccontextmanager
async def _giving_back(channel: AbstractChannel, place: str) -> AsyncIterator[list[int]]:
    """The delivery tags of what is to stay, given back at the end one by one: all in one go would lose their order."""
    kept: list[int] = []
    try:
        yield kept
    finally:
        with suppress(Unreachable):  # a lost connection gives everything back by itself
            async with bounded(_GIVE_BACK_S, "giving back"):
                for start in range(0, len(kept), _PAGE):
                    await _give_back(channel, place, kept[start : start + _PAGE])


async def _give_back(channel: AbstractChannel, place: str, tags: list[int]) -> None:
    """Return once the server has done it, as far as can be seen while others add letters or take some."""
    target = await _ready(channel, place) + len(tags)
    for tag in tags:
        await channel.basic_nack(tag, requeue=True, wait=False)
    for look in range(_LOOKS):
        if await _ready(channel, place) >= target:
            return
        await asyncio.sleep(look * _LOOK_S)  # a server with much to write needs longer


async def _ready(channel: AbstractChannel, place: str) -> int:
    return int((await channel.queue_declare(place, passive=True)).message_count or 0)


def _place(queue: str) -> str:
    return topics.UNROUTED if queue == UNROUTED else topics.dead_name(queue)


async def _page(channel: AbstractChannel, name: str, size: int) -> list[DeliveredMessage]:
    messages: list[DeliveredMessage] = []
    async with bounded(_PAGE_S, f"looking at {name}"):
        while len(messages) < size:
            message = await channel.basic_get(name)
            if message.delivery_tag is None:
                break
            messages.append(message)
    return messages


def _letter(message: DeliveredMessage, queue: str) -> DeadLetter:
    properties = message.header.properties
    reason = UNROUTED if queue == UNROUTED else "broker"
    return letter(properties.headers, properties.content_type or "", message.body, reason)


def _sifted(each: DeadLetter, decide: Callable[[DeadLetter], Action]) -> Scanned:
    return Scanned(each, decide(each))
