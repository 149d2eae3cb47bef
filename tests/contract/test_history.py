"""The contract of both brokers for the history: what it keeps, how it is read, and how it is fed to workers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from hookline.schemas import topics
from hookline.schemas.broker import Broker, Done, Retention
from hookline.schemas.envelope import Envelope, from_headers
from hookline.schemas.errors import SettingsError
from tests.contract.installations import Installation, envelope, eventually, queue_name, taken

KEPT = Retention(enabled=True)
HOUR = timedelta(hours=1)
ALL = ("#",)


@pytest.fixture
async def broker(installation: Installation) -> AsyncIterator[Broker]:
    async with installation.opened(retention=KEPT) as opened:
        yield opened


def now() -> datetime:
    return datetime.now(UTC)


async def publish(broker: Broker, count: int) -> list[Envelope]:
    first = now()
    sent = [
        envelope(received_at=first + timedelta(microseconds=number), body=f"会议室 {number}".encode())
        for number in range(count)
    ]
    for each in sent:
        await broker.publisher.publish(each)
    return sent


async def read(broker: Broker, since: datetime | None = None, until: datetime | None = None) -> list[Envelope]:
    found: list[Envelope] = []
    async with aclosing(broker.history.read(since or now() - HOUR, until or now())) as pages:
        async for page in pages:
            found += page
    return found


async def drained(broker: Broker, queue: str, count: int) -> None:
    """Handle `count` events as a worker would."""
    consumer = await broker.subscribe(queue, ALL, count)
    for received in await taken(consumer, count):
        await consumer.settle(received, Done())
    await consumer.close()


async def test_handled_events_stay_in_the_history_unchanged_and_in_order(broker: Broker) -> None:
    queue = queue_name()
    await (await broker.subscribe(queue, ALL, 1)).close()
    sent = await publish(broker, 200)
    await drained(broker, queue, 200)
    assert await read(broker) == sent


async def test_unrouted_events_are_in_the_history_too(installation: Installation, broker: Broker) -> None:
    sent = await publish(broker, 3)
    assert await read(broker) == sent

    async def kept() -> bool:
        return await installation.depth(topics.UNROUTED) == 3

    await eventually(kept)


async def test_the_history_is_read_from_a_time_until_a_time(broker: Broker) -> None:
    sent = await publish(broker, 10)
    assert await read(broker, sent[3].received_at, sent[6].received_at) == sent[3:7]


async def test_the_history_can_be_read_from_the_earliest_to_the_latest_time(broker: Broker) -> None:
    sent = await publish(broker, 3)
    assert await read(broker, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)) == sent


async def test_a_time_without_events_gives_none(broker: Broker) -> None:
    await publish(broker, 3)
    assert await read(broker, now() - 3 * HOUR, now() - 2 * HOUR) == []


async def test_a_time_in_the_future_gives_none(broker: Broker) -> None:
    await publish(broker, 3)
    assert await read(broker, now() + 3 * HOUR, now() + 4 * HOUR) == []


async def test_an_event_of_a_machine_whose_clock_is_days_ahead_hides_no_other(broker: Broker) -> None:
    await broker.publisher.publish(envelope(received_at=now() + 72 * HOUR))
    sent = await publish(broker, 200)
    assert await read(broker) == sent


async def test_reading_ends_although_events_keep_arriving(broker: Broker) -> None:
    sent = await publish(broker, 100)
    found: list[Envelope] = []
    async with aclosing(broker.history.read(now() - HOUR, now() + HOUR)) as pages:
        async for page in pages:
            found += page
            await publish(broker, 2 * len(page))
    assert found[:100] == sent
    assert len(found) < 400


async def test_reading_twice_gives_the_same_events(broker: Broker) -> None:
    sent = await publish(broker, 5)
    assert await read(broker) == sent
    assert await read(broker) == sent


async def test_fed_events_reach_one_queue_and_no_other(installation: Installation, broker: Broker) -> None:
    old, new = queue_name(), queue_name()
    await (await broker.subscribe(old, ALL, 1)).close()
    sent = await publish(broker, 70)
    await drained(broker, old, 70)
    consumer = await broker.subscribe(new, ALL, 100)
    await broker.history.feed(new, await read(broker), {"x-note": "again"})
    received = await taken(consumer, 70)
    assert [from_headers(each.headers, each.content_type, each.body) for each in received] == sent
    assert {(each.headers["x-note"], each.attempt) for each in received} == {("again", 1)}
    assert await installation.depth(topics.queue_name(old)) == 0


async def test_fed_events_are_not_added_to_the_history(broker: Broker) -> None:
    queue = queue_name()
    consumer = await broker.subscribe(queue, ALL, 10)
    sent = await publish(broker, 3)
    await broker.history.feed(queue, sent, {})
    await taken(consumer, 6)
    assert await read(broker) == sent


async def test_events_that_still_wait_in_a_queue_can_be_fed_to_it(broker: Broker) -> None:
    queue = queue_name()
    consumer = await broker.subscribe(queue, ALL, 10)
    sent = await publish(broker, 2)
    await broker.history.feed(queue, sent, {})
    received = await taken(consumer, 4)
    assert sorted(each.headers["cloudEvents_id"] for each in received) == sorted(2 * [each.id for each in sent])


async def test_the_bindings_of_a_queue_can_be_read_any_number_of_times(broker: Broker) -> None:
    queue = queue_name()
    await broker.subscribe(queue, ("*.*.room.created", "krtc.#"), 1)
    for _ in range(30):
        assert await broker.history.wanted_by(queue) == {"*.*.room.created.*", "krtc.#"}


async def test_the_bindings_of_a_missing_queue_are_an_error(broker: Broker) -> None:
    with pytest.raises(SettingsError, match="there is no queue 'nobody'"):
        await broker.history.wanted_by("nobody")


async def test_nothing_is_kept_unless_the_history_is_enabled(installation: Installation) -> None:
    async with installation.opened() as plain:
        await publish(plain, 1)
        with pytest.raises(SettingsError, match=r"history\.enabled"):
            await read(plain)


async def test_a_history_that_was_switched_off_can_be_read(installation: Installation) -> None:
    async with installation.opened(retention=KEPT) as keeping:
        sent = await publish(keeping, 3)
    async with installation.opened() as plain:
        await publish(plain, 2)
        assert await read(plain) == sent


async def test_two_readers_at_once_do_not_disturb_each_other(broker: Broker) -> None:
    sent = await publish(broker, 3)
    first: list[Sequence[Envelope]] = []
    async with aclosing(broker.history.read(now() - HOUR, now())) as pages:
        assert await read(broker) == sent
        first = [page async for page in pages]
    assert [each for page in first for each in page] == sent


async def test_events_fed_to_an_ordered_worker_reach_their_partition_in_order(broker: Broker) -> None:
    queue = queue_name()
    sent = await publish(broker, 20)
    await broker.declare_partitions(queue, ("*.*.room.*",))
    consumer = await broker.subscribe(queue, (), 100, partition=topics.partition("room-1"))
    first = await broker.subscribe(
        queue, (), 1, partition=topics.PARTITION_WORDS[0]
    )  # it moves what is put there by name
    keys = await broker.history.wanted_by(queue)
    assert all(any(topics.matches(key, each.routing_key) for key in keys) for each in sent)
    await broker.history.feed(queue, sent, {})
    assert [each.headers["cloudEvents_id"] for each in await taken(consumer, 20)] == [each.id for each in sent]
    await first.close()
