"""Faults of RabbitMQ. These tests control the node, so they need their own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import chain, repeat

import msgspec
import pytest

from hookline.broker.rabbitmq import connection
from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.broker.rabbitmq.wire import frame_transport
from hookline.schemas import topics
from hookline.schemas.broker import Again, Done, Queue
from hookline.schemas.copies import as_next_copy
from hookline.schemas.errors import NotDurable, Obstacle
from tests.contract.installations import (
    RabbitMQInstallation,
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
PROMISED_S = 15.0
NEVER_S = 3600.0
MARGIN_S = 1.0


@pytest.fixture
async def node(request: pytest.FixtureRequest) -> Node:
    node = own_node(request.config)
    await RabbitMQInstallation(node.url).clear()
    return node


@pytest.fixture
async def broker(node: Node) -> AsyncIterator[RabbitMQBroker]:
    async with opened_rabbitmq(RabbitMQSettings(node.url, publish_timeout_s=PUBLISH_S, heartbeat_s=2)) as broker:
        yield broker


@pytest.fixture
def frozen(node: Node) -> Iterator[Callable[[], None]]:
    yield node.freeze
    node.thaw()


@pytest.fixture
def alarm(node: Node) -> Iterator[Callable[[], str]]:
    """Raise a memory alarm that ends with the test."""
    yield lambda: node.control("set_vm_memory_high_watermark", "0.000001")
    node.control("set_vm_memory_high_watermark", "0.4")


@pytest.fixture
def smaller(node: Node) -> Iterator[Callable[[int], None]]:
    """Set the size of the largest body that the server takes, until the test ends. Open connections may not know it."""

    def limit(size: int) -> None:
        node.control("eval", f"application:set_env(rabbit, max_message_size, {size}).")
        node.control("eval", f"persistent_term:put(max_message_size, {size}).")

    yield limit
    limit(16 * 2**20)


async def fails(broker: RabbitMQBroker) -> float:
    """How long a publish took to fail."""
    began = asyncio.get_running_loop().time()
    with pytest.raises(NotDurable):
        await broker.publisher.publish(envelope())
    return asyncio.get_running_loop().time() - began


async def drained(queue: Queue) -> int:
    """Settle messages until none arrives for a second; return their number."""
    count = 0
    while True:
        try:
            (received,) = await taken(queue, within_s=1)
        except TimeoutError:
            return count
        await queue.settle(received, Done())
        count += 1


async def test_a_frozen_server_fails_a_publish_in_time_and_leaves_no_task(
    broker: RabbitMQBroker, frozen: Callable[[], None]
) -> None:
    assert await publishes(broker)()
    before = asyncio.all_tasks()
    frozen()
    assert await fails(broker) < PUBLISH_S + MARGIN_S
    assert not broker.publisher.ready

    async def none_is_left() -> bool:
        return asyncio.all_tasks() <= before

    await eventually(none_is_left)  # aiormq has one for a moment while it writes a heartbeat


async def test_publishing_recovers_after_the_server_was_frozen_briefly(broker: RabbitMQBroker, node: Node) -> None:
    node.freeze()
    try:
        await fails(broker)
    finally:
        node.thaw()
    await eventually(publishes(broker))
    assert broker.publisher.ready


async def test_a_server_frozen_beyond_its_heartbeats_is_disconnected_and_reconnected(
    broker: RabbitMQBroker, node: Node
) -> None:
    queue = await broker.subscribe(queue_name(), ALL, 10)
    node.freeze()
    try:
        await fails(broker)

        async def away() -> bool:
            connections = (broker._publish_connection, broker._consume_connection)  # noqa: SLF001
            return all(each.connection is None for each in connections)

        await eventually(away)
        assert await fails(broker) < MARGIN_S
    finally:
        node.thaw()
    await eventually(publishes(broker))
    assert await drained(queue) >= 1


async def test_after_lost_connections_no_confirmed_event_is_missing(broker: RabbitMQBroker, node: Node) -> None:
    queue = await broker.subscribe(queue_name(), ALL, 50)
    confirmed: set[str] = set()
    seen: set[str] = set()
    stopping = asyncio.Event()

    async def publish() -> None:
        while not stopping.is_set():
            event = envelope()
            try:
                await broker.publisher.publish(event)
                confirmed.add(event.id)
            except NotDurable:
                await asyncio.sleep(0.01)  # then send again, as a provider does

    async def consume() -> None:
        while True:
            received = await queue.take()
            seen.add(received.headers["cloudEvents_id"])
            await queue.settle(received, Done())

    async with asyncio.TaskGroup() as group:
        publishers = [group.create_task(publish()) for _ in range(20)]
        consumer = group.create_task(consume())
        await asyncio.to_thread(node.control, "close_all_connections", "test")
        before = len(confirmed)

        async def goes_on() -> bool:
            return len(confirmed) > before + 500 and len(seen) > before + 200

        await eventually(goes_on)
        stopping.set()
        await asyncio.wait(publishers)

        async def complete() -> bool:
            return confirmed <= seen

        await eventually(complete)
        consumer.cancel()


async def test_messages_buffered_from_a_lost_connection_are_handed_out_once(broker: RabbitMQBroker, node: Node) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 50)
    for _ in range(20):
        await broker.publisher.publish(envelope())
    await taken(queue)
    await asyncio.to_thread(node.control, "close_all_connections", "test")
    for received in await taken(queue, 20):
        await queue.settle(received, Done())
    assert await drained(queue) == 0
    await queue.close()
    assert await RabbitMQInstallation(node.url).depth(topics.queue_name(name)) == 0


async def test_acknowledgements_are_written_before_closing_even_after_a_lost_connection(
    broker: RabbitMQBroker, node: Node
) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 50)
    await asyncio.to_thread(node.control, "close_all_connections", "test")
    await eventually(publishes(broker))
    (received,) = await taken(queue)
    await queue.settle(received, Done())
    await queue.close()
    assert await RabbitMQInstallation(node.url).depth(topics.queue_name(name)) == 0


async def test_after_a_killed_server_is_restarted_no_confirmed_event_is_missing(
    broker: RabbitMQBroker, node: Node
) -> None:
    queue = await broker.subscribe(queue_name(), ALL, 10)
    for number in range(20):
        await broker.publisher.publish(envelope(number=number))
    (held,) = await taken(queue)
    try:
        await asyncio.to_thread(node.kill)
        assert await fails(broker) < PUBLISH_S + MARGIN_S
        assert not broker.publisher.ready
        await queue.settle(held, Done())
    finally:
        await asyncio.to_thread(node.start)
    await eventually(publishes(broker))
    seen: set[str] = set()
    while len(seen) < 21:
        (received,) = await taken(queue)
        seen.add(received.headers["cloudEvents_id"])
        await queue.settle(received, Done())
    assert {f"{number:032x}" for number in range(20)} < seen


class Delays:
    """Delays that a test chooses. The last one repeats."""

    def __init__(self, *delays_s: float) -> None:
        self._delays_s = chain(delays_s, repeat(delays_s[-1]))

    def delay_s(self, _: int) -> float:
        return next(self._delays_s)


def consumed(broker: RabbitMQBroker, node: Node, names: list[str]) -> Callable[[], Awaitable[bool]]:
    """Whether the publisher is ready and each queue has a consumer."""

    async def all_are() -> bool:
        if not broker.publisher.ready:
            return False
        async with raw_channel(node.url) as channel:
            declared = [await channel.queue_declare(name, passive=True) for name in names]
        return all(each.consumer_count == 1 for each in declared)

    return all_are


async def test_all_queues_are_consumed_within_15_s_after_rabbitmq_was_away_for_longer_than_any_delay(
    broker: RabbitMQBroker, node: Node
) -> None:
    ordered, plain = queue_name(), [queue_name() for _ in range(3)]
    await broker.declare_partitions(ordered, ALL)
    for word in topics.PARTITION_WORDS:
        await broker.subscribe(ordered, ALL, 10, word)
    for name in plain:
        await broker.subscribe(name, ALL, 10)
    names = [*map(topics.queue_name, [ordered, *plain])]
    names += [topics.partition_name(ordered, word) for word in topics.PARTITION_WORDS]
    await eventually(consumed(broker, node, names))
    await asyncio.to_thread(node.kill)
    await asyncio.sleep(20)
    await asyncio.to_thread(node.start)
    await eventually(consumed(broker, node, names), within_s=PROMISED_S)
    assert await publishes(broker)()


async def test_a_connection_that_is_back_brings_back_the_others_and_all_consumers_without_delay(
    broker: RabbitMQBroker, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [queue_name() for _ in range(3)]
    for name in names:
        await broker.subscribe(name, ALL, 10)
    monkeypatch.setattr(connection, "RECONNECT", Delays(2.0, NEVER_S))  # one connection comes back by itself
    monkeypatch.setattr(connection, "_USE_AGAIN", Delays(NEVER_S))
    await asyncio.to_thread(node.control, "close_all_connections", "test")
    await eventually(consumed(broker, node, [*map(topics.queue_name, names)]))


async def test_the_log_says_why_the_server_closed_a_connection(
    broker: RabbitMQBroker, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(node.control, "close_all_connections", "maintenance")
    reason = "320 CONNECTION_FORCED - maintenance"

    async def both_said() -> bool:
        names = ("publisher", "consumer")
        return all(f"the connection hookline {name} to RabbitMQ was lost: {reason}" in caplog.text for name in names)

    await eventually(both_said)


async def test_a_memory_alarm_fails_publishes_but_not_consumers(
    broker: RabbitMQBroker, alarm: Callable[[], str], node: Node
) -> None:
    queue = await broker.subscribe(queue_name(), ALL, 2)
    for _ in range(6):
        await broker.publisher.publish(envelope())
    await asyncio.to_thread(alarm)
    assert await fails(broker) < PUBLISH_S + MARGIN_S
    assert not broker.publisher.ready
    assert await fails(broker) < MARGIN_S
    for _ in range(6):  # more than the prefetch, so the server has to read acknowledgements
        (received,) = await taken(queue)
        await queue.settle(received, Done())
    await asyncio.to_thread(node.control, "set_vm_memory_high_watermark", "0.4")
    await eventually(publishes(broker))
    assert broker.publisher.ready


async def test_a_retry_waits_until_an_alarm_is_over(
    broker: RabbitMQBroker, alarm: Callable[[], str], node: Node
) -> None:
    queue = await broker.subscribe(queue_name(), ALL, 10)
    await broker.publisher.publish(envelope())
    (received,) = await taken(queue)
    await asyncio.to_thread(alarm)
    async with asyncio.TaskGroup() as group:
        group.create_task(queue.settle(received, Again(0, 2, "later")))
        await fails(broker)
        await asyncio.to_thread(node.control, "set_vm_memory_high_watermark", "0.4")
    again = received
    while again.attempt == 1:  # the server may have kept the failed publish
        (again,) = await taken(queue)
    assert (again.attempt, again.headers) == (2, as_next_copy(received.headers))


@pytest.mark.parametrize("by", ["by wire", "by public calls"])
async def test_an_event_larger_than_the_server_takes_is_refused_and_fails_others_only_once(
    node: Node, smaller: Callable[[int], None], by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server closes the channel, and says that it does not take the event, but not which one it is."""
    if by == "by public calls":
        monkeypatch.setattr(frame_transport, "is_supported", lambda _: False)
    await asyncio.to_thread(smaller, 1000)
    large = msgspec.structs.replace(envelope(), body=bytes(1001))
    async with opened_rabbitmq(RabbitMQSettings(node.url, publish_timeout_s=PUBLISH_S)) as broker:
        publisher = broker.publisher
        for _ in range(3):
            with pytest.raises(NotDurable) as refusal:
                await publisher.publish(large)
            assert refusal.value.obstacle is Obstacle.REFUSED
            await eventually(publishes(broker))
        in_flight = publisher.begin(envelope())
        with pytest.raises(NotDurable):
            await publisher.publish(large)
        await in_flight
        await publisher.publish(msgspec.structs.replace(envelope(), body=bytes(1000)))


async def test_after_a_reconnect_the_server_may_take_larger_events(node: Node, smaller: Callable[[int], None]) -> None:
    await asyncio.to_thread(smaller, 1000)
    large = msgspec.structs.replace(envelope(), body=bytes(1001))
    async with opened_rabbitmq(RabbitMQSettings(node.url, publish_timeout_s=PUBLISH_S)) as broker:
        with pytest.raises(NotDurable):
            await broker.publisher.publish(large)
        await eventually(publishes(broker))
        await asyncio.to_thread(smaller, 2000)
        await asyncio.to_thread(node.control, "close_all_connections", "a test")

        async def takes_it() -> bool:
            with suppress(NotDurable):
                await broker.publisher.publish(large)
                return True
            return False

        await eventually(takes_it)


async def test_a_full_queue_refuses_events(broker: RabbitMQBroker, node: Node) -> None:
    name = queue_name()
    await (await broker.subscribe(name, ALL, 1)).close()
    pattern = f"^{topics.queue_name(name)}$"
    await asyncio.to_thread(node.control, "set_policy", "full", pattern, '{"max-length":1}')

    async def is_full() -> bool:
        return not await publishes(broker)()

    try:
        await eventually(is_full)
        assert await drained(await broker.subscribe(name, ALL, 10)) >= 1
        await eventually(publishes(broker))
    finally:
        await asyncio.to_thread(node.control, "clear_policy", "full")
