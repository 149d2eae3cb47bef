"""The topology guard on a real server: what another tool, an operator or another version of a worker changed."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from yarl import URL

from hookline.broker.rabbitmq import guard
from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.broker.rabbitmq.names import bindings_name
from hookline.broker.rabbitmq.topology import bindings
from hookline.broker.rabbitmq.topology.arguments import QUORUM
from hookline.broker.rabbitmq.topology.bindings import ABANDONED_S, RENEW_EVERY_S, Wishes
from hookline.broker.rabbitmq.topology.worker_queues import WorkerQueues
from hookline.schemas import topics
from hookline.schemas.broker import Queue
from hookline.schemas.dead_letters import Action
from hookline.schemas.errors import NotDurable, SettingsError
from hookline.schemas.observer import NOBODY, Observer
from tests.contract.installations import (
    RabbitMQInstallation,
    declare_anew,
    envelope,
    eventually,
    queue_name,
    raw_channel,
    taken,
)
from tests.services.rabbitmq import Node, own_node

CREATED = ("*.*.room.created",)
BOTH = ("*.*.room.created", "*.*.room.ended")
CREATED_KEY = topics.binding(CREATED[0])
ENDED_KEY = topics.binding(BOTH[1])
RIGHTS = ("^hookline", "^(hookline.*|amq\\.default)$", "^hookline")
USER = "limited"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard looks often, and renews bindings with each look."""
    monkeypatch.setattr(guard, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(guard, "RENEW_EVERY_S", 0.0)


@pytest.fixture
async def node(request: pytest.FixtureRequest) -> Node:
    node = own_node(request.config)
    await RabbitMQInstallation(node.url).clear()
    return node


class Counted(Observer):
    """What the looks have found."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def guard_found(self, fault: str | None) -> None:
        if fault is not None:
            self.faults.append(fault)


@asynccontextmanager
async def process(url: str, observer: Observer = NOBODY) -> AsyncIterator[RabbitMQBroker]:
    broker = await RabbitMQBroker.open(RabbitMQSettings(url, observer=observer))
    try:
        yield broker
    finally:
        await broker.close()


@pytest.fixture
async def broker(node: Node) -> AsyncIterator[RabbitMQBroker]:
    async with process(node.url) as broker:
        yield broker


@pytest.fixture
def limited(node: Node) -> Iterator[Callable[[str, str, str], str]]:
    """A user with these rights (configure, write, read); called again, it changes them. Returns the user's URL."""
    node.control("add_user", USER, USER)

    def allow(configure: str, write: str, read: str) -> str:
        node.control("set_permissions", "-p", "/", USER, configure, write, read)
        return str(URL(node.url).with_user(USER).with_password(USER))

    yield allow
    node.control("delete_user", USER)


def arrives(broker: RabbitMQBroker, queue: Queue, event_type: str = "room.created") -> Callable[[], Awaitable[bool]]:
    """Whether an event that is published now reaches a worker."""

    async def once() -> bool:
        event = envelope(event_type)
        try:
            await broker.publisher.publish(event)
            while True:
                (received,) = await taken(queue, within_s=0.3)
                if received.headers["cloudEvents_id"] == event.id:
                    return True
        except (NotDurable, TimeoutError):
            return False

    return once


def is_bound(node: Node, name: str, *keys: str) -> Callable[[], Awaitable[bool]]:
    async def once() -> bool:
        return keys_of(await asyncio.to_thread(node.control, "list_bindings", "--formatter", "json"), name) == set(keys)

    return once


def keys_of(listed: str, name: str) -> set[str]:
    return {
        each["routing_key"]
        for each in json.loads(listed)
        if each["source_name"] == topics.EXCHANGE and each["destination_name"] == name
    }


def said(caplog: pytest.LogCaptureFixture, text: str) -> Callable[[], Awaitable[bool]]:
    async def once() -> bool:
        return text in caplog.text

    return once


def is_ready(broker: RabbitMQBroker, *, ready: bool) -> Callable[[], Awaitable[bool]]:
    async def once() -> bool:
        return broker.publisher.ready is ready

    return once


async def has_fault(broker: RabbitMQBroker, text: str) -> bool:
    return any(text in fault for fault in broker.faults)


async def test_a_binding_that_was_removed_is_restored(node: Node, broker: RabbitMQBroker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, CREATED, 10)
    async with raw_channel(node.url) as channel:
        await channel.queue_unbind(topics.queue_name(name), topics.EXCHANGE, CREATED_KEY)
    await eventually(arrives(broker, queue))
    assert broker.faults == []


async def test_bindings_are_restored_after_another_process_declared_the_deleted_exchange(
    node: Node, broker: RabbitMQBroker
) -> None:
    name, ordered = queue_name(), queue_name()
    queue = await broker.subscribe(name, CREATED, 10)
    await broker.declare_partitions(ordered, CREATED)
    partition = await broker.subscribe(ordered, CREATED, 10, topics.partition("room-1"))
    async with raw_channel(node.url) as channel:
        await channel.exchange_delete(topics.EXCHANGE)
        arguments: dict[str, Any] = {"alternate-exchange": topics.UNROUTED}
        await channel.exchange_declare(topics.EXCHANGE, exchange_type="topic", durable=True, arguments=arguments)
    await eventually(arrives(broker, queue))
    await eventually(arrives(broker, partition))
    assert broker.faults == []


async def test_the_deleted_queue_and_exchange_of_unrouted_events_are_restored(
    node: Node, broker: RabbitMQBroker
) -> None:
    async with raw_channel(node.url) as channel:
        await channel.queue_delete(topics.UNROUTED)
        await channel.exchange_delete(topics.UNROUTED)

    async def kept() -> bool:
        try:
            await broker.publisher.publish(envelope())
        except NotDurable:
            return False
        return await RabbitMQInstallation(node.url).depth(topics.UNROUTED) >= 1

    await eventually(kept)


async def test_a_queue_that_another_tool_declared_anew_in_another_form_is_said_once_and_bound(
    node: Node, broker: RabbitMQBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    short = queue_name()
    name = topics.queue_name(short)
    queue = await broker.subscribe(short, CREATED, 10)
    await declare_anew(
        node.url, lambda channel: channel.queue_delete(name), lambda channel: channel.queue_declare(name, durable=True)
    )
    await eventually(lambda: has_fault(broker, f"RabbitMQ has {name}, or what belongs to it, in another form"))
    await eventually(arrives(broker, queue))
    await asyncio.sleep(1)  # several looks
    assert caplog.text.count("topology guard: RabbitMQ has") == 1
    async with raw_channel(node.url) as channel:
        await channel.queue_delete(name)
    await eventually(mended(broker))
    assert f"the topology guard: {name} is as it should be again" in caplog.text
    await eventually(arrives(broker, queue))


def mended(broker: RabbitMQBroker) -> Callable[[], Awaitable[bool]]:
    async def once() -> bool:
        return broker.faults == []

    return once


async def test_an_exchange_declared_anew_without_its_alternate_exchange_makes_the_ingress_not_ready(
    node: Node, broker: RabbitMQBroker
) -> None:
    await declare_anew(
        node.url,
        lambda channel: channel.exchange_delete(topics.EXCHANGE),
        lambda channel: channel.exchange_declare(topics.EXCHANGE, exchange_type="topic", durable=True),
    )
    await eventually(is_ready(broker, ready=False))
    assert await has_fault(broker, "alternate-exchange")
    async with raw_channel(node.url) as channel:
        await channel.exchange_delete(topics.EXCHANGE)
    await eventually(is_ready(broker, ready=True))
    assert broker.faults == []


async def test_a_user_without_the_configure_right_starts_when_all_is_declared(
    node: Node, broker: RabbitMQBroker, limited: Callable[[str, str, str], str], caplog: pytest.LogCaptureFixture
) -> None:
    name, ordered = queue_name(), queue_name()
    await (await broker.subscribe(name, CREATED, 1)).close()
    await broker.declare_partitions(ordered, CREATED)
    _, write, read = RIGHTS
    caplog.set_level("INFO")
    async with process(limited("^$", write, read)) as other:
        queue = await other.subscribe(name, CREATED, 10)
        await other.declare_partitions(ordered, CREATED)
        partition = await other.subscribe(ordered, CREATED, 10, topics.partition("room-1"))
        await eventually(arrives(other, queue))
        await eventually(arrives(other, partition))
        await asyncio.sleep(1)  # several looks
        assert (other.faults, other.publisher.ready) == ([], True)
        assert "bindings that nobody wants any more are not removed" in caplog.text


@pytest.mark.parametrize("missing", [topics.EXCHANGE, "the worker's queue"])
async def test_a_missing_right_for_something_that_is_missing_is_named(
    node: Node, broker: RabbitMQBroker, limited: Callable[[str, str, str], str], missing: str
) -> None:
    name = queue_name()
    url = limited("^$", *RIGHTS[1:])
    await (await broker.subscribe(queue_name(), CREATED, 1)).close()
    if missing == topics.EXCHANGE:
        await broker.close()
        await RabbitMQInstallation(node.url).clear()
        missing = topics.UNROUTED  # the first that is declared
    else:
        missing = topics.dead_name(name)
    text = rf"has no {missing}, and this user lacks .* \(configure\): 403 .* '{missing}' in vhost '/' refused for user"
    with pytest.raises(SettingsError, match=text):
        async with process(url) as other:
            await other.subscribe(name, CREATED, 1)


async def test_what_may_not_be_mended_makes_the_ingress_not_ready_until_somebody_else_mends_it(
    node: Node, broker: RabbitMQBroker, limited: Callable[[str, str, str], str], caplog: pytest.LogCaptureFixture
) -> None:
    await broker.close()
    counted = Counted()
    async with process(limited("^$", *RIGHTS[1:]), counted) as other:
        assert other.publisher.ready
        async with raw_channel(node.url) as channel:
            await channel.queue_delete(topics.UNROUTED)
        await eventually(is_ready(other, ready=False))
        assert await has_fault(other, f"RabbitMQ has no {topics.UNROUTED}, and this user lacks the right to declare it")
        await asyncio.sleep(1)  # several looks
        assert caplog.text.count(f"the topology guard: RabbitMQ has no {topics.UNROUTED}") == 1
        assert len(counted.faults) > 1  # an alert has to last as long as the fault
        async with process(node.url):
            await eventually(is_ready(other, ready=True))


async def test_a_consumer_that_lost_its_right_says_so_with_the_servers_reason(
    node: Node, broker: RabbitMQBroker, limited: Callable[[str, str, str], str], caplog: pytest.LogCaptureFixture
) -> None:
    name = queue_name()
    await (await broker.subscribe(name, CREATED, 1)).close()
    async with process(limited(*RIGHTS)) as other:
        queue = await other.subscribe(name, CREATED, 10)
        limited(*RIGHTS[:2], "^hookline.events$")
        await asyncio.to_thread(node.control, "close_all_connections", "test")
        await eventually(said(caplog, f"consuming {topics.queue_name(name)} failed (403 ACCESS_REFUSED - "))
        assert await has_fault(other, f"{topics.queue_name(name)} is not consumed by this process")
        limited(*RIGHTS)
        await eventually(mended(other))
        await eventually(arrives(other, queue))


async def test_a_closed_workers_bindings_are_not_restored(node: Node, broker: RabbitMQBroker) -> None:
    name = queue_name()
    await (await broker.subscribe(name, CREATED, 1)).close()
    async with raw_channel(node.url) as channel:
        await channel.queue_unbind(topics.queue_name(name), topics.EXCHANGE, CREATED_KEY)
    await asyncio.sleep(1)  # several looks
    assert await is_bound(node, topics.queue_name(name))()


async def test_a_new_version_that_starts_keeps_what_a_running_old_one_wants_and_says_who_wants_it(
    node: Node, broker: RabbitMQBroker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = queue_name()
    whole = topics.queue_name(name)
    async with process(node.url) as old:
        await old.subscribe(name, BOTH, 10)
        await broker.subscribe(name, CREATED, 10)
        assert f"{whole} is also bound to what this process does not want: {ENDED_KEY} (last wanted by " in caplog.text
        await asyncio.sleep(1)  # several looks of both
        assert await is_bound(node, whole, CREATED_KEY, ENDED_KEY)()
    monkeypatch.setattr(bindings, "ABANDONED_S", 1.0)
    await eventually(is_bound(node, whole, CREATED_KEY))


async def test_bindings_of_a_note_from_an_earlier_release_are_kept_until_they_count_as_abandoned(
    node: Node, broker: RabbitMQBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = queue_name()
    whole, note_queue = topics.queue_name(name), bindings_name(name)
    async with raw_channel(node.url) as channel:
        await channel.queue_declare(whole, durable=True, arguments=working(name))
        await channel.queue_bind(whole, topics.EXCHANGE, ENDED_KEY)
        await channel.queue_declare(note_queue, durable=True, arguments={**QUORUM, "x-max-length": 1})
        await channel.basic_publish(json.dumps([ENDED_KEY]).encode(), routing_key=note_queue)
    await broker.subscribe(name, CREATED, 10)
    assert await is_bound(node, whole, CREATED_KEY, ENDED_KEY)()
    assert await broker.history.wanted_by(name) == {CREATED_KEY, ENDED_KEY}
    monkeypatch.setattr(bindings, "ABANDONED_S", 1.0)
    await eventually(is_bound(node, whole, CREATED_KEY))


def working(name: str) -> dict[str, Any]:
    return dict(WorkerQueues(name, CREATED).declarations[1].arguments)


class Clocks:
    """The two clocks of one process: the one that only goes on, and the one on the wall."""

    def __init__(self) -> None:
        self.monotonic_s = 0.0
        self.wall_s = 1_800_000_000.0

    def wishes(self) -> Wishes:
        return Wishes(lambda: self.monotonic_s, lambda: self.wall_s)


OTHER = "elsewhere:7:abc"


@pytest.mark.parametrize(
    ("age_s", "seconds"), [(3600.0, 120), (180.0, 120), (60.0, 240)], ids=["an hour", "three minutes", "a minute"]
)
def test_a_binding_that_nobody_renews_is_abandoned_sooner_if_its_note_is_old(age_s: float, seconds: int) -> None:
    clocks = Clocks()
    wishes = clocks.wishes()
    wish = OTHER, clocks.wall_s - age_s
    found = []
    for _ in range(6):
        found.append(wishes.is_abandoned("q", "key", wish))
        clocks.monotonic_s += RENEW_EVERY_S
    assert found.index(True) == seconds / RENEW_EVERY_S


@pytest.mark.parametrize("ahead_s", [7200.0, -7200.0], ids=["ahead", "behind"])
def test_a_binding_of_a_process_with_another_wall_clock_is_kept_from_the_start(ahead_s: float) -> None:
    clocks = Clocks()
    wishes = clocks.wishes()
    for _ in range(10):
        wish = OTHER, clocks.wall_s + ahead_s - RENEW_EVERY_S / 2
        assert not wishes.is_abandoned("q", "key", wish)
        clocks.monotonic_s += RENEW_EVERY_S
        clocks.wall_s += RENEW_EVERY_S


def test_a_binding_that_is_renewed_is_kept_whatever_the_wall_clocks_say() -> None:
    clocks = Clocks()
    wishes = clocks.wishes()
    assert not wishes.is_abandoned("q", "key", (OTHER, clocks.wall_s))
    for look in range(100):
        clocks.monotonic_s += 30
        clocks.wall_s += 3600
        assert not wishes.is_abandoned("q", "key", (OTHER, look))


def test_a_binding_that_is_no_longer_renewed_is_abandoned_after_five_minutes() -> None:
    clocks = Clocks()
    wishes = clocks.wishes()
    wish = OTHER, clocks.wall_s
    found = []
    for _ in range(7):
        found.append(wishes.is_abandoned("q", "key", wish))
        clocks.monotonic_s += ABANDONED_S / 5
    assert found == [False] * 5 + [True] * 2


def test_time_in_which_no_note_was_read_does_not_abandon_a_binding() -> None:
    clocks = Clocks()
    wishes = clocks.wishes()
    wish = OTHER, clocks.wall_s
    assert not wishes.is_abandoned("q", "key", wish)
    clocks.monotonic_s += 3600
    assert not wishes.is_abandoned("q", "key", wish)


def test_what_this_process_no_longer_wants_is_abandoned_at_once() -> None:
    wishes = Clocks().wishes()
    assert wishes.is_abandoned("q", "key", wishes.of_this_process())


@pytest.fixture
def policy(node: Node) -> Iterator[Callable[[str, dict[str, int]], str]]:
    """Put a policy on a queue until the end of the test."""
    yield lambda name, definition: node.control("set_policy", "test", f"^{name}$", json.dumps(definition))
    node.control("clear_policy", "test")


async def test_what_a_policy_takes_from_a_queue_becomes_a_dead_letter(
    broker: RabbitMQBroker, policy: Callable[[str, dict[str, int]], str]
) -> None:
    name = queue_name()
    await (await broker.subscribe(name, CREATED, 10)).close()
    await asyncio.to_thread(policy, topics.queue_name(name), {"message-ttl": 100})
    await broker.publisher.publish(envelope())

    async def is_dead() -> bool:
        return await broker.dead_letters.count(name) == 1

    await eventually(is_dead)
    (each,) = [each.message async for each in broker.dead_letters.scan(name, lambda _: Action.KEEP)]
    assert (each.reason, each.detail) == ("broker", "expired")


async def test_a_queue_of_dead_letters_that_a_policy_has_deleted_is_said_and_declared_again(
    broker: RabbitMQBroker, policy: Callable[[str, dict[str, int]], str], caplog: pytest.LogCaptureFixture
) -> None:
    name = queue_name()
    await broker.subscribe(name, CREATED, 10)
    await asyncio.to_thread(policy, topics.dead_name(name), {"expires": 300})

    async def is_said() -> bool:
        return f"{topics.dead_name(name)} was deleted from RabbitMQ, with the dead letters in it" in caplog.text

    await eventually(is_said)
