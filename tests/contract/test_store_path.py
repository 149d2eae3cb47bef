"""Processes of an ordered worker that cannot reach their store: alone, or all of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias

import pytest
from yarl import URL

from hookline.schemas import topics
from hookline.schemas.broker import Queue, Received
from hookline.schemas.leases import LEASE_S
from hookline.workers.partitions import ALONE_S, Partitions
from tests.chaos.proxy import Proxy
from tests.contract import stores
from tests.contract.installations import RabbitMQInstallation, envelope, eventually, fresh_rabbitmq
from tests.services import postgresql, redis

Server: TypeAlias = postgresql.Server | redis.Server

TIMEOUT_S = 2.0
PATIENCE_S = 60.0
ROOMS = 64  # in all partitions

each_server = pytest.mark.parametrize("server", ["redis", "postgresql"], indirect=True)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    redis_or_postgresql = redis.own_server if request.param == "redis" else postgresql.own_server
    own: Server = redis_or_postgresql(request.config)
    yield own
    own.thaw()


@pytest.fixture
async def rabbitmq(request: pytest.FixtureRequest) -> RabbitMQInstallation:
    return await fresh_rabbitmq(request.config)


class Process:
    """A process that follows the assignment of a queue's partitions, and settles what arrives."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.arrived: set[str] = set()
        self.cut_off: list[str] = []
        self._settling: set[asyncio.Task[bool]] = set()

    @property
    def attached(self) -> set[str]:
        return {partition for partition, queue in self.queues.items() if queue.attached}

    def settle(self, _: str, queue: Queue, received: Sequence[Received]) -> None:
        self.arrived |= {each.headers["cloudEvents_id"] for each in received}
        queue.done(received)

    async def leave(self, partition: str, lost: bool) -> None:  # noqa: FBT001  a callback's
        if lost:
            self.cut_off.append(partition)


@asynccontextmanager
async def process(rabbitmq: RabbitMQInstallation, queue: str, address: str) -> AsyncIterator[Process]:
    made = Process()
    async with rabbitmq.opened() as broker, stores.opened(address, TIMEOUT_S) as store:
        await broker.declare_partitions(queue, ("#",))

        async def consume(partition: str) -> Queue:
            made.queues[partition] = await broker.subscribe(queue, ("#",), 10, partition)
            return made.queues[partition]

        following = Partitions(queue, store, consume, made.settle, made.leave)
        keeping = asyncio.create_task(following.keep())
        yield made
        keeping.cancel()
        await asyncio.wait([keeping])
        await following.close()


async def publish(rabbitmq: RabbitMQInstallation) -> set[str]:
    """Publish an event for each room; their ids."""
    envelopes = [envelope(subject=f"room-{number}") for number in range(ROOMS)]
    async with rabbitmq.opened() as broker:
        await asyncio.gather(*(broker.publisher.publish(each) for each in envelopes))
    return {each.id for each in envelopes}


async def share(first: Process, second: Process) -> bool:
    """Whether each of two processes consumes half of the partitions."""
    half = len(topics.PARTITION_WORDS) // 2
    return len(first.attached) == len(second.attached) == half and first.attached.isdisjoint(second.attached)


async def have_arrived(processes: Sequence[Process], ids: set[str]) -> bool:
    """Whether each event has arrived at one of the processes."""
    return ids <= set().union(*(each.arrived for each in processes))


@each_server
async def test_a_process_that_alone_cannot_reach_the_store_leaves_its_partitions_to_another(
    server: Server, rabbitmq: RabbitMQInstallation, queue: str
) -> None:
    proxy = Proxy(URL(server.url).port or 0)
    await proxy.start()
    try:
        path = str(URL(server.url).with_port(proxy.port))
        async with process(rabbitmq, queue, path) as cut, process(rabbitmq, queue, server.url) as other:
            await eventually(partial(share, cut, other), PATIENCE_S)
            cutting = asyncio.create_task(proxy.cut("black hole", 3600.0))
            ids = await publish(rabbitmq)

            async def has_all() -> bool:
                return not cut.attached and len(other.attached) == len(topics.PARTITION_WORDS)

            await eventually(has_all, PATIENCE_S)
            ids |= await publish(rabbitmq)
            await eventually(partial(have_arrived, [cut, other], ids), PATIENCE_S)
            cutting.cancel()
            await asyncio.wait([cutting])
            await eventually(partial(share, cut, other), PATIENCE_S)
            assert not cut.cut_off
            assert not other.cut_off
    finally:
        await proxy.close()


@each_server
async def test_an_outage_of_the_store_that_outlasts_a_lease_cuts_nothing_off(
    server: Server, rabbitmq: RabbitMQInstallation, queue: str
) -> None:
    async with process(rabbitmq, queue, server.url) as first, process(rabbitmq, queue, server.url) as second:
        await eventually(partial(share, first, second), PATIENCE_S)
        before = first.attached, second.attached
        server.freeze()
        try:
            await asyncio.sleep(ALONE_S - 3)  # nothing changes for a while
            assert (first.attached, second.attached) == before

            async def none_is_consumed() -> bool:
                return not (first.attached or second.attached)

            await eventually(none_is_consumed, PATIENCE_S)
            await asyncio.sleep(LEASE_S - ALONE_S)
        finally:
            server.thaw()
        ids = await publish(rabbitmq)
        await eventually(partial(have_arrived, [first, second], ids), PATIENCE_S)
        await eventually(partial(share, first, second), PATIENCE_S)
        assert (first.attached, second.attached) == before
        assert not first.cut_off
        assert not second.cut_off
