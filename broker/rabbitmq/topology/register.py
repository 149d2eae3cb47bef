"""The register of all workers' queues. AMQP cannot list queues, so each new one is noted in a queue."""

from aiormq.abc import AbstractConnection

from hookline.broker.rabbitmq.names import REGISTER
from hookline.broker.rabbitmq.topology.arguments import KEPT
from hookline.broker.rabbitmq.topology.declaring import DurableQueue, declare_all, declaring
from hookline.broker.rabbitmq.topology.notes import publish_note
from hookline.broker.rabbitmq.topology.queue_depth import depth
from hookline.schemas import topics


async def register(connection: AbstractConnection, queue: str, timeout_s: float) -> None:
    """Note the name of a worker's queue if it is new. Processes that start together may note it twice."""
    if await depth(connection, topics.dead_name(queue), timeout_s) is None:
        await declare_all(connection, [DurableQueue(REGISTER, KEPT)], timeout_s, REGISTER)
        async with declaring(connection, timeout_s, REGISTER, confirms=True) as channel:
            await publish_note(channel, REGISTER, queue.encode())


async def registered(connection: AbstractConnection, timeout_s: float) -> set[str]:
    """The names of all workers' queues that were ever declared."""
    waiting = await depth(connection, REGISTER, timeout_s) or 0
    names = set()
    async with declaring(connection, timeout_s, REGISTER) as channel:
        for _ in range(waiting):
            names.add((await channel.basic_get(REGISTER)).body.decode("utf-8", "replace"))
    return names - {""}
