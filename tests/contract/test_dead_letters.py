"""The contract of both brokers for dead letters and unrouted events."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest
from pamqp.commands import Basic

from hookline.broker.rabbitmq.unrouted import drop_oldest
from hookline.schemas import topics
from hookline.schemas.broker import Again, Broker, Done, Parked, Queue
from hookline.schemas.dead_letters import EVENTS, REPLAYS, UNROUTED, Action, DeadLetter, Scanned, replayed_at
from hookline.schemas.envelope import ID_HEADER, to_headers
from hookline.schemas.errors import SettingsError, Unreachable
from tests.contract.installations import (
    Installation,
    RabbitMQInstallation,
    envelope,
    eventually,
    queue_name,
    raw_channel,
    taken,
)

ALL = ("#",)
MANY = 450  # more than two pages


async def scan(broker: Broker, queue: str, decide: Callable[[DeadLetter], Action]) -> list[Scanned[DeadLetter]]:
    async with aclosing(broker.dead_letters.scan(queue, decide)) as dead_letters:
        return [each async for each in dead_letters]


async def look(broker: Broker, queue: str) -> list[DeadLetter]:
    return [each.message for each in await scan(broker, queue, lambda _: Action.KEEP)]


async def replay(
    broker: Broker, queue: str, decide: Callable[[DeadLetter], bool] = lambda _: True
) -> list[Scanned[DeadLetter]]:
    return await scan(broker, queue, lambda dead_letter: Action.REPLAY if decide(dead_letter) else Action.KEEP)


def numbers(dead_letters: list[DeadLetter]) -> list[int]:
    return [int(dead_letter.envelope.id, 16) for dead_letter in dead_letters if dead_letter.envelope is not None]


def is_even(dead_letter: DeadLetter) -> bool:
    return numbers([dead_letter])[0] % 2 == 0


async def park(broker: Broker, queue: Queue, count: int = 1, reason: str = "failed") -> None:
    """Publish `count` events, numbered from 0, and park them."""
    await asyncio.gather(*(broker.publisher.publish(envelope(number=number)) for number in range(count)))
    for received in await taken(queue, count):
        await queue.settle(received, Parked(reason, "Traceback …\nValueError: 毒", 7))


async def parked(broker: Broker, name: str, count: int = 1) -> None:
    async def are_there() -> bool:
        return await broker.dead_letters.count(name) == count

    await eventually(are_there)


async def with_dead(broker: Broker, count: int = 1) -> tuple[str, Queue]:
    """A worker's queue with dead letters."""
    name = queue_name()
    queue = await broker.subscribe(name, ALL, max(10, count))
    await park(broker, queue, count)
    await parked(broker, name, count)
    return name, queue


async def test_a_dead_letter_has_its_reason_body_and_headers(broker: Broker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 10)
    event = envelope(body=b"\x00poison", subject="会议室 🎥")
    await broker.publisher.publish(event)
    (received,) = await taken(queue)
    await queue.settle(received, Parked("failed", "Traceback …\nValueError: 毒", 7))
    await parked(broker, name)
    (dead_letter,) = await look(broker, name)
    assert (dead_letter.reason, dead_letter.detail, dead_letter.attempts) == (
        "failed",
        "Traceback …\nValueError: 毒",
        7,
    )
    assert (dead_letter.body, dead_letter.headers, dead_letter.content_type) == (
        b"\x00poison",
        to_headers(event),
        "application/json",
    )
    assert (dead_letter.envelope, dead_letter.replays) == (event, 0)
    assert dead_letter.parked_at is not None
    assert abs(datetime.now(UTC) - dead_letter.parked_at) < timedelta(minutes=1)


async def test_looking_takes_nothing_away_and_keeps_the_order(broker: Broker) -> None:
    name, _ = await with_dead(broker, MANY)
    for _ in range(3):
        assert numbers(await look(broker, name)) == list(range(MANY))


async def test_a_scan_that_stops_early_keeps_all_dead_letters(broker: Broker) -> None:
    name, _ = await with_dead(broker, 10)
    async with aclosing(broker.dead_letters.scan(name, lambda _: Action.KEEP)) as dead_letters:
        first = await anext(dead_letters)
    assert numbers([first.message]) == [0]
    assert sorted(numbers(await look(broker, name))) == list(range(10))


async def test_a_replayed_dead_letter_returns_to_its_queue_as_a_first_attempt(broker: Broker) -> None:
    name, queue = await with_dead(broker)
    (scanned,) = await replay(broker, name)
    assert scanned.action is Action.REPLAY
    (received,) = await taken(queue)
    assert (received.attempt, received.body) == (1, b"{}")
    assert to_headers(envelope(number=0)).items() <= received.headers.items()
    assert received.headers[REPLAYS] == "1"
    since = replayed_at(received.headers)
    assert since is not None
    assert abs(datetime.now(UTC) - since) < timedelta(minutes=1)
    assert await broker.dead_letters.count(name) == 0


async def test_a_replay_says_which_events_of_the_delivery_failed(broker: Broker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 10)
    await broker.publisher.publish(envelope(number=0))
    (received,) = await taken(queue)
    await queue.settle(received, Parked("failed", "Traceback", 7, ("e:0", "e:2")))
    await parked(broker, name)
    (dead_letter,) = await look(broker, name)
    assert (dead_letter.headers[EVENTS], dead_letter.replays) == ("e:0,e:2", 0)
    await replay(broker, name)
    (again,) = await taken(queue)
    assert (again.headers[EVENTS], again.headers[REPLAYS], again.attempt) == ("e:0,e:2", "1", 1)
    await queue.settle(again, Again(0, 2, "failed"))
    (retried,) = await taken(queue)
    assert retried.headers[EVENTS] == "e:0,e:2"


async def test_a_dead_letter_counts_its_replays(broker: Broker) -> None:
    name, queue = await with_dead(broker)
    for replays in (1, 2):
        await replay(broker, name)
        (received,) = await taken(queue)
        await queue.settle(received, Again(0.1, 2, "not yet"))
        (received,) = await taken(queue)
        await queue.settle(received, Parked("poisoned", "", 2))
        await parked(broker, name)
        (dead_letter,) = await look(broker, name)
        assert (dead_letter.replays, dead_letter.reason, dead_letter.attempts) == (replays, "poisoned", 2)


async def test_a_replayed_dead_letter_that_is_done_is_deleted(installation: Installation, broker: Broker) -> None:
    name, queue = await with_dead(broker)
    await replay(broker, name)
    (received,) = await taken(queue)
    await queue.settle(received, Done())
    await queue.close()
    assert await installation.depth(topics.queue_name(name)) == 0
    assert await installation.depth(topics.dead_name(name)) == 0


async def test_what_a_cancelled_replay_has_replayed_is_no_dead_letter_any_more(broker: Broker) -> None:
    name, queue = await with_dead(broker, 10)
    loop = asyncio.get_running_loop()

    def cancel_in(turns: int) -> None:
        loop.call_soon(*((cancel_in, turns - 1) if turns else (replaying.cancel,)))

    def decide(dead_letter: DeadLetter) -> bool:
        if numbers([dead_letter]) == [9]:
            cancel_in(3)  # when the messages are written, and RabbitMQ has not confirmed them
        return True

    replaying = asyncio.create_task(replay(broker, name, decide))
    await asyncio.wait([replaying])
    assert replaying.cancelled()
    left = numbers(await look(broker, name))
    await broker.publisher.publish(envelope(number=10))
    replayed: list[int] = []
    while 10 not in replayed:
        (received,) = await taken(queue)
        replayed.append(int(received.headers[ID_HEADER], 16))
        await queue.settle(received, Done())
    assert sorted(left + replayed) == list(range(11))


async def test_a_replay_reaches_no_other_queue(broker: Broker) -> None:
    name, queue = await with_dead(broker)
    other = await broker.subscribe(queue_name(), ALL, 10)
    await replay(broker, name)
    await taken(queue)
    with pytest.raises(TimeoutError):
        await taken(other, within_s=0.3)


async def test_dead_letters_that_are_not_chosen_keep_their_order(broker: Broker) -> None:
    name, queue = await with_dead(broker, MANY)
    scanned = await replay(broker, name, is_even)
    assert [each.action for each in scanned] == [Action.REPLAY, Action.KEEP] * (MANY // 2)
    returned = {received.headers["cloudEvents_id"] for received in await taken(queue, MANY // 2)}
    assert returned == {envelope(number=number).id for number in range(0, MANY, 2)}
    assert numbers(await look(broker, name)) == list(range(1, MANY, 2))


async def test_a_dropped_dead_letter_is_deleted(broker: Broker) -> None:
    name, queue = await with_dead(broker, 10)
    await scan(broker, name, lambda dead_letter: Action.DROP if is_even(dead_letter) else Action.KEEP)
    assert numbers(await look(broker, name)) == [1, 3, 5, 7, 9]
    with pytest.raises(TimeoutError):
        await taken(queue, within_s=0.3)


async def test_a_scan_ends_although_dead_letters_keep_arriving(broker: Broker) -> None:
    name, queue = await with_dead(broker, MANY)
    looked_at = 0
    async with aclosing(broker.dead_letters.scan(name, lambda _: Action.REPLAY)) as dead_letters, asyncio.timeout(30):
        async for _ in dead_letters:
            looked_at += 1
            (received,) = await taken(queue)
            await queue.settle(received, Parked("failed", "", 1))
    assert looked_at == MANY
    await parked(broker, name, MANY)


async def test_two_scans_at_once_both_see_everything(installation: Installation, broker: Broker) -> None:
    name, _ = await with_dead(broker, 50)
    async with installation.opened() as other:
        first, second = await asyncio.gather(look(broker, name), look(other, name))
    assert numbers(first) == numbers(second) == list(range(50))


async def test_the_queues_that_have_dead_letters_are_listed(broker: Broker) -> None:
    one, _ = await with_dead(broker)
    two, _ = await with_dead(broker, 3)
    none = queue_name()
    await broker.subscribe(none, ALL, 10)
    counts = await broker.dead_letters.counts()
    assert (counts[one], counts[two]) == (1, 3)
    assert none not in counts
    assert await broker.dead_letters.count(none) == 0


async def test_a_queue_that_does_not_exist_is_an_error(broker: Broker) -> None:
    with pytest.raises(SettingsError, match="there is no queue 'q-nowhere'"):
        await broker.dead_letters.count("q-nowhere")
    with pytest.raises(SettingsError, match="there is no queue 'q-nowhere'"):
        await look(broker, "q-nowhere")


async def test_an_event_that_no_queue_wants_is_listed_as_unrouted(broker: Broker) -> None:
    event = envelope()
    await broker.publisher.publish(event)
    await parked(broker, UNROUTED)
    (dead_letter,) = await look(broker, UNROUTED)
    assert (dead_letter.reason, dead_letter.envelope, dead_letter.attempts, dead_letter.parked_at) == (
        "unrouted",
        event,
        0,
        None,
    )


async def test_replayed_unrouted_events_reach_every_queue_that_wants_them_and_the_others_stay(broker: Broker) -> None:
    for event_type in ("room.created", "room.ended"):
        await broker.publisher.publish(envelope(event_type, number=1))
    await parked(broker, UNROUTED, 2)
    queues = [await broker.subscribe(queue_name(), ("*.*.room.created",), 10) for _ in range(2)]
    await replay(broker, UNROUTED)
    for queue in queues:
        (received,) = await taken(queue)
        assert (received.headers["cloudEvents_type"], received.attempt) == ("room.created", 1)
        await queue.settle(received, Done())
    await parked(broker, UNROUTED)
    (dead_letter,) = await look(broker, UNROUTED)
    assert dead_letter.headers["cloudEvents_type"] == "room.ended"


async def test_a_replay_of_unrouted_events_says_which_were_wanted(broker: Broker) -> None:
    for number in range(11):
        await broker.publisher.publish(envelope("room.created" if number < 4 else "room.ended", number=number))
    await parked(broker, UNROUTED, 11)
    assert await broker.dead_letters.wanted() == frozenset()
    await broker.subscribe(queue_name(), ("*.*.room.created",), 10)
    assert await broker.dead_letters.wanted() == {"*.*.room.created.*"}
    replayed = [each.message for each in await replay(broker, UNROUTED) if each.action is Action.REPLAY]
    assert numbers(replayed) == [0, 1, 2, 3]
    await parked(broker, UNROUTED, 7)


async def test_unrouted_events_that_another_program_wants_count_as_replayed(installation: Installation) -> None:
    if not isinstance(installation, RabbitMQInstallation):
        pytest.skip("other programs do not bind queues of the embedded broker")
    async with installation.opened() as broker, raw_channel(installation.address) as channel:
        await broker.publisher.publish(envelope())
        await parked(broker, UNROUTED)
        await channel.queue_declare("other", exclusive=True)
        await channel.queue_bind("other", topics.EXCHANGE, "#")
        (scanned,) = await replay(broker, UNROUTED)
        assert scanned.action is Action.REPLAY
        assert await broker.dead_letters.count(UNROUTED) == 0


async def test_unrouted_events_can_be_dropped(broker: Broker) -> None:
    await broker.publisher.publish(envelope())
    await parked(broker, UNROUTED)
    await scan(broker, UNROUTED, lambda _: Action.DROP)
    assert await broker.dead_letters.count(UNROUTED) == 0


async def with_unrouted(broker: Broker, count: int) -> None:
    """Unrouted events, numbered from 0."""
    for number in range(count):
        await broker.publisher.publish(envelope(number=number))
    await parked(broker, UNROUTED, count)


@pytest.mark.parametrize("excess", [3, MANY - 20, MANY - 1])
async def test_the_oldest_unrouted_events_are_dropped_if_there_are_too_many(broker: Broker, excess: int) -> None:
    await with_unrouted(broker, MANY)
    assert await broker.dead_letters.drop_unrouted(MANY - excess) == excess
    assert numbers(await look(broker, UNROUTED)) == list(range(excess, MANY))
    assert await broker.dead_letters.drop_unrouted(MANY - excess) == 0


async def test_unrouted_events_keep_their_order_when_others_are_dropped(broker: Broker) -> None:
    """Also those that somebody has looked at, which RabbitMQ keeps in another place than new ones."""
    await with_unrouted(broker, 50)
    await look(broker, UNROUTED)
    for number in range(50, 60):
        await broker.publisher.publish(envelope(number=number))
    await parked(broker, UNROUTED, 60)
    for most in (59, 40, 20):
        await broker.dead_letters.drop_unrouted(most)
    assert numbers(await look(broker, UNROUTED)) == list(range(40, 60))


async def test_dead_letters_and_events_of_a_queue_are_never_dropped_as_unrouted(broker: Broker) -> None:
    name, queue = await with_dead(broker, 2)
    await asyncio.gather(*(broker.publisher.publish(envelope(number=number)) for number in range(2)))
    assert await broker.dead_letters.drop_unrouted(1) == 0
    assert await broker.dead_letters.count(name) == 2
    assert len(await taken(queue, 2)) == 2


async def test_messages_of_another_program_are_dropped_too(installation: Installation) -> None:
    if not isinstance(installation, RabbitMQInstallation):
        pytest.skip("other programs do not write to the file of the embedded broker")
    async with installation.opened() as broker, raw_channel(installation.address) as channel:
        for _ in range(3):
            await channel.basic_publish(b"theirs", exchange=topics.EXCHANGE, routing_key="their.own")
        await broker.publisher.publish(envelope(number=0))
        await parked(broker, UNROUTED, 4)
        assert await broker.dead_letters.drop_unrouted(1) == 3
        assert numbers(await look(broker, UNROUTED)) == [0]


async def test_a_channel_that_is_lost_while_a_queue_is_looked_at_is_unreachable(installation: Installation) -> None:
    """The caller tries again later. An error of the library would end its task."""
    if not isinstance(installation, RabbitMQInstallation):
        pytest.skip("the embedded broker has no channels")
    async with installation.opened(), raw_channel(installation.address) as channel:
        await channel.close()
        with pytest.raises(Unreachable, match="looking at hookline"):
            await drop_oldest(channel, 1)


async def test_unrouted_events_are_not_dropped_while_somebody_looks_at_them(installation: Installation) -> None:
    if not isinstance(installation, RabbitMQInstallation):
        pytest.skip("the embedded broker has no lock: dropping disturbs nobody")
    async with installation.opened() as broker, installation.opened() as other:
        await with_unrouted(broker, 20)
        async with aclosing(broker.dead_letters.scan(UNROUTED, lambda _: Action.KEEP)) as looking:
            await anext(looking)
            with pytest.raises(Unreachable, match="held by another process"):
                await other.dead_letters.drop_unrouted(1)
        assert await broker.dead_letters.count(UNROUTED) == 20


@pytest.mark.parametrize("unrouted", [False, True], ids=["parked", "unrouted"])
async def test_dead_letters_of_an_ordered_worker_return_to_their_partition(broker: Broker, *, unrouted: bool) -> None:
    name, event = queue_name(), envelope()
    partition = topics.partition(event.subject)
    if unrouted:
        await broker.publisher.publish(event)
    await broker.declare_partitions(name, ALL)
    assert await broker.dead_letters.count(name) == 0
    queue = await broker.subscribe(name, ALL, 1, partition)
    first = await broker.subscribe(name, ALL, 1, topics.PARTITION_WORDS[0])  # it also moves what is put there by name
    if unrouted:
        await replay(broker, UNROUTED)
    else:
        await broker.publisher.publish(event)
        (received,) = await taken(queue)
        await queue.settle(received, Parked("failed", "", 1))
        await parked(broker, name)
        await replay(broker, name)
    (received,) = await taken(queue if partition != topics.PARTITION_WORDS[0] else first)
    assert (received.headers["cloudEvents_id"], received.headers[REPLAYS]) == (event.id, "0" if unrouted else "1")


async def test_dead_letters_of_a_deleted_queue_stay(installation: Installation, broker: Broker) -> None:
    if not isinstance(installation, RabbitMQInstallation):
        pytest.skip("the embedded broker deletes no queue")
    name, queue = await with_dead(broker)
    await queue.close()
    async with raw_channel(installation.address) as channel:
        await channel.queue_delete(topics.queue_name(name))
    with pytest.raises(SettingsError, match="is gone: start its worker"):
        await replay(broker, name)
    await parked(broker, name)


async def test_messages_that_rabbitmq_dead_lettered_are_listed(installation: Installation, broker: Broker) -> None:
    if not isinstance(installation, RabbitMQInstallation):
        pytest.skip("only RabbitMQ dead-letters messages by itself")
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 1)
    event = envelope()
    await broker.publisher.publish(event)
    await queue.close()
    async with raw_channel(installation.address) as channel:
        while (message := await channel.basic_get(topics.queue_name(name))).delivery_tag is not None:
            await channel.basic_reject(message.delivery_tag, requeue=True)
    await parked(broker, name)
    (dead_letter,) = await look(broker, name)
    assert (dead_letter.reason, dead_letter.detail, dead_letter.envelope) == ("broker", "delivery_limit", event)
    assert (dead_letter.headers, dead_letter.parked_at is None) == (to_headers(event), False)
    queue = await broker.subscribe(name, ALL, 1)
    await replay(broker, name)
    (received,) = await taken(queue)
    assert received.attempt == 1


async def test_a_dead_letter_that_was_published_twice_is_listed_and_replayed_once(
    installation: Installation, broker: Broker
) -> None:
    """A worker repeats a publish whose confirm it did not get."""
    if not isinstance(installation, RabbitMQInstallation):
        pytest.skip("the embedded broker moves a message in one transaction")
    name, _ = await with_dead(broker, 3)
    async with raw_channel(installation.address) as channel:
        for _ in range(3):
            got = await channel.basic_get(topics.dead_name(name))
            await channel.basic_publish(got.body, routing_key=topics.dead_name(name), properties=got.header.properties)
    await parked(broker, name, 6)
    assert sorted(numbers(await look(broker, name))) == [0, 1, 2]
    await parked(broker, name, 3)
    assert len(await replay(broker, name)) == 3


async def test_a_foreign_dead_letter_is_listed_and_can_be_dropped(installation: Installation, broker: Broker) -> None:
    if not isinstance(installation, RabbitMQInstallation):
        pytest.skip("other programs do not write to the embedded broker")
    name = queue_name()
    await broker.subscribe(name, ALL, 1)
    async with raw_channel(installation.address) as channel:
        strange = Basic.Properties(headers={"hookline-attempts": "-1", "hookline-parked-at": "soon", "x-death": "no"})
        await channel.basic_publish(b"\xff", routing_key=topics.dead_name(name), properties=strange)
    await parked(broker, name)
    (dead_letter,) = await look(broker, name)
    assert (dead_letter.body, dead_letter.envelope, dead_letter.reason, dead_letter.parked_at) == (
        b"\xff",
        None,
        "broker",
        None,
    )
    await scan(broker, name, lambda _: Action.DROP)
    assert await broker.dead_letters.count(name) == 0
