"""Behaviour of the RabbitMQ broker on a server that works."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pamqp.commands import Basic
from yarl import URL

from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.broker.rabbitmq.consumer_timeout import consumer_arguments, server_version
from hookline.broker.rabbitmq.names import retry_name
from hookline.broker.rabbitmq.topology import bindings
from hookline.broker.rabbitmq.topology.retry_queues import delay_step_ms
from hookline.schemas import topics
from hookline.schemas.broker import Again, Done, Parked
from hookline.schemas.errors import NotDurable, SettingsError, Unreachable
from tests.contract.installations import (
    RabbitMQInstallation,
    envelope,
    eventually,
    opened,
    opened_rabbitmq,
    publishes,
    queue_name,
    raw_channel,
    taken,
)

ALL = ("#",)
PUBLISH_S = 5.0


@pytest.fixture
async def broker(rabbitmq_url: str) -> AsyncIterator[RabbitMQBroker]:
    async with opened_rabbitmq(RabbitMQSettings(rabbitmq_url, publish_timeout_s=PUBLISH_S)) as broker:
        yield broker


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "consumer_timeout" in record.getMessage()]


async def test_a_handler_time_out_beyond_the_servers_is_warned_of_once_before_rabbitmq_4_3(
    broker: RabbitMQBroker, rabbitmq_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = queue_name()
    for _ in range(2):
        await (await broker.subscribe(name, ALL, 1, unsettled_s=7200)).close()
    async with raw_channel(rabbitmq_url) as channel:
        version = server_version(channel.connection)
    server = f"RabbitMQ {'.'.join(map(str, version))}"
    text = f"worker {name}: an event may take 7200 s with its wait, but {server} delivers it again"
    assert [each.startswith(text) for each in warnings_of(caplog)] == [True] * (version < (4, 3))


async def test_a_handler_time_out_within_the_servers_is_not_warned_of(
    broker: RabbitMQBroker, caplog: pytest.LogCaptureFixture
) -> None:
    await broker.subscribe(queue_name(), ALL, 1, unsettled_s=1800)
    assert warnings_of(caplog) == []


@pytest.mark.parametrize(
    ("version", "unsettled_s", "arguments"),
    [
        ((4, 3, 6), 7200, {"x-consumer-timeout": 7_200_000}),
        ((4, 3), 1801, {"x-consumer-timeout": 1_801_000}),
        ((4, 3), 1800, None),
        ((4, 2, 9), 7200, None),
        ((), 7200, None),
    ],
    ids=["long handler", "just too long", "default is enough", "server before 4.3", "server without a version"],
)
def test_from_rabbitmq_4_3_on_a_consumer_asks_for_the_time_that_an_event_may_take(
    version: tuple[int, ...], unsettled_s: float, arguments: dict[str, int] | None
) -> None:
    assert consumer_arguments(version, unsettled_s) == arguments


async def test_the_error_for_an_unreachable_server_names_it_without_the_password(rabbitmq_url: str) -> None:
    wrong = str(URL(rabbitmq_url).with_port(1).with_password("hunter2"))
    with pytest.raises(Unreachable, match=r"RabbitMQ at 127\.0\.0\.1:1: connection refused") as caught:
        await RabbitMQBroker.open(RabbitMQSettings(wrong))
    assert "hunter2" not in str(caught.value)


async def test_the_error_for_a_wrong_password_does_not_show_it(rabbitmq_url: str) -> None:
    with pytest.raises(Unreachable, match="refused the user or password") as caught:
        await RabbitMQBroker.open(RabbitMQSettings(str(URL(rabbitmq_url).with_password("hunter2"))))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    ["", "http://host/", "amqp:///vhost", "amqp://u:hunter2@host:port/", "hunter2"],
    ids=["empty", "another scheme", "no host", "a port without digits", "a word"],
)
def test_a_malformed_address_is_refused_and_not_repeated(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"broker\.url") as caught:
        RabbitMQSettings(wrong)
    assert "hunter2" not in str(caught.value)


async def test_many_processes_can_start_on_a_fresh_server_at_once(rabbitmq_url: str) -> None:
    for _ in range(5):
        await RabbitMQInstallation(rabbitmq_url).clear()
        async with AsyncExitStack() as stack:
            brokers = [await stack.enter_async_context(opened(rabbitmq_url)) for _ in range(4)]
            async with asyncio.timeout(30):
                await asyncio.gather(*(broker.subscribe(queue_name(), ALL, 1) for broker in brokers for _ in range(2)))


async def test_no_task_is_left_after_closing(rabbitmq_url: str) -> None:
    before = asyncio.all_tasks()
    broker = await RabbitMQBroker.open(RabbitMQSettings(rabbitmq_url))
    await broker.subscribe(queue_name(), ALL, 10)
    await broker.publisher.publish(envelope())
    await broker.close()
    assert asyncio.all_tasks() == before


async def test_the_error_for_a_queue_that_exists_in_another_form_names_it(
    rabbitmq_url: str, broker: RabbitMQBroker
) -> None:
    name = queue_name()
    async with raw_channel(rabbitmq_url) as channel:
        await channel.queue_declare(topics.queue_name(name), durable=True)
    with pytest.raises(SettingsError, match=topics.queue_name(name)):
        await broker.subscribe(name, ALL, 10)


async def test_an_event_that_no_queue_takes_is_not_durable(rabbitmq_url: str, broker: RabbitMQBroker) -> None:
    async with raw_channel(rabbitmq_url) as channel:
        await channel.exchange_delete(topics.UNROUTED)
    event = envelope()
    twice = (broker.publisher.publish(event), broker.publisher.publish(event))
    results = await asyncio.gather(*twice, return_exceptions=True)
    assert [type(result) for result in results] == [NotDurable, NotDurable]


async def test_of_two_publishes_of_one_event_id_each_gets_its_own_confirm(
    rabbitmq_url: str, broker: RabbitMQBroker
) -> None:
    await (await broker.subscribe(queue_name(), ("*.*.room.*",), 1)).close()
    async with raw_channel(rabbitmq_url) as channel:
        await channel.exchange_delete(topics.UNROUTED)
    lost, kept = envelope("call.started", number=1), envelope("room.created", number=1)
    publishing = (broker.publisher.publish(event) for event in (lost, kept, lost, kept))
    results = await asyncio.gather(*publishing, return_exceptions=True)
    assert [isinstance(result, NotDurable) for result in results] == [True, False, True, False]


async def test_publishing_recovers_after_the_exchange_was_deleted(rabbitmq_url: str, broker: RabbitMQBroker) -> None:
    async with raw_channel(rabbitmq_url) as channel:
        await channel.exchange_delete(topics.EXCHANGE)
    async with asyncio.timeout(PUBLISH_S - 1):  # a closed channel fails publishes at once
        with pytest.raises(NotDurable):
            await broker.publisher.publish(envelope())
    await eventually(publishes(broker))


async def test_the_log_says_why_the_server_closed_the_publishers_channel(
    rabbitmq_url: str, broker: RabbitMQBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_channel(rabbitmq_url) as channel:
        await channel.exchange_delete(topics.EXCHANGE)
    with pytest.raises(NotDurable):
        await broker.publisher.publish(envelope())
    await eventually(publishes(broker))
    assert f"the publisher's channel was lost: 404 NOT_FOUND - no exchange '{topics.EXCHANGE}'" in caplog.text


async def test_the_log_says_why_the_server_closed_a_consumers_channel(
    broker: RabbitMQBroker, caplog: pytest.LogCaptureFixture
) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 1)
    await broker.publisher.publish(envelope())
    (received,) = await taken(queue)
    received.token.acks._acknowledge([(received.token.tag, False)] * 2)  # noqa: SLF001
    line = f"{topics.queue_name(name)}: the consumer was lost: 406 PRECONDITION_FAILED - unknown delivery tag 1"
    await eventually(lambda: logged(caplog, line))


async def test_the_log_says_that_the_server_cancelled_a_consumer(
    rabbitmq_url: str, broker: RabbitMQBroker, caplog: pytest.LogCaptureFixture
) -> None:
    name = queue_name()
    await broker.subscribe(name, ALL, 1)
    async with raw_channel(rabbitmq_url) as channel:
        await channel.queue_delete(topics.queue_name(name))
    await eventually(lambda: logged(caplog, f"{topics.queue_name(name)}: the consumer was lost: RabbitMQ cancelled it"))


async def logged(caplog: pytest.LogCaptureFixture, line: str) -> bool:
    return line in caplog.text


async def test_headers_larger_than_a_frame_fail_no_other_message(broker: RabbitMQBroker) -> None:
    publishing = (broker.publisher.publish(envelope(subject=subject)) for subject in ("a", "b" * 200_000, "c"))
    results = await asyncio.gather(*publishing, return_exceptions=True)
    assert [isinstance(result, NotDurable) for result in results] == [False, True, False]


async def test_a_consumer_whose_queue_was_deleted_consumes_again(rabbitmq_url: str, broker: RabbitMQBroker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 10)
    async with raw_channel(rabbitmq_url) as channel:
        await channel.queue_delete(topics.queue_name(name))
    event = envelope("room.ended")

    async def arrives() -> bool:
        await broker.publisher.publish(event)
        try:
            await taken(queue, within_s=0.2)
        except TimeoutError:
            return False
        return True

    await eventually(arrives)


async def test_header_values_of_any_type_become_text(rabbitmq_url: str, broker: RabbitMQBroker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 10)
    strange: dict[str, Any] = {
        "number": 1,
        "nothing": None,
        "bytes": bytearray(b"\xff"),
        "table": {"a": [1, {"b": None}]},
        "hookline-attempt": "-7",
        "x-death": [{"count": 3, "queue": "elsewhere"}],
    }
    async with raw_channel(rabbitmq_url) as channel:
        await channel.basic_publish(
            b"", routing_key=topics.queue_name(name), properties=Basic.Properties(headers=strange)
        )
    (received,) = await taken(queue)
    assert received.headers.keys() == {"number", "nothing", "bytes", "table"}
    assert all(isinstance(value, str) for value in received.headers.values())
    assert (received.attempt, received.content_type) == (1, "")
    await queue.settle(received, Again(0, 2, "strange"))
    (received,) = await taken(queue)
    assert received.attempt == 2


async def test_a_retry_queue_that_was_deleted_is_declared_again(rabbitmq_url: str, broker: RabbitMQBroker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 10)
    await broker.publisher.publish(envelope())
    (received,) = await taken(queue)
    await queue.settle(received, Again(0.1, 2, "once"))
    (received,) = await taken(queue)
    async with raw_channel(rabbitmq_url) as channel:
        await channel.queue_delete(retry_name(name, 100))
    await queue.settle(received, Again(0.1, 3, "twice"))
    (received,) = await taken(queue)
    assert received.attempt == 3


async def test_a_delivery_that_cannot_be_parked_is_retried_until_it_can(
    rabbitmq_url: str, broker: RabbitMQBroker
) -> None:
    name = queue_name()
    dead = topics.dead_name(name)
    queue = await broker.subscribe(name, ALL, 10)
    await broker.publisher.publish(envelope())
    (received,) = await taken(queue)
    async with raw_channel(rabbitmq_url) as channel:
        await channel.queue_delete(dead)
    async with asyncio.timeout(10):  # the guard declares it again, before its next regular look
        await queue.settle(received, Parked("poisoned", "", 1))
    assert [dead_letter.reason for dead_letter in await RabbitMQInstallation(rabbitmq_url).dead(name)] == ["poisoned"]


async def test_a_delivery_that_could_not_be_parked_is_requeued_when_the_queue_is_closed(
    rabbitmq_url: str, broker: RabbitMQBroker
) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 10)
    event = envelope()
    await broker.publisher.publish(event)
    (received,) = await taken(queue)
    async with raw_channel(rabbitmq_url) as channel:
        await channel.queue_delete(topics.dead_name(name))
    parking = asyncio.create_task(queue.settle(received, Parked("poisoned", "", 1)))
    await asyncio.wait([parking], timeout=0.2)
    await queue.close()
    await parking
    (received,) = await taken(await broker.subscribe(name, ALL, 10))
    assert received.headers["cloudEvents_id"] == event.id


async def test_a_long_traceback_keeps_its_end(rabbitmq_url: str, broker: RabbitMQBroker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 10)
    await broker.publisher.publish(envelope())
    (received,) = await taken(queue)
    await queue.settle(received, Parked("poisoned", "会" * 20_000 + "ValueError", 1))
    (dead_letter,) = await RabbitMQInstallation(rabbitmq_url).dead(name)
    assert dead_letter.detail.endswith("会ValueError")
    assert len(dead_letter.detail.encode()) <= 16 * 1024


async def test_a_dead_letter_has_its_queue_and_the_time_of_parking(rabbitmq_url: str, broker: RabbitMQBroker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 10)
    await broker.publisher.publish(envelope())
    (received,) = await taken(queue)
    await queue.settle(received, Parked("poisoned", "", 1))
    (dead_letter,) = await RabbitMQInstallation(rabbitmq_url).dead(name)
    assert dead_letter.headers["hookline-queue"] == name
    assert dead_letter.headers["hookline-parked-at"].endswith("+00:00")


async def test_processes_that_subscribe_at_once_leave_no_stale_binding(
    rabbitmq_url: str, broker: RabbitMQBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = queue_name()
    others = [await RabbitMQBroker.open(RabbitMQSettings(rabbitmq_url)) for _ in range(3)]
    event_types = [f"unknown.{number}" for number in range(12)]
    subscribing = (
        each.subscribe(name, (f"*.*.{event_type}",), 1)
        for each, event_type in zip((broker, *others) * 3, event_types, strict=True)
    )
    for queue in await asyncio.gather(*subscribing):
        await queue.close()
    for other in others:
        await other.close()
    monkeypatch.setattr(bindings, "ABANDONED_S", 0.0)
    await (await broker.subscribe(name, ("*.*.room.created",), 1)).close()
    for event_type in (*event_types, "room.created"):
        await broker.publisher.publish(envelope(event_type))
    assert await RabbitMQInstallation(rabbitmq_url).depth(topics.queue_name(name)) == 1


@pytest.mark.parametrize("prefetch", [1, 7, 100], ids=["prefetch of 1", "prefetch of 7", "prefetch of 100"])
async def test_settling_in_any_order_acknowledges_each_delivery_once(
    rabbitmq_url: str, broker: RabbitMQBroker, prefetch: int
) -> None:
    name, total, order = queue_name(), 500, random.Random(prefetch)  # noqa: S311  # no secret
    queue = await broker.subscribe(name, ALL, prefetch)
    await asyncio.gather(*(broker.publisher.publish(envelope()) for _ in range(total)))
    seen: list[str] = []
    channels = set()
    while len(seen) < total:
        received = await taken(queue, min(prefetch, total - len(seen)))
        order.shuffle(received)
        for each in received:
            seen.append(each.headers["cloudEvents_id"])
            channels.add(each.token.acks)
            await queue.settle(each, Done())
            await asyncio.sleep(0)  # lets acknowledgements go out
    await queue.close()
    assert len(set(seen)) == total
    assert len(channels) == 1  # an unexpected acknowledgement closes the channel
    assert await RabbitMQInstallation(rabbitmq_url).depth(topics.queue_name(name)) == 0


@pytest.mark.parametrize(
    ("delay_s", "step_ms"),
    [
        pytest.param(0.001, 100, id="1 ms"),
        pytest.param(0.1, 100, id="100 ms"),
        pytest.param(0.101, 120, id="101 ms"),
        pytest.param(1, 1000, id="1 s"),
        pytest.param(5, 6000, id="5 s"),
        pytest.param(30, 30_000, id="30 s"),
        pytest.param(60, 60_000, id="a minute"),
        pytest.param(61, 75_000, id="a minute and a second"),
        pytest.param(300, 300_000, id="5 minutes"),
        pytest.param(3600, 3_600_000, id="an hour"),
        pytest.param(10**9, 2**32 - 1, id="longer than the server allows"),
    ],
)
def test_delays_are_rounded_up_to_few_steps(delay_s: float, step_ms: int) -> None:
    assert delay_step_ms(delay_s) == step_ms
