"""Dead letters on RabbitMQ: those of workers' queues, and unrouted events.

AMQP cannot browse a queue. A scan gets each message without acknowledging it, and requeues at the end those that stay;
the server requeues them if the process dies before. A scan locks the queue, since two scans at a time would see a part
of it each.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from aiormq.abc import AbstractChannel, DeliveredMessage

from hookline.broker.rabbitmq.connection import Connection, RabbitMQSettings, bounded, open_channel
from hookline.broker.rabbitmq.headers import dead_letter
from hookline.broker.rabbitmq.names import REGISTER
from hookline.broker.rabbitmq.publisher import RabbitMQPublisher
from hookline.broker.rabbitmq.topology.bindings import bound_to
from hookline.broker.rabbitmq.topology.lock import locked
from hookline.broker.rabbitmq.topology.queue_depth import depth
from hookline.broker.rabbitmq.topology.register import registered
from hookline.broker.rabbitmq.wire.encode import Message
from hookline.schemas import topics
from hookline.schemas.dead_letters import REPLAYED_AT, REPLAYS, UNROUTED, Action, DeadLetter, Scanned
from hookline.schemas.errors import NotDurable, SettingsError, Unreachable

# The server passes on up to 32 acknowledgements of a channel at a time. It buffers more without their order, and drops
# them if the channel is closed: messages that were replayed would still be in the queue.
_PAGE = 16
_PAGE_S = 30.0
_LOOKS = 100
_LOOK_S = 0.001  # 5 s in all
_LOOKS_FOR_RETURNED = 30
_REQUEUE_S = 300.0


class RabbitMQDeadLetters:
    """Implements `schemas.broker.DeadLetters`."""

    def __init__(self, connection: Connection, publisher: RabbitMQPublisher, settings: RabbitMQSettings) -> None:
        self._connection = connection
        self._publisher = publisher
        self._timeout_s = settings.connect_timeout_s
        self._page_size = min(_PAGE, settings.max_in_flight)

    async def counts(self) -> Mapping[str, int]:
        depths = {queue: await self._depth(topics.dead_name(queue)) for queue in sorted(await self._queues())}
        return {queue: count for queue, count in depths.items() if count}

    async def count(self, queue: str) -> int:
        found = await self._depth(_name(queue))
        if found is None:
            raise SettingsError(f"there is no queue {queue!r}, and no dead letter of one")
        return found

    async def wanted(self) -> frozenset[str]:
        connection, keys = self._connection.require(), set[str]()
        for queue in await self._queues():
            with suppress(SettingsError):  # it was deleted
                keys |= await bound_to(connection, queue, self._timeout_s)
        return frozenset(keys)

    async def scan(self, queue: str, decide: Callable[[DeadLetter], Action]) -> AsyncGenerator[Scanned, None]:
        connection, name = self._connection.require(), _name(queue)
        wanted = await self.wanted() if queue == UNROUTED else frozenset()
        async with locked(connection, f"{queue}.dead_letters", self._timeout_s):
            left = await self.count(queue)
            async with open_channel(connection, self._timeout_s) as channel, _requeueing(channel, name) as kept:
                while page := await _page(channel, name, min(left, self._page_size)):
                    left -= len(page)
                    chosen = [(message, _scanned(_dead_letter(message, queue), decide)) for message in page]
                    kept += [message.delivery_tag or 0 for message, each in chosen if each.action is Action.KEEP]
                    doubtful = queue == UNROUTED and sum(_is_doubtful(each, wanted) for _, each in chosen)
                    before = await _ready(channel, name) if doubtful else 0
                    await self._carry_out(channel, queue, chosen)
                    stayed = await _grown(channel, name, before, doubtful) if doubtful else 0
                    for _, each in chosen:
                        if stayed and _is_doubtful(each, wanted):
                            stayed -= 1
                            yield Scanned(each.dead_letter, Action.KEEP)
                        else:
                            yield each

    async def _carry_out(
        self, channel: AbstractChannel, queue: str, chosen: list[tuple[DeliveredMessage, Scanned]]
    ) -> None:
        """Publish the messages to replay, then acknowledge those that were confirmed. Raises if one was not."""
        replaying = [(message, each.dead_letter) for message, each in chosen if each.action is Action.REPLAY]
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
        return Unreachable(f"a dead letter could not be replayed: {error}")

    async def _queues(self) -> Collection[str]:
        connection = self._connection.require()
        async with locked(connection, topics.short_name(REGISTER), self._timeout_s):
            return await registered(connection, self._timeout_s)

    async def _depth(self, name: str) -> int | None:
        return await depth(self._connection.require(), name, self._timeout_s)


def _is_doubtful(scanned: Scanned, wanted: Collection[str]) -> bool:
    """Whether an event was published again that no worker's queue wants: only one of another program may."""
    envelope = scanned.dead_letter.envelope
    is_wanted = envelope is not None and any(topics.matches(key, envelope.routing_key) for key in wanted)
    return scanned.action is Action.REPLAY and not is_wanted


async def _grown(channel: AbstractChannel, name: str, before: int, most: int) -> int:
    """By how much a queue has grown, up to `most`: how many messages have returned to it."""
    grown = 0
    for look in range(_LOOKS_FOR_RETURNED):
        grown = min(max(await _ready(channel, name) - before, 0), most)
        if grown == most:
            break
        await asyncio.sleep(look * _LOOK_S)
    return grown


async def _acknowledge(channel: AbstractChannel, messages: list[DeliveredMessage]) -> None:
    for message in messages:
        await channel.basic_ack(message.delivery_tag or 0, wait=False)


@asynccontextmanager
async def _requeueing(channel: AbstractChannel, name: str) -> AsyncIterator[list[int]]:
    """A list for the delivery tags of messages that stay. At the end they are requeued, in order and page by page."""
    kept: list[int] = []
    try:
        yield kept
    finally:
        with suppress(Unreachable):  # the server requeues the messages of a lost connection
            async with bounded(_REQUEUE_S, "requeueing"):
                for start in range(0, len(kept), _PAGE):
                    await _requeue(channel, name, kept[start : start + _PAGE])


async def _requeue(channel: AbstractChannel, name: str, tags: list[int]) -> None:
    """Return once the queue shows the messages again, or after 5 s: other programs may add or take messages."""
    target = await _ready(channel, name) + len(tags)
    for tag in tags:
        await channel.basic_nack(tag, requeue=True, wait=False)
    for look in range(_LOOKS):
        if await _ready(channel, name) >= target:
            return
        await asyncio.sleep(look * _LOOK_S)  # a busy server needs longer


async def _ready(channel: AbstractChannel, name: str) -> int:
    return int((await channel.queue_declare(name, passive=True)).message_count or 0)


def _name(queue: str) -> str:
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


def _dead_letter(message: DeliveredMessage, queue: str) -> DeadLetter:
    properties = message.header.properties
    reason = UNROUTED if queue == UNROUTED else "broker"
    return dead_letter(properties.headers, properties.content_type or "", message.body, reason)


def _scanned(each: DeadLetter, decide: Callable[[DeadLetter], Action]) -> Scanned:
    return Scanned(each, decide(each))
