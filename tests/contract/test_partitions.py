"""The contract of both brokers for the queues of an ordered worker."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from hookline.schemas import topics
from hookline.schemas.broker import Broker, Done, Parked, Queue, Received
from hookline.schemas.envelope import Envelope
from tests.contract.installations import Installation, envelope, eventually, queue_name, taken

ALL = ("#",)
ROOM = "room-1"
PARTITION = topics.partition(ROOM)
ELSEWHERE = next(word for word in topics.PARTITION_WORDS if word != PARTITION)


async def test_events_of_a_subject_reach_its_partition_and_no_other(broker: Broker) -> None:
    name = queue_name()
    await broker.declare_partitions(name, ALL)
    queues = {word: await broker.subscribe(name, ALL, 10, word) for word in topics.PARTITION_WORDS}
    subjects = [f"room-{number}" for number in range(40)]
    await asyncio.gather(*(broker.publisher.publish(envelope(subject=subject)) for subject in subjects))
    for word, queue in queues.items():
        theirs = [subject for subject in subjects if topics.partition(subject) == word]
        received = await taken(queue, len(theirs))
        assert sorted(each.headers["cloudEvents_subject"] for each in received) == sorted(theirs)


async def test_an_event_that_arrives_before_any_consumer_is_kept(broker: Broker) -> None:
    name = queue_name()
    await broker.declare_partitions(name, ALL)
    event = envelope(subject=ROOM)
    await broker.publisher.publish(event)
    (received,) = await taken(await broker.subscribe(name, ALL, 10, PARTITION))
    assert received.headers["cloudEvents_id"] == event.id


async def test_partitions_are_bound_to_the_latest_patterns_of_the_worker(
    installation: Installation, broker: Broker
) -> None:
    name = queue_name()
    await broker.declare_partitions(name, ("*.*.room.created",))
    await broker.declare_partitions(name, ("*.*.room.ended",))
    queue = await broker.subscribe(name, ("*.*.room.ended",), 10, PARTITION)
    await broker.publisher.publish(envelope("room.created", subject=ROOM))
    await broker.publisher.publish(envelope("room.ended", subject=ROOM))
    (received,) = await taken(queue)
    assert received.headers["cloudEvents_type"] == "room.ended"


@pytest.mark.parametrize("settled", [0, 1, 3])
async def test_requeued_messages_come_again_in_order(installation: Installation, settled: int) -> None:
    """Also with gaps: one or all of every three messages are settled, or none."""
    name, total = queue_name(), 300
    async with installation.opened() as first:
        await first.declare_partitions(name, ALL)
        queue = await first.subscribe(name, ALL, total // 2, PARTITION)
        await publish(first, total)
        received = await taken(queue, total // 2)
        done = [each for each in received if settled and number_of(each) % 3 < settled]
        for each in done:
            await queue.settle(each, Done())
        await queue.close()
        left = sorted(set(range(total)) - {number_of(each) for each in done})
        async with installation.opened() as second:
            again = await second.subscribe(name, ALL, total, PARTITION)
            numbers: list[int] = []
            async with asyncio.timeout(15):
                while not set(left) <= set(numbers):  # RabbitMQ may forget that some were settled
                    numbers.append(number_of(await again.take()))
            assert numbers == sorted(numbers)


async def test_messages_that_were_requeued_often_keep_their_order(installation: Installation) -> None:
    name, total = queue_name(), 200
    async with installation.opened() as broker:
        await broker.declare_partitions(name, ALL)
        await publish(broker, total)
        for round_ in range(8):
            queue = await broker.subscribe(name, ALL, 100, PARTITION)
            received = await taken(queue, 100)
            first = 10 * round_
            assert [number_of(each) for each in received] == list(range(first, first + 100))
            for each in received[:10]:
                await queue.settle(each, Done())
            await queue.close()


async def test_a_second_process_gets_no_message_behind_those_of_the_first(
    installation: Installation, broker: Broker
) -> None:
    name = queue_name()
    await broker.declare_partitions(name, ALL)
    queue = await broker.subscribe(name, ALL, 5, PARTITION)
    await publish(broker, 20)
    first = await taken(queue, 5)
    async with installation.opened() as other, taking(await other.subscribe(name, ALL, 20, PARTITION)) as seen:
        for each in first:
            await queue.settle(each, Done())
        first += await taken(queue, 5)
        assert [number_of(each) for each in first] == list(range(10))
        before = set(seen)
        await queue.close()
        await eventually(lambda: same(seen, [*sorted(before), *range(max(before, default=4) + 1, 20)]))
    assert seen == sorted(seen)


async def test_dead_letters_of_all_partitions_are_in_one_queue(installation: Installation, broker: Broker) -> None:
    name = queue_name()
    await broker.declare_partitions(name, ALL)
    for subject in ("room-1", "room-2", "room-3"):
        queue = await broker.subscribe(name, ALL, 5, topics.partition(subject))
        await broker.publisher.publish(envelope(subject=subject))
        (received,) = await taken(queue)
        await queue.settle(received, Parked("failed", "why", 3))

    async def all_parked() -> bool:
        return await installation.depth(topics.dead_name(name)) == 3

    await eventually(all_parked)


async def test_messages_put_into_the_workers_own_queue_reach_their_partition_in_order(broker: Broker) -> None:
    name = queue_name()
    await broker.declare_partitions(name, ALL)
    queues = {word: await broker.subscribe(name, ALL, 100, word) for word in topics.PARTITION_WORDS}
    envelopes = [envelope(number=number, subject=ROOM) for number in range(50)]
    await broker.history.feed(name, envelopes, {"hookline-replays": "1"})
    received = await taken(queues[PARTITION], 50)
    assert [number_of(each) for each in received] == list(range(50))
    assert {each.headers["hookline-replays"] for each in received} == {"1"}


async def test_the_bindings_of_an_ordered_worker_can_be_read(broker: Broker) -> None:
    name = queue_name()
    await broker.declare_partitions(name, ("*.*.room.created",))
    keys = await broker.history.wanted_by(name)
    wanted = envelope("room.created", subject=ROOM).routing_key
    assert any(topics.matches(key, wanted) for key in keys)
    assert not any(topics.matches(key, envelope("room.ended", subject=ROOM).routing_key) for key in keys)


async def test_messages_of_a_worker_that_becomes_ordered_move_to_its_partitions(broker: Broker) -> None:
    name = queue_name()
    await (await broker.subscribe(name, ALL, 10)).close()
    await publish(broker, 50)
    await broker.declare_partitions(name, ALL)
    first = await broker.subscribe(name, ALL, 10, topics.PARTITION_WORDS[0])
    queue = first if topics.PARTITION_WORDS[0] == PARTITION else await broker.subscribe(name, ALL, 100, PARTITION)
    assert [number_of(each) for each in await taken(queue, 50)] == list(range(50))


async def test_messages_of_a_worker_that_is_no_longer_ordered_move_to_its_queue(
    installation: Installation, broker: Broker
) -> None:
    name = queue_name()
    await broker.declare_partitions(name, ALL)
    await publish(broker, 30)
    queue = await broker.subscribe(name, ALL, 100)
    await broker.publisher.publish(envelope(number=30, subject=ROOM))
    received = await taken(queue, 31)
    assert sorted(number_of(each) for each in received) == list(range(31))
    assert await installation.depth(topics.partition_name(name, PARTITION)) == 0


async def publish(broker: Broker, total: int) -> list[Envelope]:
    envelopes = [envelope(number=number, subject=ROOM) for number in range(total)]
    await asyncio.gather(*(broker.publisher.publish(each) for each in envelopes))
    return envelopes


def number_of(received: Received) -> int:
    return int(received.headers["cloudEvents_id"], 16)


async def same(seen: Sequence[int], wanted: Sequence[int]) -> bool:
    return list(seen) == list(wanted)


@asynccontextmanager
async def taking(queue: Queue) -> AsyncIterator[list[int]]:
    """Takes and settles all messages until the end; yields their numbers in order."""
    seen: list[int] = []

    async def take() -> None:
        while True:
            received = await queue.take()
            seen.append(number_of(received))
            await queue.settle(received, Done())

    task = asyncio.create_task(take())
    yield seen
    task.cancel()
    await asyncio.wait([task])
