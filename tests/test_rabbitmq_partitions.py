"""Partitions whose consumers RabbitMQ takes away from a process that goes on. These tests control the node."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from yarl import URL

from hookline.broker.rabbitmq import guard
from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.schemas import topics
from hookline.schemas.broker import Queue, Received
from hookline.workers import partitions
from hookline.workers.partitions import Partitions
from tests.contract import stores
from tests.contract.installations import (
    RabbitMQInstallation,
    envelope,
    eventually,
    opened_rabbitmq,
    queue_name,
    raw_channel,
)
from tests.services.rabbitmq import Node, own_node

ALL = ("#",)
RIGHTS = ("^hookline", "^(hookline.*|amq\\.default)$", "^hookline")
USER = "limited"
PATIENCE_S = 60.0


@pytest.fixture
async def node(request: pytest.FixtureRequest) -> Node:
    node = own_node(request.config)
    await RabbitMQInstallation(node.url).clear()
    return node


@pytest.fixture
def limited(node: Node) -> Iterator[Callable[[str, str, str], str]]:
    """A user with these rights (configure, write, read); called again, it changes them. Returns the user's URL."""
    node.control("add_user", USER, USER)

    def allow(configure: str, write: str, read: str) -> str:
        node.control("set_permissions", "-p", "/", USER, configure, write, read)
        return str(URL(node.url).with_user(USER).with_password(USER))

    yield allow
    node.control("delete_user", USER)


class Process:
    """A process that follows the assignment of a queue's partitions, and settles what arrives."""

    def __init__(self, broker: RabbitMQBroker, queue: str) -> None:
        self.broker = broker
        self.queue = queue
        self.queues: dict[str, Queue] = {}
        self.arrived: set[str] = set()

    async def consume(self, partition: str) -> Queue:
        self.queues[partition] = await self.broker.subscribe(self.queue, ALL, 10, partition)
        return self.queues[partition]

    def settle(self, _: str, queue: Queue, received: Sequence[Received]) -> None:
        self.arrived |= {each.headers["cloudEvents_id"] for each in received}
        queue.done(received)

    async def leave(self, partition: str, lost: bool) -> None:  # noqa: FBT001  a callback's
        """Nothing is in flight."""

    @property
    def attached(self) -> set[str]:
        """The partitions whose messages are delivered to this process."""
        return {partition for partition, queue in self.queues.items() if queue.attached}


@asynccontextmanager
async def process(url: str, queue: str, address: str) -> AsyncIterator[Process]:
    async with opened_rabbitmq(RabbitMQSettings(url)) as broker, stores.opened(address) as store:
        await broker.declare_partitions(queue, ALL)
        made = Process(broker, queue)
        following = Partitions(queue, store, made.consume, made.settle, made.leave)
        keeping = asyncio.create_task(following.keep())
        yield made
        keeping.cancel()
        await asyncio.wait([keeping])
        await following.close()


async def test_a_partition_that_its_holder_may_no_longer_consume_goes_to_another_process(
    node: Node, limited: Callable[[str, str, str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "ASK_S", 0.1)
    queue, address = queue_name(), f"sqlite:{tmp_path / 'store.db'}"
    async with process(limited(*RIGHTS), queue, address) as first, process(node.url, queue, address) as second:

        async def share_the_partitions() -> bool:
            return len(first.attached) == len(second.attached) == len(topics.PARTITION_WORDS) // 2

        await eventually(share_the_partitions, PATIENCE_S)
        kept, lost = sorted(first.attached)[:2]
        name = topics.partition_name(queue, lost).replace(".", r"\.")
        limited(*RIGHTS[:2], f"^(?!{name}$)hookline")
        await asyncio.to_thread(node.control, "close_all_connections", "test")

        async def is_taken_over() -> bool:
            await stores.advance(address, 0.1)
            return lost in second.attached and kept in first.attached

        await eventually(is_taken_over, PATIENCE_S)
        events = {partition: envelope(subject=room_of(partition)) for partition in (kept, lost)}

        async def have_arrived() -> bool:
            return events[kept].id in first.arrived and events[lost].id in second.arrived

        for event in events.values():
            await second.broker.publisher.publish(event)
        await eventually(have_arrived, PATIENCE_S)


def room_of(partition: str) -> str:
    """A room whose events are in this partition."""
    return next(room for room in map(str, count()) if topics.partition(room) == partition)


async def test_a_consumer_that_the_server_cancelled_is_not_attached_until_it_consumes_again(
    node: Node, limited: Callable[[str, str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "LOOK_EVERY_S", 3600.0)
    queue, partition = queue_name(), topics.PARTITION_WORDS[3]
    async with opened_rabbitmq(RabbitMQSettings(node.url)) as broker:
        await broker.declare_partitions(queue, ALL)
        async with opened_rabbitmq(RabbitMQSettings(limited("^$", *RIGHTS[1:]))) as other:
            consumer = await other.subscribe(queue, ALL, 10, partition)
            assert consumer.attached
            async with raw_channel(node.url) as channel:
                await channel.queue_delete(topics.partition_name(queue, partition))

            async def is_attached(*, expected: bool) -> bool:
                return consumer.attached is expected

            await eventually(partial(is_attached, expected=False))
            await broker.declare_partitions(queue, ALL)
            await eventually(partial(is_attached, expected=True), PATIENCE_S)
