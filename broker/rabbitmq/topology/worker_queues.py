"""The queues of a worker: its own, its dead letters, and one for each partition if it is ordered."""

from collections.abc import Sequence
from typing import Any

from aiormq.abc import AbstractChannel, AbstractConnection

from hookline.broker.rabbitmq.topology.arguments import KEPT, dead_lettering_to
from hookline.broker.rabbitmq.topology.bindings import bind
from hookline.broker.rabbitmq.topology.declaring import declaring
from hookline.broker.rabbitmq.topology.register import register
from hookline.schemas import topics

_DELIVERY_LIMIT = 100  # a backstop: workers count attempts themselves, and the default differs between versions
_PARTITIONS_TAKE = 4  # times as long as one queue


async def declare_queue(connection: AbstractConnection, queue: str, patterns: Sequence[str], timeout_s: float) -> None:
    """Declare a worker's queue and its dead letters, and bind it to exactly these patterns.

    Raises SettingsError if it exists in another form.
    """
    await register(connection, queue, timeout_s)
    async with declaring(connection, timeout_s, topics.queue_name(queue)) as channel:
        await _declare_whole(channel, queue)
    await bind(connection, queue, {topics.binding(pattern) for pattern in patterns}, timeout_s)


async def declare_partitions(
    connection: AbstractConnection, queue: str, patterns: Sequence[str], timeout_s: float
) -> None:
    """Declare a queue with a single active consumer for each partition of a worker, and the worker's own queue.

    The worker's own queue has no bindings: it keeps what was there before, and what is put there by name. Raises
    SettingsError if one exists in another form.
    """
    await register(connection, queue, timeout_s)
    timeout_s *= _PARTITIONS_TAKE
    async with declaring(connection, timeout_s, f"the partitions of {topics.queue_name(queue)}") as channel:
        await _declare_whole(channel, queue)
        arguments = {**_working(queue), "x-single-active-consumer": True}
        for partition in topics.PARTITION_WORDS:
            name = topics.partition_name(queue, partition)
            await channel.queue_declare(name, durable=True, arguments=arguments)
    keys = {topics.binding(pattern, partition) for pattern in patterns for partition in topics.PARTITION_WORDS}
    await bind(connection, queue, keys, timeout_s)


async def _declare_whole(channel: AbstractChannel, queue: str) -> None:
    await channel.queue_declare(topics.dead_name(queue), durable=True, arguments=KEPT)
    await channel.queue_declare(topics.queue_name(queue), durable=True, arguments=_working(queue))


def _working(queue: str) -> dict[str, Any]:
    """The arguments of a queue that a worker consumes from."""
    return {**dead_lettering_to(topics.dead_name(queue)), "x-delivery-limit": _DELIVERY_LIMIT}
