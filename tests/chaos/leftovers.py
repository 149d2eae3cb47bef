"""What is still in RabbitMQ when all processes have ended: which events, and in which place."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from tests.chaos.events import Key, key_of
from tests.chaos.servers import control
from tests.services.rabbitmq import Node

UNROUTED = "unrouted"
_PREFIX = "hookline."
_NOT_EVENTS = ".bindings"
_PASSES = 2
_PAUSE_S = 2.0


async def leftovers(node: Node, workers: Sequence[str]) -> dict[str, dict[Key, str]]:
    """The place of every event that is left, by worker: `waiting` or `dead`. Those that no queue wanted are apart.

    Retries return to their worker's queue meanwhile, so the queues of retries are read first.
    """
    found: dict[str, dict[Key, str]] = {worker: {} for worker in (*workers, UNROUTED)}
    async with await aio_pika.connect(node.url) as connection:
        for _ in range(_PASSES):  # a message on its way from one queue to another is in neither
            for name in await asyncio.to_thread(_queues_with_messages, node):
                worker, place = _place(name)
                if worker in found:
                    async with connection.channel() as channel:
                        found[worker].update(dict.fromkeys(await _keys(channel, name), place))
            await asyncio.sleep(_PAUSE_S)
    return found


def _queues_with_messages(node: Node) -> list[str]:
    lines = [line.split("\t") for line in control(node, "list_queues", "name", "messages").splitlines()]
    names = [name for name, count in lines if name.startswith(_PREFIX) and count not in ("0", "messages")]
    names = [name for name in names if not name.endswith(_NOT_EVENTS)]
    return sorted(names, key=lambda name: ".retry." not in name)


def _place(name: str) -> tuple[str, str]:
    """The worker and the place that a queue's name says."""
    worker, _, rest = name.removeprefix(_PREFIX).partition(".")
    return worker, "dead" if rest == "dead" else "waiting"


async def _keys(channel: AbstractChannel, name: str) -> list[Key]:
    """The events in a queue. They stay there: closing the channel returns them."""
    queue = await channel.get_queue(name, ensure=False)
    messages: list[AbstractIncomingMessage] = []
    await queue.consume(_into(messages))
    seen = -1
    while seen < len(messages):
        seen = len(messages)
        await asyncio.sleep(_PAUSE_S)
    return [key for message in messages if (key := key_of(message.body)) is not None]


def _into(messages: list[AbstractIncomingMessage]) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
    async def append(message: AbstractIncomingMessage) -> None:
        messages.append(message)

    return append


def is_left(left: Mapping[str, Mapping[Key, str]], worker: str, key: Key) -> bool:
    return key in left.get(worker, {}) or key in left.get(UNROUTED, {})
