"""Dead letters on RabbitMQ: those of workers' queues, and unrouted events.

A message to replay is published with a confirm, and acknowledged then. `scanning` says how a queue is looked at.

A worker that gets no confirm for a dead letter publishes it again. If both arrived, a scan drops the second.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from typing import TypeAlias

from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from hookline.aio.cancellation import to_its_end
from hookline.broker.rabbitmq.connection import Connection, RabbitMQSettings, bounded, open_channel
from hookline.broker.rabbitmq.headers import dead_letter
from hookline.broker.rabbitmq.names import REGISTER, scan_of
from hookline.broker.rabbitmq.publisher import RabbitMQPublisher
from hookline.broker.rabbitmq.scanning import LOOK_S, PAGE, PAGE_S, page_of, ready, requeueing
from hookline.broker.rabbitmq.topology.bindings import bound_to
from hookline.broker.rabbitmq.topology.lock import locked
from hookline.broker.rabbitmq.topology.queue_depth import depth
from hookline.broker.rabbitmq.topology.register import registered
from hookline.broker.rabbitmq.unrouted import drop_oldest
from hookline.broker.rabbitmq.wire.encode import Message
from hookline.schemas import topics
from hookline.schemas.dead_letters import AGAIN, EVENTS, REPLAYED_AT, REPLAYS, UNROUTED, Action, DeadLetter, Scanned
from hookline.schemas.errors import NotDurable, SettingsError, UnknownQueue, Unreachable

log = logging.getLogger("hookline.broker")

_LOOKS_FOR_RETURNED = 30
_End: TypeAlias = tuple[str, ...]


class RabbitMQDeadLetters:
    """Implements `schemas.broker.DeadLetters`."""

    def __init__(self, connection: Connection, publisher: RabbitMQPublisher, settings: RabbitMQSettings) -> None:
        self._connection = connection
        self._publisher = publisher
        self._timeout_s = settings.connect_timeout_s
        self._page_size = min(PAGE, settings.max_in_flight)

    async def counts(self) -> Mapping[str, int]:
        depths = {queue: await self._depth(topics.dead_name(queue)) for queue in sorted(await self._queues())}
        return {queue: count for queue, count in depths.items() if count}

    async def count(self, queue: str) -> int:
        found = await self._depth(_name(queue))
        if found is None:
            raise UnknownQueue(queue)
        return found

    async def drop_unrouted(self, max_events: int) -> int:
        connection = self._connection.require()
        async with _locked(connection, UNROUTED, self._timeout_s), open_channel(connection, self._timeout_s) as channel:
            return await drop_oldest(channel, max_events)

    async def wanted(self) -> frozenset[str]:
        connection, keys = self._connection.require(), set[str]()
        for queue in await self._queues():
            with suppress(UnknownQueue):  # it was deleted
                keys |= await bound_to(connection, queue, self._timeout_s)
        return frozenset(keys)

    async def scan(
        self, queue: str, decide: Callable[[DeadLetter], Action]
    ) -> AsyncGenerator[Scanned[DeadLetter], None]:
        connection, name = self._connection.require(), _name(queue)
        wanted = await self.wanted() if queue == UNROUTED else frozenset()
        async with _locked(connection, queue, self._timeout_s):
            left, seen = await self.count(queue), set[_End]()
            async with open_channel(connection, self._timeout_s) as channel, requeueing(channel, name) as kept:
                while page := await page_of(channel, name, min(left, self._page_size)):
                    left -= len(page)
                    letters = [(message, _dead_letter(message, queue)) for message in page]
                    if queue != UNROUTED:
                        letters = await _without_repeats(channel, queue, letters, seen)
                    chosen = [(message, _scanned(letter, decide)) for message, letter in letters]
                    kept += [message.delivery_tag or 0 for message, each in chosen if each.action is Action.KEEP]
                    doubtful = queue == UNROUTED and sum(_is_doubtful(each, wanted) for _, each in chosen)
                    before = await ready(channel, name) if doubtful else 0
                    # Half-way, events would be replayed that are still dead letters.
                    await to_its_end(self._carry_out(channel, queue, chosen))
                    stayed = await _grown(channel, name, before, doubtful) if doubtful else 0
                    for _, each in chosen:
                        if stayed and _is_doubtful(each, wanted):
                            stayed -= 1
                            yield Scanned(each.message, Action.KEEP)
                        else:
                            yield each

    async def _carry_out(
        self, channel: AbstractChannel, queue: str, chosen: list[tuple[DeliveredMessage, Scanned[DeadLetter]]]
    ) -> None:
        """Publish the messages to replay, then acknowledge those that were confirmed. Raises if one was not."""
        replaying = [(message, each.message) for message, each in chosen if each.action is Action.REPLAY]
        sending = (self._replay(queue, each, message.routing_key or "") for message, each in replaying)
        results = await asyncio.gather(*sending, return_exceptions=True)
        gone = [message for (message, _), result in zip(replaying, results, strict=True) if result is None]
        gone += [message for message, each in chosen if each.action is Action.DROP]
        async with bounded(PAGE_S, "acknowledging"):
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


def _is_doubtful(scanned: Scanned[DeadLetter], wanted: Collection[str]) -> bool:
    """Whether an event was published again that no worker's queue wants: only one of another program may."""
    envelope = scanned.message.envelope
    is_wanted = envelope is not None and any(topics.matches(key, envelope.routing_key) for key in wanted)
    return scanned.action is Action.REPLAY and not is_wanted


async def _grown(channel: AbstractChannel, name: str, before: int, most: int) -> int:
    """By how much a queue has grown, up to `most`: how many messages have returned to it."""
    grown = 0
    for look in range(_LOOKS_FOR_RETURNED):
        grown = min(max(await ready(channel, name) - before, 0), most)
        if grown == most:
            break
        await asyncio.sleep(look * LOOK_S)
    return grown


async def _acknowledge(channel: AbstractChannel, messages: list[DeliveredMessage]) -> None:
    for message in messages:
        await channel.basic_ack(message.delivery_tag or 0, wait=False)


async def _without_repeats(
    channel: AbstractChannel, queue: str, letters: list[tuple[DeliveredMessage, DeadLetter]], seen: set[_End]
) -> list[tuple[DeliveredMessage, DeadLetter]]:
    """The dead letters of events that are not in `seen`. The others are acknowledged."""
    first: list[tuple[DeliveredMessage, DeadLetter]] = []
    repeats: list[DeliveredMessage] = []
    for message, letter in letters:
        end = _end_of(letter)
        if end in seen:
            repeats.append(message)
        else:
            first.append((message, letter))
        if end is not None:
            seen.add(end)
    if repeats:
        log.info("%s: %d dead letters were there twice, and one of each is dropped", queue, len(repeats))
        async with bounded(PAGE_S, "acknowledging"):
            await _acknowledge(channel, repeats)
    return first


def _end_of(letter: DeadLetter) -> _End | None:
    """What two dead letters have in common only if they are of the same series of attempts of the same events."""
    if letter.envelope is None:
        return None
    return (letter.envelope.id, *(str(letter.headers.get(name, "")) for name in (REPLAYS, REPLAYED_AT, AGAIN, EVENTS)))


def _locked(connection: AbstractConnection, queue: str, timeout_s: float) -> AbstractAsyncContextManager[None]:
    return locked(connection, scan_of(queue), timeout_s)


def _name(queue: str) -> str:
    return topics.UNROUTED if queue == UNROUTED else topics.dead_name(queue)


def _dead_letter(message: DeliveredMessage, queue: str) -> DeadLetter:
    properties = message.header.properties
    reason = UNROUTED if queue == UNROUTED else "broker"
    return dead_letter(properties.headers, properties.content_type or "", message.body, reason)


def _scanned(each: DeadLetter, decide: Callable[[DeadLetter], Action]) -> Scanned[DeadLetter]:
    return Scanned(each, decide(each))
