"""Exchanges, queues and bindings: declared when needed, on channels that are thrown away.

A queue that is declared with other arguments than it has closes the channel it is declared on; so nothing else uses it.
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelLockedResource, ChannelNotFoundEntity, ChannelPreconditionFailed, DeliveryError
from pamqp.commands import Basic

from hookline.broker.rabbitmq.connection import bounded, open_channel
from hookline.schemas import topics
from hookline.schemas.broker import Retention
from hookline.schemas.errors import SettingsError, Unreachable

SHARED_EXCHANGES = (topics.EXCHANGE, topics.UNROUTED, topics.RECEIVED)
SHARED = (*SHARED_EXCHANGES, topics.HISTORY)
"""The names that `declare_exchanges` declares; that of the unrouted is an exchange's and a queue's."""

_DELIVERY_LIMIT = 100  # a backstop only: workers count attempts themselves, and no version's default is to be trusted
_UNLIMITED = 2**31 - 1  # looking at a letter counts as a delivery, and from 4.0 on twenty of them would be its end
_PARTITIONS_TAKE = 4  # times as long as one queue
_LOCK_TRIES = 50
_LOCK_WAIT_S = 0.1
_REFUSED_WAIT_S = 0.1
_MAX_TTL_MS = 2**32 - 1
_STEPS = (10, 12, 15, 18, 20, 25, 30, 36, 45, 60, 75, 90, 100)
_MIN_STEP_MS = 100
_SEGMENTS = 20  # whole segments are dropped, so that what is kept varies by one of them
_MAX_SEGMENT_BYTES = 500 * 10**6

_QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}
_LOSSLESS: dict[str, Any] = {**_QUORUM, "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}

_ANOTHER_FORM = "drain and delete it there, or give the worker's queue another name"
_ANOTHER_RETENTION = (
    "let history.max_age_s and history.max_bytes be what they were, or delete the stream, and what it keeps with it"
)


async def declare_exchanges(connection: AbstractConnection, retention: Retention, timeout_s: float) -> None:
    """The exchange of all events, the queue that keeps those that no worker's queue wants, and the history if wanted.

    Raises SettingsError if one exists in another form.
    """
    async with _declaring(connection, timeout_s, topics.EXCHANGE) as channel:
        await channel.exchange_declare(topics.UNROUTED, exchange_type="fanout", durable=True)
        await channel.queue_declare(topics.UNROUTED, durable=True, arguments=_letters())
        await channel.queue_bind(topics.UNROUTED, topics.UNROUTED)
        arguments: dict[str, Any] = {"alternate-exchange": topics.UNROUTED}
        await channel.exchange_declare(topics.EXCHANGE, exchange_type="topic", durable=True, arguments=arguments)
    if retention.enabled:
        await _declare_history(connection, retention, timeout_s)


async def _declare_history(connection: AbstractConnection, retention: Retention, timeout_s: float) -> None:
    """The stream of everything received, and the exchange before the other that feeds both.

    A stream does not sync what it takes, so it must never be the only one that took an event. Bound to the exchange of
    all events it would be: events that no worker wants would count as routed. Before that exchange it is not: the
    other still finds its own queues, or the one of the unrouted, and the confirm waits for all.
    """
    async with _declaring(connection, timeout_s, topics.HISTORY, _ANOTHER_RETENTION) as channel:
        await channel.exchange_declare(topics.RECEIVED, exchange_type="fanout", durable=True)
        await channel.exchange_bind(topics.EXCHANGE, topics.RECEIVED)
        arguments: dict[str, Any] = {
            "x-queue-type": "stream",
            "x-max-age": f"{math.ceil(retention.max_age_s)}s",
            "x-max-length-bytes": retention.max_bytes,
            "x-stream-max-segment-size-bytes": min(retention.max_bytes // _SEGMENTS, _MAX_SEGMENT_BYTES),
        }
        await channel.queue_declare(topics.HISTORY, durable=True, arguments=arguments)
        await channel.queue_bind(topics.HISTORY, topics.RECEIVED)


async def declare_queue(connection: AbstractConnection, queue: str, patterns: Sequence[str], timeout_s: float) -> None:
    """A worker's queue, its dead letters, and its bindings: these patterns and no others.

    Raises SettingsError if it exists in another form.
    """
    await _register(connection, queue, timeout_s)
    async with _declaring(connection, timeout_s, topics.queue_name(queue)) as channel:
        await _declare_whole(channel, queue)
    await _bind(connection, queue, {topics.binding(pattern) for pattern in patterns}, timeout_s)


async def declare_partitions(
    connection: AbstractConnection, queue: str, patterns: Sequence[str], timeout_s: float
) -> None:
    """A queue for each partition of a worker, of which one consumer at a time gets messages; and the worker's own.

    That one is bound to nothing: it takes what was there before, and what is put there by name. Raises SettingsError if
    one exists in another form.
    """
    await _register(connection, queue, timeout_s)
    timeout_s *= _PARTITIONS_TAKE
    async with _declaring(connection, timeout_s, f"the partitions of {topics.queue_name(queue)}") as channel:
        await _declare_whole(channel, queue)
        arguments = {**_working(queue), "x-single-active-consumer": True}
        for partition in topics.PARTITION_WORDS:
            name = topics.partition_name(queue, partition)
            await channel.queue_declare(name, durable=True, arguments=arguments)
    keys = {topics.binding(pattern, partition) for pattern in patterns for partition in topics.PARTITION_WORDS}
    await _bind(connection, queue, keys, timeout_s)


async def _declare_whole(channel: AbstractChannel, queue: str) -> None:
    await channel.queue_declare(topics.dead_name(queue), durable=True, arguments=_letters())
    await channel.queue_declare(topics.queue_name(queue), durable=True, arguments=_working(queue))


def _working(queue: str) -> dict[str, Any]:
    """The arguments of a queue that a worker takes from."""
    return {**_LOSSLESS, **_dead_letters_to(topics.dead_name(queue)), "x-delivery-limit": _DELIVERY_LIMIT}


async def bound_to(connection: AbstractConnection, queue: str, timeout_s: float) -> frozenset[str]:
    """The binding keys of a worker's queue. Raises SettingsError if there is no such queue."""
    if not await exists(connection, topics.queue_name(queue), timeout_s):
        raise SettingsError(f"there is no queue {queue!r}: start its worker once, so that it is declared")
    memory = topics.bindings_name(queue)
    async with (
        locked(connection, queue, timeout_s),
        _declaring(connection, timeout_s, memory, confirms=True) as channel,
    ):
        note = await channel.basic_get(memory)
        keys = _read(note.body)
        if (
            note.delivery_tag is not None
        ):  # written anew: a note that was only looked at too often is dropped from 4.0 on
            await _remember(channel, memory, keys)
            await channel.basic_ack(note.delivery_tag)
    return frozenset(keys)


async def exists(connection: AbstractConnection, name: str, timeout_s: float) -> bool:
    """Whether there is a queue of this name."""
    return await depth(connection, name, timeout_s) is not None


async def _register(connection: AbstractConnection, queue: str, timeout_s: float) -> None:
    """Note the name of a new queue, since AMQP cannot list queues. Those who come first at once note it twice."""
    if await depth(connection, topics.dead_name(queue), timeout_s) is None:
        async with _declaring(connection, timeout_s, topics.REGISTER, confirms=True) as channel:
            await channel.queue_declare(topics.REGISTER, durable=True, arguments=_letters())
            await _keep(channel, topics.REGISTER, queue.encode(), Basic.Properties(delivery_mode=2))


async def registered(connection: AbstractConnection, timeout_s: float) -> set[str]:
    """The names of all workers' queues that ever were."""
    waiting = await depth(connection, topics.REGISTER, timeout_s) or 0
    names = set()
    async with _declaring(connection, timeout_s, topics.REGISTER) as channel:
        for _ in range(waiting):
            names.add((await channel.basic_get(topics.REGISTER)).body.decode("utf-8", "replace"))
    return names - {""}


async def depth(connection: AbstractConnection, name: str, timeout_s: float) -> int | None:
    """How many messages wait in a queue; None if there is no such queue."""
    try:
        async with bounded(timeout_s, f"looking at {name}"), open_channel(connection, timeout_s) as channel:
            return int((await channel.queue_declare(name, passive=True)).message_count or 0)
    except Unreachable as error:
        if isinstance(error.__cause__, ChannelNotFoundEntity):
            return None
        raise


async def declare_retry(connection: AbstractConnection, queue: str, delay_ms: int, timeout_s: float) -> str:
    """The queue in which messages wait for `delay_ms` and then return to the worker's queue; its name."""
    name = topics.retry_name(queue, delay_ms)
    async with _declaring(connection, timeout_s, name) as channel:
        arguments = {**_LOSSLESS, **_dead_letters_to(topics.queue_name(queue)), "x-message-ttl": delay_ms}
        await channel.queue_declare(name, durable=True, arguments=arguments)
    return name


def delay_step_ms(delay_s: float) -> int:
    """A delay rounded up to one of twelve steps in a decade, since each delay in use has a queue of its own.

    The steps hold what people write: 10, 12, 15, 20, 30, 60, 90 seconds, five minutes, an hour. None is below 100 ms
    or above 49 days.
    """
    delay_ms = min(delay_s * 1000, _MAX_TTL_MS)
    scale = _MIN_STEP_MS // _STEPS[0]
    while _STEPS[-1] * scale < delay_ms:
        scale *= 10
    return min(next(step * scale for step in _STEPS if step * scale >= delay_ms), _MAX_TTL_MS)


async def in_time(awaited: Awaitable[object], timeout_s: float, what: str) -> None:
    """Await something of our own. Raises Unreachable."""
    async with bounded(timeout_s, what):
        await awaited


def _letters() -> dict[str, Any]:
    """Of a queue that keeps letters until a person takes them, and in their order however often he looks."""
    return {**_QUORUM, "x-delivery-limit": _UNLIMITED}


def _dead_letters_to(queue: str) -> dict[str, Any]:
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}


@asynccontextmanager
async def _declaring(
    connection: AbstractConnection, timeout_s: float, name: str, remedy: str = _ANOTHER_FORM, *, confirms: bool = False
) -> AsyncIterator[AbstractChannel]:
    async with (
        bounded(timeout_s, f"declaring {name}"),
        open_channel(connection, timeout_s, confirms=confirms) as channel,
    ):
        try:
            yield channel
        except ChannelPreconditionFailed as error:
            raise SettingsError(
                f"RabbitMQ has {name}, or what belongs to it, in another form ({error}): {remedy}"
            ) from None


async def _bind(connection: AbstractConnection, queue: str, wanted: set[str], timeout_s: float) -> None:
    name = topics.queue_name(queue)
    async with locked(connection, queue, timeout_s), _declaring(connection, timeout_s, name, confirms=True) as channel:
        await _bind_to(channel, queue, wanted)


async def _bind_to(channel: AbstractChannel, queue: str, wanted: set[str]) -> None:
    """Bind to what is wanted and unbind what was wanted before: a key's last word says which queue of the worker it is.

    AMQP cannot list bindings, so those that a queue has are remembered in a queue of one message beside it. It is
    written before the first binding and again after the last: a crash in between leaves too much in it, never too
    little.
    """
    memory = topics.bindings_name(queue)
    arguments = {**_QUORUM, "x-max-length": 1}
    await channel.queue_declare(memory, durable=True, arguments=arguments)
    note = await channel.basic_get(memory)
    before = _read(note.body)
    if not wanted <= before:
        await _remember(channel, memory, before | wanted)
    for key in sorted(wanted):
        await channel.queue_bind(topics.bound_name(queue, key), topics.EXCHANGE, key)
    for key in sorted(before - wanted):
        await channel.queue_unbind(topics.bound_name(queue, key), topics.EXCHANGE, key)
    await _remember(channel, memory, wanted)
    if note.delivery_tag is not None:
        await channel.basic_ack(note.delivery_tag)


async def _remember(channel: AbstractChannel, memory: str, keys: set[str]) -> None:
    properties = Basic.Properties(delivery_mode=2, content_type="application/json")
    body = json.dumps(sorted(keys)).encode()
    await _keep(channel, memory, body, properties)


async def _keep(channel: AbstractChannel, queue: str, body: bytes, properties: Basic.Properties) -> None:
    """Have a queue keep a note. One that another process is just declaring may refuse it for a moment."""
    while True:
        try:
            await channel.basic_publish(body, routing_key=queue, properties=properties, mandatory=True)
        except DeliveryError:
            await asyncio.sleep(_REFUSED_WAIT_S)
        else:
            return


def _read(body: bytes) -> set[str]:
    try:
        return {str(key) for key in json.loads(body)} if body else set()
    except (ValueError, TypeError):
        return set()


@asynccontextmanager
async def locked(connection: AbstractConnection, queue: str, timeout_s: float) -> AsyncIterator[None]:
    """Nobody else changes the bindings of the queue, or whatever else the name stands for, meanwhile.

    The lock is an exclusive queue of that name: it belongs to a connection, and goes with it.
    """
    lock = topics.lock_name(queue)
    for _ in range(_LOCK_TRIES):
        if await _takes(connection, lock, timeout_s):
            break
        await asyncio.sleep(_LOCK_WAIT_S)
    else:
        raise Unreachable(f"RabbitMQ: {lock} is held by another process")
    try:
        yield
    finally:
        with suppress(Unreachable):
            async with bounded(timeout_s, "unlocking"), open_channel(connection, timeout_s) as channel:
                await channel.queue_delete(lock)


async def _takes(connection: AbstractConnection, lock: str, timeout_s: float) -> bool:
    async with bounded(timeout_s, "locking"), open_channel(connection, timeout_s) as channel:
        try:
            await channel.queue_declare(lock, exclusive=True)
        except ChannelLockedResource:
            return False
    return True
