"""What was received is kept where the settings say so, and comes again to whom it is fed."""

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
    """Events of the last moments, each received a millisecond after the one before it."""
    since = now() - timedelta(milliseconds=count)
    times = [since + timedelta(milliseconds=number) for number in range(count)]
    sent = [envelope(received_at=at, body=f"会议室 {number}".encode()) for number, at in enumerate(times)]
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
    """So many events handled by a worker."""
    consumer = await broker.subscribe(queue, ALL, count)
    for received in await taken(consumer, count):
        await consumer.settle(received, Done())
    await consumer.close()


async def test_what_every_queue_has_finished_is_still_there_to_the_byte_and_in_order(broker: Broker) -> None:
    queue = queue_name()
    await (await broker.subscribe(queue, ALL, 1)).close()
    sent = await publish(broker, 200)
    await drained(broker, queue, 200)
    assert await read(broker) == sent


async def test_what_no_queue_wanted_is_in_the_history_and_among_the_unrouted(
    installation: Installation, broker: Broker
) -> None:
    sent = await publish(broker, 3)
    assert await read(broker) == sent

    async def kept() -> bool:
        return await installation.depth(topics.UNROUTED) == 3

    await eventually(kept)


async def test_it_is_read_from_a_time_until_a_time(broker: Broker) -> None:
    sent = await publish(broker, 10)
    assert await read(broker, sent[3].received_at, sent[6].received_at) == sent[3:7]


async def test_it_is_read_from_the_beginning_of_time_if_that_is_asked_for(broker: Broker) -> None:
    sent = await publish(broker, 3)
    assert await read(broker, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)) == sent


async def test_nothing_is_read_of_a_time_in_which_nothing_came(broker: Broker) -> None:
    await publish(broker, 3)
    assert await read(broker, now() - 3 * HOUR, now() - 2 * HOUR) == []


async def test_reading_ends_although_events_keep_coming(broker: Broker) -> None:
    sent = await publish(broker, 100)
    found: list[Envelope] = []
    async with aclosing(broker.history.read(now() - HOUR, now() + HOUR)) as pages:
        async for page in pages:
            found += page
            await publish(broker, 2 * len(page))
    assert found[:100] == sent
    assert len(found) < 400


async def test_reading_twice_gives_the_same(broker: Broker) -> None:
    sent = await publish(broker, 5)
    assert await read(broker) == sent
    assert await read(broker) == sent


async def test_what_is_fed_reaches_one_queue_and_no_other(installation: Installation, broker: Broker) -> None:
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


async def test_what_is_fed_is_not_kept_a_second_time(broker: Broker) -> None:
    queue = queue_name()
    consumer = await broker.subscribe(queue, ALL, 10)
    sent = await publish(broker, 3)
    await broker.history.feed(queue, sent, {})
    await taken(consumer, 6)
    assert await read(broker) == sent


async def test_what_still_waits_in_the_queue_can_be_fed_to_it_all_the_same(broker: Broker) -> None:
    queue = queue_name()
    consumer = await broker.subscribe(queue, ALL, 10)
    sent = await publish(broker, 2)
    await broker.history.feed(queue, sent, {})
    received = await taken(consumer, 4)
    assert sorted(each.headers["cloudEvents_id"] for each in received) == sorted(2 * [each.id for each in sent])


async def test_a_queue_tells_what_it_wants_as_often_as_it_is_asked(broker: Broker) -> None:
    queue = queue_name()
    await broker.subscribe(queue, ("*.*.room.created", "krtc.#"), 1)
    for _ in range(30):
        assert await broker.history.wanted_by(queue) == {"*.*.room.created.*", "krtc.#"}


async def test_a_queue_that_is_not_there_is_said(broker: Broker) -> None:
    with pytest.raises(SettingsError, match="there is no queue 'nobody'"):
        await broker.history.wanted_by("nobody")


async def test_nothing_is_kept_unless_it_is_wanted(installation: Installation) -> None:
    async with installation.opened() as plain:
        await publish(plain, 1)
        with pytest.raises(SettingsError, match=r"history\.enabled"):
            await read(plain)


async def test_what_was_kept_can_be_read_after_the_history_was_switched_off(installation: Installation) -> None:
    async with installation.opened(retention=KEPT) as keeping:
        sent = await publish(keeping, 3)
    async with installation.opened() as plain:
        await publish(plain, 2)
        assert await read(plain) == sent


async def test_two_who_read_at_the_same_time_do_not_disturb_each_other(broker: Broker) -> None:
    sent = await publish(broker, 3)
    first: list[Sequence[Envelope]] = []
    async with aclosing(broker.history.read(now() - HOUR, now())) as pages:
        assert await read(broker) == sent
        first = [page async for page in pages]
    assert [each for page in first for each in page] == sent


async def test_what_is_fed_to_an_ordered_worker_reaches_its_partition_in_order(broker: Broker) -> None:
    queue = queue_name()
    sent = await publish(broker, 20)
    await broker.declare_partitions(queue, ("*.*.room.*",))
    consumer = await broker.subscribe(queue, (), 100, partition=topics.partition("room-1"))
    first = await broker.subscribe(queue, (), 1, partition=topics.PARTITION_WORDS[0])  # it sorts what comes by name
    keys = await broker.history.wanted_by(queue)
    assert all(any(topics.matches(key, each.routing_key) for key in keys) for each in sent)
    await broker.history.feed(queue, sent, {})
    assert [each.headers["cloudEvents_id"] for each in await taken(consumer, 20)] == [each.id for each in sent]
    await first.close()
