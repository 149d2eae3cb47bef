"""Queues without a leader. RabbitMQ 3.10 has one after it was killed right after the declaration of a quorum queue."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hookline.broker.rabbitmq import consumer
from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.broker.rabbitmq.names import retry_name
from hookline.broker.rabbitmq.topology.arguments import KEPT
from hookline.broker.rabbitmq.topology.retry_queues import declare_retry
from hookline.schemas import topics
from hookline.schemas.broker import Again, Done, Parked, Queue, Received
from hookline.schemas.copies import as_next_copy
from tests.contract.installations import (
    RabbitMQInstallation,
    declare_anew,
    envelope,
    eventually,
    opened_rabbitmq,
    publishes,
    queue_name,
    raw_channel,
    taken,
)
from tests.services.rabbitmq import Node, own_node

ALL = ("#",)
PUBLISH_S = 1.0
KILLED_S = 90.0


@pytest.fixture
async def node(request: pytest.FixtureRequest) -> Node:
    node = own_node(request.config)
    await RabbitMQInstallation(node.url).clear()
    return node


@pytest.fixture
async def broker(node: Node) -> AsyncIterator[RabbitMQBroker]:
    async with opened_rabbitmq(RabbitMQSettings(node.url, publish_timeout_s=PUBLISH_S)) as broker:
        yield broker


async def killed(node: Node) -> None:
    """The queue that was declared last has no leader from now on."""
    await asyncio.to_thread(node.kill)
    await asyncio.to_thread(node.start)


async def received_from(broker: RabbitMQBroker, queue: Queue) -> Received:
    await eventually(publishes(broker), within_s=KILLED_S)
    (received,) = await taken(queue, within_s=KILLED_S)
    return received


@pytest.mark.timeout(180)
async def test_a_retry_queue_without_a_leader_is_named_and_delays_nothing(
    broker: RabbitMQBroker, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 10)
    failing = retry_name(name, 100)
    async with raw_channel(node.url) as channel:
        await declare_retry(channel.connection, name, 100, KILLED_S)
    await killed(node)
    received = await received_from(broker, queue)
    await queue.settle(received, Again(0.1, 2, "failed"))
    (again,) = await taken(queue)
    assert (again.attempt, again.headers) == (2, as_next_copy(received.headers))
    assert f"the queue {failing} takes nothing" in caplog.text
    assert any(failing in fault for fault in broker.faults)

    async with raw_channel(node.url) as channel:
        await asyncio.wait_for(channel.queue_delete(failing), KILLED_S)

    async def works_again() -> bool:
        nonlocal again
        await queue.settle(again, Again(0.1, 3, "failed"))
        (again,) = await taken(queue)
        return not any(failing in fault for fault in broker.faults)

    await eventually(works_again, within_s=KILLED_S)
    await queue.settle(again, Done())


@pytest.mark.timeout(180)
async def test_dead_letters_whose_queue_has_no_leader_come_again_and_leave_room_for_others(
    broker: RabbitMQBroker, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "_PARK_LATER_S", 0.1)
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 1)
    dead = topics.dead_name(name)
    await declare_anew(
        node.url,
        lambda channel: channel.queue_delete(dead),
        lambda channel: channel.queue_declare(dead, durable=True, arguments=KEPT),
    )
    await killed(node)
    received = await received_from(broker, queue)
    event = envelope()
    publishing = asyncio.create_task(broker.publisher.publish(event))
    await queue.settle(received, Parked("poisoned", "", 3))
    seen: dict[str, int] = {}
    while len(seen) < 2:  # a prefetch of 1 lets one wait for the other
        (each,) = await taken(queue, within_s=KILLED_S)
        seen[each.headers["cloudEvents_id"]] = each.attempt
        await queue.settle(each, Done())
    assert seen == {received.headers["cloudEvents_id"]: 3, event.id: 1}
    assert any(dead in fault for fault in broker.faults)
    await publishing
    async with raw_channel(node.url) as channel:
        await asyncio.wait_for(channel.queue_delete(dead), KILLED_S)
