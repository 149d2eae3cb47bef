"""The contract of both brokers."""

import asyncio
import sys
from asyncio.subprocess import PIPE

import msgspec
import pytest

from hookline.schemas import topics
from hookline.schemas.broker import Again, Broker, Done, Parked
from hookline.schemas.copies import COPY, copy_of
from hookline.schemas.envelope import to_headers
from hookline.schemas.errors import NotDurable
from tests.contract.installations import Installation, envelope, eventually, queue_name, taken

ALL = ("#",)


async def test_an_event_reaches_every_queue_that_wants_it(broker: Broker) -> None:
    queues = [await broker.subscribe(queue_name(), ALL, 10) for _ in range(3)]
    event = envelope()
    await broker.publisher.publish(event)
    for queue in queues:
        (received,) = await taken(queue)
        assert received.headers["cloudEvents_id"] == event.id


async def test_an_event_does_not_reach_a_queue_that_does_not_want_it(broker: Broker) -> None:
    queue = await broker.subscribe(queue_name(), ("*.*.room.ended",), 10)
    await broker.publisher.publish(envelope("room.created"))
    wanted = envelope("room.ended")
    await broker.publisher.publish(wanted)
    (received,) = await taken(queue)
    assert received.headers["cloudEvents_id"] == wanted.id


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        pytest.param("#", {"room.created", "room.ended", "unreadable", "unknown.room"}, id="all topics"),
        pytest.param("*.*.room.*", {"room.created", "room.ended"}, id="one kind of event"),
        pytest.param("*.*.room.created", {"room.created"}, id="one type of event"),
        pytest.param("krtc.#", {"room.created", "room.ended", "unreadable", "unknown.room"}, id="one provider"),
        pytest.param("gme.#", set(), id="another provider"),
        pytest.param("krtc.main.*", {"unreadable"}, id="one word after the source"),
        pytest.param("krtc.main.*.*", {"room.created", "room.ended", "unknown.room"}, id="two words after the source"),
        pytest.param("krtc.main", set(), id="no word after the source"),
        pytest.param("*", set(), id="one word"),
        pytest.param("#.created", {"room.created"}, id="last word"),
        pytest.param("#.room.#", {"room.created", "room.ended", "unknown.room"}, id="word at any place"),
        pytest.param("#.main.#.room", {"unknown.room"}, id="two words at any place"),
        pytest.param("krtc.main.room.created.*", set(), id="star for no word"),
        pytest.param("krtc.main.room.created.#", {"room.created"}, id="hash for no word"),
    ],
)
async def test_patterns_follow_the_rules_of_amqp(
    installation: Installation, broker: Broker, pattern: str, wanted: set[str]
) -> None:
    short = queue_name()
    queue = await broker.subscribe(short, (pattern,), 10)
    for event_type in ("room.created", "room.ended", "unreadable", "unknown.room"):
        await broker.publisher.publish(envelope(event_type))
    received = await taken(queue, len(wanted))
    assert {each.headers["cloudEvents_type"] for each in received} == wanted
    assert await installation.depth(topics.queue_name(short)) == 0


async def test_an_event_that_no_queue_wants_is_kept_as_unrouted(installation: Installation, broker: Broker) -> None:
    await broker.publisher.publish(envelope())

    async def kept() -> bool:
        return await installation.depth(topics.UNROUTED) == 1

    await eventually(kept)


@pytest.mark.parametrize(
    "body",
    [b"", b"\x00\xff\x00{", '{"room":"会议室 🎥"}'.encode(), bytes(range(256)) * 1024],
    ids=["empty", "not text", "Chinese and emoji", "256 KiB"],
)
async def test_a_message_arrives_byte_for_byte(broker: Broker, body: bytes) -> None:
    queue = await broker.subscribe(queue_name(), ALL, 10)
    event = msgspec.structs.replace(envelope(subject="会议室 🎥 \x00", body=body), query="a=1&b=%B2%E2")
    await broker.publisher.publish(event)
    (received,) = await taken(queue)
    assert (received.body, received.headers) == (body, to_headers(event))
    assert (received.content_type, received.attempt) == (event.content_type, 1)


async def test_a_done_message_is_deleted(installation: Installation) -> None:
    name = queue_name()
    async with installation.opened() as broker:
        queue = await broker.subscribe(name, ALL, 10)
        for number in range(10):
            await broker.publisher.publish(envelope(number=number))
        for received in reversed(await taken(queue, 10)):
            await queue.settle(received, Done())
        await queue.close()
    assert await installation.depth(topics.queue_name(name)) == 0


async def test_a_message_returns_after_its_delay_with_its_attempt(broker: Broker) -> None:
    queue = await broker.subscribe(queue_name(), ALL, 10)
    event = envelope(body=b"\x00")
    await broker.publisher.publish(event)
    for attempt in (2, 3):
        (received,) = await taken(queue)
        began = asyncio.get_running_loop().time()
        await queue.settle(received, Again(0.3, attempt, "not yet"))
        (received,) = await taken(queue)
        assert asyncio.get_running_loop().time() - began >= 0.3
        headers = {name: value for name, value in received.headers.items() if name != COPY}
        assert (received.attempt, received.body, headers) == (attempt, b"\x00", to_headers(event))
        await queue.settle(received, Again(0, attempt, "once more"))


@pytest.mark.parametrize("delay_s", [0, 0.3], ids=["at once", "after a delay"])
async def test_a_retry_has_the_next_number_if_its_settlement_says_so(broker: Broker, delay_s: float) -> None:
    queue = await broker.subscribe(queue_name(), ALL, 10)
    await broker.publisher.publish(envelope())
    expected = 0
    for attempt in (2, 3):
        (received,) = await taken(queue)
        assert copy_of(received.headers) == expected
        expected += await queue.settle(received, Again(delay_s, attempt, "not yet"))
    assert copy_of((await taken(queue))[0].headers) == expected


async def test_a_message_without_delay_returns_at_once(broker: Broker) -> None:
    queue = await broker.subscribe(queue_name(), ALL, 1)
    await broker.publisher.publish(envelope())
    for attempt in range(2, 6):
        (received,) = await taken(queue)
        await queue.settle(received, Again(0, attempt, "not yet"))
    (received,) = await taken(queue)
    assert received.attempt == 5


async def test_a_parked_message_is_kept_with_its_reason(installation: Installation, broker: Broker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 10)
    event = envelope(body=b"\x00poison")
    await broker.publisher.publish(event)
    (received,) = await taken(queue)
    await queue.settle(received, Parked("handler_failed", "Traceback …\nValueError: 毒", 7))

    async def parked() -> bool:
        return await installation.depth(topics.dead_name(name)) == 1

    await eventually(parked)
    (dead_letter,) = await installation.dead(name)
    assert (dead_letter.reason, dead_letter.detail, dead_letter.attempts) == (
        "handler_failed",
        "Traceback …\nValueError: 毒",
        7,
    )
    assert dead_letter.body == event.body
    assert to_headers(event).items() <= dead_letter.headers.items()


async def test_unsettled_messages_are_requeued_without_counting_an_attempt(
    installation: Installation, broker: Broker
) -> None:
    name = queue_name()
    async with installation.opened() as first:
        queue = await first.subscribe(name, ALL, 10)
        for number in range(5):
            await broker.publisher.publish(envelope(number=number))
        done, *_ = await taken(queue, 5)
        await queue.settle(done, Done())
        await queue.close()
        later = await broker.subscribe(name, ALL, 10)
        received = await taken(later, 4)
    assert [int(each.headers["cloudEvents_id"], 16) for each in received] == [1, 2, 3, 4]
    assert {each.attempt for each in received} == {1}


async def test_two_consumers_of_a_queue_share_its_messages(installation: Installation, broker: Broker) -> None:
    name, total = queue_name(), 200
    seen: list[str] = []
    complete = asyncio.Event()
    async with installation.opened() as other, asyncio.TaskGroup() as group:

        async def consume(of: Broker) -> None:
            queue = await of.subscribe(name, ALL, 10)
            while True:
                received = await queue.take()
                seen.append(received.headers["cloudEvents_id"])
                await queue.settle(received, Done())
                if len(seen) == total:
                    complete.set()

        tasks = [group.create_task(consume(each)) for each in (broker, other)]
        await (await broker.subscribe(name, ALL, 1)).close()
        await asyncio.gather(*(broker.publisher.publish(envelope(number=number)) for number in range(total)))
        async with asyncio.timeout(15):
            await complete.wait()
        for task in tasks:
            task.cancel()
    assert len(set(seen)) == total


async def test_a_topic_that_is_no_longer_named_is_unbound(installation: Installation, broker: Broker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ("*.*.room.created", "*.*.room.updated"), 10)
    await queue.close()
    queue = await broker.subscribe(name, ("*.*.room.updated", "*.*.room.ended"), 10)
    for event_type in ("room.created", "room.updated", "room.ended"):
        await broker.publisher.publish(envelope(event_type))
    received = await taken(queue, 2)
    assert [each.headers["cloudEvents_type"] for each in received] == ["room.updated", "room.ended"]

    async def unrouted() -> bool:
        return await installation.depth(topics.UNROUTED) == 1

    await eventually(unrouted)


async def test_a_thousand_concurrent_publishes_are_all_kept(installation: Installation, broker: Broker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 1)
    await queue.close()
    await asyncio.gather(*(broker.publisher.publish(envelope(number=number)) for number in range(1000)))
    queue = await broker.subscribe(name, ALL, 1000)
    received = await taken(queue, 1000)
    assert len({each.headers["cloudEvents_id"] for each in received}) == 1000


async def test_one_consumer_sees_the_events_of_a_subject_in_order(broker: Broker) -> None:
    queue = await broker.subscribe(queue_name(), ALL, 10)
    await asyncio.gather(*(broker.publisher.publish(envelope(number=number)) for number in range(100)))
    seen = []
    for _ in range(100):
        (received,) = await taken(queue)
        seen.append(int(received.headers["cloudEvents_id"], 16))
        await queue.settle(received, Done())
    assert seen == list(range(100))


async def test_publishes_beyond_the_limit_are_refused_and_no_confirmed_event_is_missing(
    installation: Installation,
) -> None:
    name = queue_name()
    async with installation.opened(max_in_flight=10) as broker:
        await (await broker.subscribe(name, ALL, 1)).close()
        publishing = (broker.publisher.publish(envelope(number=number)) for number in range(200))
        results = await asyncio.gather(*publishing, return_exceptions=True)
        confirmed = [result for result in results if result is None]
        assert {type(result) for result in results} == {type(None), NotDurable}

        async def all_kept() -> bool:
            return await installation.depth(topics.queue_name(name)) == len(confirmed)

        await eventually(all_kept)


async def test_cancelling_take_loses_no_message(broker: Broker) -> None:
    queue = await broker.subscribe(queue_name(), ALL, 10)
    waiting = asyncio.create_task(queue.take())
    await asyncio.wait([waiting], timeout=0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    event = envelope()
    await broker.publisher.publish(event)
    (received,) = await taken(queue)
    assert received.headers["cloudEvents_id"] == event.id


async def test_closing_twice_is_harmless(broker: Broker) -> None:
    queue = await broker.subscribe(queue_name(), ALL, 10)
    await queue.close()
    await queue.close()
    await broker.publisher.publish(envelope())


async def test_confirmed_events_survive_the_death_of_their_publisher(
    installation: Installation, broker: Broker
) -> None:
    name = queue_name()
    await (await broker.subscribe(name, ALL, 1)).close()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.contract.publishing_process", installation.address, stdout=PIPE
    )
    assert process.stdout is not None
    confirmed = [int(await process.stdout.readline()) for _ in range(500)]
    process.kill()
    confirmed += [int(line) for line in (await process.stdout.read()).splitlines() if line.isdigit()]
    await process.wait()
    queue = await broker.subscribe(name, ALL, 1000)
    missing = set(confirmed)
    async with asyncio.timeout(30):
        while missing:
            received = await queue.take()
            missing.discard(int(received.headers["cloudEvents_id"], 16))
            await queue.settle(received, Done())
