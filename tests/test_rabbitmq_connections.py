"""A connection that is lost always comes back: through other addresses, and after anything that a server does."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import aio_pika
import pytest
from aiormq.abc import AbstractConnection
from aiormq.exceptions import AMQPConnectionError
from pamqp import frame
from pamqp.commands import Connection as Method
from yarl import URL

from hookline.broker.rabbitmq import confirm_watch, connection
from hookline.broker.rabbitmq.addresses import Addresses
from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.broker.rabbitmq.wire import frame_transport
from hookline.schemas import topics
from hookline.schemas.errors import NotDurable, Unreachable
from tests.amqp_proxy import AmqpProxy
from tests.contract.installations import (
    RabbitMQInstallation,
    envelope,
    eventually,
    opened_rabbitmq,
    publishes,
    queue_name,
    taken,
)
from tests.services.rabbitmq import Node, own_node

RECOVERY_S = 60.0
"""How long anything may take on a busy machine."""


@pytest.fixture
async def node(request: pytest.FixtureRequest) -> Node:
    node = own_node(request.config)
    await RabbitMQInstallation(node.url).clear()
    return node


@pytest.fixture
async def proxy(node: Node) -> AsyncIterator[AmqpProxy]:
    async with AmqpProxy(node.port) as proxy:
        yield proxy


@pytest.fixture
def first_address_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "randrange", lambda _: 0)


@pytest.fixture
def full(node: Node) -> Iterator[Callable[[str], None]]:
    """Let a queue take one message, until the test ends."""
    yield lambda name: _limit(node, name)
    with suppress(AssertionError):  # the test has lifted it
        node.control("clear_policy", "full")


def _limit(node: Node, name: str) -> None:
    node.control("set_policy", "full", f"^{topics.queue_name(name)}$", '{"max-length":1}')


def settings(*urls: str) -> RabbitMQSettings:
    return RabbitMQSettings(urls, publish_timeout_s=1.0, heartbeat_s=10)


def tries(proxy: AmqpProxy, count: int) -> Callable[[], Any]:
    before = proxy.accepted

    async def enough() -> bool:
        return proxy.accepted >= before + count

    return enough


async def test_a_proxy_that_accepts_and_closes_at_once_does_not_end_the_reconnecting(
    proxy: AmqpProxy, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened_rabbitmq(settings(proxy.url)) as broker:
        proxy.mode = "shut"
        proxy.drop()
        await eventually(tries(proxy, 4), RECOVERY_S)
        assert not broker.publisher.ready
        assert broker.publisher.reason == "broker_away"
        proxy.mode = "pass"
        await eventually(publishes(broker), RECOVERY_S)
    assert f"RabbitMQ at 127.0.0.1:{proxy.port}: it closed the connection at once" in caplog.text


@pytest.mark.parametrize(
    "error",
    [StopAsyncIteration(), KeyError("capabilities"), RuntimeError("uvloop"), asyncio.CancelledError(), ValueError()],
    ids=lambda error: type(error).__name__,
)
async def test_no_error_ends_the_reconnecting_or_the_use_of_a_connection(
    error: BaseException, proxy: AmqpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes from where no code of ours expects one."""
    async with opened_rabbitmq(settings(proxy.url)) as broker:
        left = 4

        async def failing(*_: object) -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                monkeypatch.undo()
            raise error

        monkeypatch.setattr(connection.Connection, "_reconnect", failing)
        monkeypatch.setattr(broker.publisher, "_publish_on", failing)
        proxy.drop()
        await eventually(publishes(broker), RECOVERY_S)


@asynccontextmanager
async def server_without_capabilities() -> AsyncIterator[str]:
    """The address of a server that opens a connection, and names no capabilities."""
    answers = [
        Method.Start(server_properties={}, mechanisms="PLAIN"),
        Method.Tune(channel_max=10, frame_max=131_072, heartbeat=10),
        Method.OpenOk(),
    ]

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.read(4096)
            writer.write(frame.marshal(answer, 0))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield f"amqp://guest:guest@127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.usefixtures("first_address_first")
async def test_a_server_without_capabilities_is_passed_over(node: Node) -> None:
    async with server_without_capabilities() as other:
        with pytest.raises(Unreachable, match="the server has no publisher confirms"):
            await RabbitMQBroker.open(settings(other))
        async with opened_rabbitmq(settings(other, node.url)) as broker:
            assert await publishes(broker)()


@pytest.mark.usefixtures("first_address_first")
async def test_a_lost_node_is_left_for_the_next_address(proxy: AmqpProxy, node: Node) -> None:
    async with opened_rabbitmq(settings(proxy.url, node.url)) as broker:
        queue = await broker.subscribe(queue_name(), ("#",), 10)
        assert proxy.accepted == 2
        proxy.drop()
        await eventually(publishes(broker), RECOVERY_S)
        await taken(queue, within_s=RECOVERY_S)
        assert proxy.accepted == 2


@pytest.mark.usefixtures("first_address_first")
async def test_a_connection_that_confirms_nothing_is_left_for_the_next_address(
    proxy: AmqpProxy, node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(confirm_watch, "_SILENT_LOOKS", 2)
    async with opened_rabbitmq(settings(proxy.url, node.url)) as broker:
        proxy.mode = "swallow confirms"
        with pytest.raises(NotDurable, match="did not confirm in time"):
            await broker.publisher.publish(envelope())
        assert broker.publisher.reason == "broker_silent"
        await eventually(publishes(broker), RECOVERY_S)
        assert "it answers heartbeats and confirms nothing" in caplog.text


def test_connections_of_a_fleet_begin_at_all_addresses() -> None:
    urls = [f"amqp://user:password@node-{number}/" for number in range(3)]
    first = set()
    for _ in range(200):
        first.add(next(Addresses(settings(*urls).addresses).round()).place)
    assert len(first) == 3


def refuses(broker: RabbitMQBroker) -> Callable[[], Any]:
    """A condition for `eventually`: the publisher is not ready because a queue is full."""

    async def is_full() -> bool:
        await publishes(broker)()
        return not broker.publisher.ready and broker.publisher.reason == "queue_full"

    return is_full


async def test_after_a_limit_was_lifted_a_channel_that_was_refused_publishes_again(
    node: Node, full: Callable[[str], None]
) -> None:
    name = queue_name()
    async with opened_rabbitmq(settings(node.url)) as broker:
        await (await broker.subscribe(name, ("#",), 1)).close()
        await asyncio.to_thread(full, name)
        await eventually(refuses(broker), RECOVERY_S)
        await asyncio.to_thread(node.control, "clear_policy", "full")
        await eventually(publishes(broker), RECOVERY_S)

        async def ready() -> bool:
            await publishes(broker)()
            return broker.publisher.ready

        await eventually(ready, RECOVERY_S)


@pytest.fixture
def user(node: Node) -> Iterator[str]:
    name = queue_name()
    node.control("add_user", name, "first")
    node.control("set_permissions", name, ".*", ".*", ".*")
    yield name
    node.control("delete_user", name)


def with_login(node: Node, user: str, password: str, vhost: str = "") -> str:
    return str(URL(node.url).with_user(user).with_password(password).with_path(f"/{vhost}"))


async def test_any_password_works(node: Node, user: str) -> None:
    password = "p@/#%:?+ é%2F"
    await asyncio.to_thread(node.control, "change_password", user, password)
    async with opened_rabbitmq(settings(with_login(node, user, password))) as broker:
        assert await publishes(broker)()


async def test_new_credentials_are_used_when_the_connection_is_lost(node: Node, user: str) -> None:
    async with opened_rabbitmq(settings(with_login(node, user, "first"))) as broker:
        await asyncio.to_thread(node.control, "change_password", user, "second")
        broker.use_addresses(settings(with_login(node, user, "second")))
        assert await publishes(broker)()
        await asyncio.to_thread(node.control, "close_all_connections", "test")
        await eventually(publishes(broker), RECOVERY_S)


async def test_a_worker_that_is_let_in_no_more_says_why(node: Node, user: str) -> None:
    """Once, and not for each of its queues and partitions."""
    async with opened_rabbitmq(settings(with_login(node, user, "first"))) as broker:
        name = queue_name()
        await broker.subscribe(name, ("#",), 10)
        await broker.declare_partitions(name, ("#",))
        for partition in topics.PARTITION_WORDS[:3]:
            await broker.subscribe(name, ("#",), 10, partition=partition)
        assert broker.faults == []
        await asyncio.to_thread(node.control, "change_password", user, "second")
        await asyncio.to_thread(node.control, "close_all_connections", "test")

        async def says_why() -> bool:
            return broker.faults == [f"RabbitMQ at 127.0.0.1:{node.port}: it refused the user or password"]

        await eventually(says_why, RECOVERY_S)


async def test_an_error_has_the_reason_of_the_server(node: Node, user: str) -> None:
    await asyncio.to_thread(node.control, "add_vhost", "closed")
    place = f"RabbitMQ at 127.0.0.1:{node.port}: "
    try:
        for password, vhost, reason in (
            ("hunter2", "", "it refused the user or password"),
            ("first", "missing", "vhost missing not found"),
            ("first", "closed", f"access to vhost 'closed' refused for user '{user}'"),
        ):
            with pytest.raises(Unreachable) as caught:
                await RabbitMQBroker.open(settings(with_login(node, user, password, vhost)))
            assert str(caught.value) == place + reason
    finally:
        await asyncio.to_thread(node.control, "delete_vhost", "closed")


async def test_an_error_of_the_network_says_what_is_wrong(proxy: AmqpProxy) -> None:
    proxy.mode = "shut"
    for url, reason in (
        ("amqp://u:p@127.0.0.1:1/", "127.0.0.1:1: connection refused"),
        ("amqp://u:p@localhost:1/", "localhost:1: connection refused"),
        ("amqp://u:p@rabbit.invalid/", "rabbit.invalid:5672: the name cannot be resolved"),
        (proxy.url, f"127.0.0.1:{proxy.port}: it closed the connection at once"),
    ):
        with pytest.raises(Unreachable, match=f"RabbitMQ at {reason}"):
            await RabbitMQBroker.open(settings(url))


async def test_a_server_that_answers_nothing_is_given_up_in_time() -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        silent = RabbitMQSettings(f"amqp://u:p@127.0.0.1:{port}/", connect_timeout_s=0.2)
        with pytest.raises(Unreachable, match=f"RabbitMQ at 127.0.0.1:{port}: no answer in time"):
            await RabbitMQBroker.open(silent)


async def test_with_several_addresses_an_error_names_each() -> None:
    with pytest.raises(Unreachable) as caught:
        await RabbitMQBroker.open(settings("amqp://u:hunter2@127.0.0.1:1/", "amqp://u:hunter2@127.0.0.1:2/"))
    assert str(caught.value) == "; ".join(f"RabbitMQ at 127.0.0.1:{port}: connection refused" for port in (1, 2))


async def test_a_process_that_reached_the_server_wakes_the_connections_of_another(
    proxy: AmqpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    back: list[str] = []
    broker = await RabbitMQBroker.open(settings(proxy.url), lambda: back.append("back"))
    try:
        monkeypatch.setattr(connection, "RECONNECT", SimpleNamespace(delay_s=lambda _: 3600.0))
        proxy.drop()

        async def away() -> bool:
            return broker.publisher.reason == "broker_away"

        await eventually(away, RECOVERY_S)
        await asyncio.sleep(0.1)  # both wait for their next try
        broker.connect_soon()
        await eventually(publishes(broker), RECOVERY_S)
        assert "back" in back
    finally:
        await broker.close()


async def test_leaving_a_connection_that_is_lost_already_changes_nothing(proxy: AmqpProxy) -> None:
    async with opened_rabbitmq(settings(proxy.url)) as broker:
        kept = broker._publish_connection  # noqa: SLF001
        old: AbstractConnection = kept.require()
        proxy.drop()
        await eventually(publishes(broker), RECOVERY_S)
        accepted = proxy.accepted
        kept.leave(old, "too late")
        await asyncio.sleep(0.2)
        assert await publishes(broker)()
        assert proxy.accepted == accepted


async def test_a_connection_that_was_never_open_has_nothing_to_close_when_it_is_collected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[aio_pika.Connection] = []

    def make(url: URL, *_: object) -> aio_pika.Connection:
        made.append(aio_pika.Connection(url))
        return made[-1]

    monkeypatch.setattr(frame_transport, "_connection", make)
    with pytest.raises(AMQPConnectionError):
        await frame_transport.connect(URL("amqp://127.0.0.1:1/"), {})
    assert [each.is_closed for each in made] == [True]
