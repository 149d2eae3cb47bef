"""The bindings of a worker's queue. AMQP cannot list them, so a note beside the queue keeps them."""

import json
from collections.abc import Collection

from aiormq.abc import AbstractChannel, AbstractConnection

from hookline.broker.rabbitmq.names import bindings_name, bound_name
from hookline.broker.rabbitmq.topology.arguments import QUORUM
from hookline.broker.rabbitmq.topology.declaring import declaring
from hookline.broker.rabbitmq.topology.lock import locked
from hookline.broker.rabbitmq.topology.notes import publish_note
from hookline.broker.rabbitmq.topology.queue_depth import exists
from hookline.schemas import topics
from hookline.schemas.errors import SettingsError

_ONE_NOTE = {**QUORUM, "x-max-length": 1}


async def bind(connection: AbstractConnection, queue: str, wanted: set[str], timeout_s: float) -> None:
    """Bind a worker's queue, or its partitions, to exactly these keys."""
    name = topics.queue_name(queue)
    async with locked(connection, queue, timeout_s), declaring(connection, timeout_s, name, confirms=True) as channel:
        await _bind_to(channel, queue, wanted)


async def bound_to(connection: AbstractConnection, queue: str, timeout_s: float) -> frozenset[str]:
    """The binding keys of a worker's queue. Raises SettingsError if there is no such queue."""
    if not await exists(connection, topics.queue_name(queue), timeout_s):
        raise SettingsError(f"there is no queue {queue!r}: start its worker once, so that it is declared")
    note_queue = bindings_name(queue)
    async with (
        locked(connection, queue, timeout_s),
        declaring(connection, timeout_s, note_queue, confirms=True) as channel,
    ):
        note = await channel.basic_get(note_queue)
        keys = _keys(note.body)
        if note.delivery_tag is not None:
            # A fresh copy: RabbitMQ 4.0 and later drop a message that was looked at too often.
            await _write(channel, note_queue, keys)
            await channel.basic_ack(note.delivery_tag)
    return frozenset(keys)


async def _bind_to(channel: AbstractChannel, queue: str, wanted: set[str]) -> None:
    """Add and remove bindings until they are what is wanted.

    The note is written before the first binding is added and again after the last is removed. After a crash in between
    it names too many keys, never too few.
    """
    note_queue = bindings_name(queue)
    await channel.queue_declare(note_queue, durable=True, arguments=_ONE_NOTE)
    note = await channel.basic_get(note_queue)
    before = _keys(note.body)
    if not wanted <= before:
        await _write(channel, note_queue, before | wanted)
    for key in sorted(wanted):
        await channel.queue_bind(bound_name(queue, key), topics.EXCHANGE, key)
    for key in sorted(before - wanted):
        await channel.queue_unbind(bound_name(queue, key), topics.EXCHANGE, key)
    await _write(channel, note_queue, wanted)
    if note.delivery_tag is not None:
        await channel.basic_ack(note.delivery_tag)


async def _write(channel: AbstractChannel, note_queue: str, keys: Collection[str]) -> None:
    await publish_note(channel, note_queue, json.dumps(sorted(keys)).encode(), "application/json")


def _keys(body: bytes) -> set[str]:
    try:
        return {str(key) for key in json.loads(body)} if body else set()
    except (ValueError, TypeError):
        return set()
