"""RabbitMQ's users as deploy/rabbitmq_users.py makes them: each role works with its rights, and can do nothing else."""

import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused

from deploy.rabbitmq_users import commands
from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.broker.rabbitmq.names import REGISTER
from hookline.broker.rabbitmq.topology.rights import ROLES
from hookline.schemas import topics
from hookline.schemas.broker import Done, Parked, Retention
from hookline.schemas.dead_letters import UNROUTED, Action
from hookline.schemas.envelope import Identity, moment, seal
from tests.services.rabbitmq import Node, own_node

PASSWORD = "a-password-of-this-test"
NO_HISTORY, HISTORY = (Retention(enabled=enabled, max_age_s=3600, max_bytes=2**30) for enabled in (False, True))
ENVELOPE = seal(
    Identity("room.created", ("1",), "lesson", 1_700_000_000),
    b"{}",
    provider="krtc",
    source="krtc-main",
    content_type="application/json",
    received_at=moment(1_700_000_001),
)
UNWANTED = seal(
    Identity("seats.changed", ("1",), "lesson", 1_700_000_000),
    b"{}",
    provider="krtc",
    source="krtc-main",
    content_type="application/json",
    received_at=moment(1_700_000_001),
)
PATTERN = "*.*.room.created.#"


@dataclass(frozen=True, slots=True)
class Users:
    """A virtual host with a user of each role, whose URLs these are."""

    ingress: str
    worker: str
    operator: str


@asynccontextmanager
async def opened(url: str, retention: Retention = HISTORY) -> AsyncIterator[RabbitMQBroker]:
    broker = await RabbitMQBroker.open(RabbitMQSettings(url, retention=retention))
    try:
        yield broker
    finally:
        await broker.close()


def run(node: Node, command: list[str]) -> None:
    """Run a command as an operator would, with the password on standard input."""
    program, *arguments = command
    assert program == "rabbitmqctl"
    if arguments[0] == "add_user":
        arguments.append(PASSWORD)
    node.control(*arguments)


@pytest.fixture(scope="module")
def users(request: pytest.FixtureRequest) -> Iterator[Users]:
    """One virtual host for all tests: each call of `rabbitmqctl` takes a second."""
    node = own_node(request.config)
    vhost = f"rights-{uuid.uuid4().hex[:8]}"
    prefix = f"{vhost}-"
    for command in commands(vhost, prefix):
        run(node, command)
    server = node.url.partition("@")[2].rstrip("/")
    ingress, worker, operator = (f"amqp://{prefix}{role}:{PASSWORD}@{server}/{vhost}" for role in ROLES)
    yield Users(ingress, worker, operator)
    node.control("delete_vhost", vhost)  # the users may stay: without it they have no rights


@asynccontextmanager
async def channel(url: str) -> AsyncIterator[AbstractChannel]:
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


@pytest.mark.parametrize("retention", [NO_HISTORY, HISTORY], ids=["without history", "with history"])
async def test_every_role_does_its_work(users: Users, retention: Retention) -> None:
    """One event is parked, replayed and handled; one that no queue wants is replayed, too."""
    async with opened(users.ingress, retention) as ingress, opened(users.worker, retention) as worker:
        queue = await worker.subscribe("counter", (PATTERN,), 10)
        await worker.declare_partitions("ordered", (PATTERN,))
        await ingress.publisher.publish(ENVELOPE)
        await ingress.publisher.publish(UNWANTED)
        await queue.settle(await queue.take(), Parked("poisoned", "of this test", 1))
        async with opened(users.operator, retention) as operator:
            assert await operator.dead_letters.counts() == {"counter": 1}
            assert await replayed(operator, "counter") == 1
            again = await queue.take()
            assert again.body == ENVELOPE.body
            await queue.settle(again, Done())
            assert await replayed(operator, UNROUTED) >= 1


async def test_an_operator_replays_history(users: Users) -> None:
    async with opened(users.ingress) as ingress, opened(users.worker) as worker, opened(users.operator) as operator:
        queue = await worker.subscribe("past", (PATTERN,), 10)
        await ingress.publisher.publish(UNWANTED)
        pages = operator.history.read(moment(0), datetime.now(UTC) + timedelta(hours=1))
        kept = [envelope.id async for page in pages for envelope in page]
        assert UNWANTED.id in kept
        await operator.history.feed("past", [UNWANTED], {})
        assert (await queue.take()).body == UNWANTED.body


async def replayed(operator: RabbitMQBroker, queue: str) -> int:
    return len([each async for each in operator.dead_letters.scan(queue, lambda _: Action.REPLAY)])


ALL_QUEUES = [
    topics.queue_name("counter"),
    topics.dead_name("counter"),
    topics.partition_name("ordered", "p00"),
    topics.UNROUTED,
    topics.HISTORY,
    REGISTER,
]


@asynccontextmanager
async def everything_declared(users: Users) -> AsyncIterator[None]:
    async with opened(users.ingress), opened(users.worker) as worker:
        await worker.subscribe("counter", (PATTERN,), 10)
        await worker.declare_partitions("ordered", (PATTERN,))
        yield


async def refuses_to_read(url: str, queue: str) -> bool:
    async with channel(url) as each:
        try:
            await each.basic_get(queue)
        except ChannelAccessRefused:
            return True
    return False


async def refuses_to_publish(url: str, exchange: str, routing_key: str) -> bool:
    async with channel(url) as each:
        try:
            await each.basic_publish(b"{}", exchange=exchange, routing_key=routing_key)
        except ChannelAccessRefused:
            return True
    return False


async def test_the_ingress_counts_what_waits_for_a_worker_that_does_not_run(users: Users) -> None:
    """Nobody else may be left to tell of it."""
    async with everything_declared(users):
        pass
    async with opened(users.ingress) as ingress:
        await ingress.publisher.publish(ENVELOPE)
        (state,) = await ingress.queue_states.states(set(await ingress.queue_states.names()) & {"counter"})
        assert state.waiting >= 1
        assert state.consumers == 0


@pytest.mark.parametrize("role", ["ingress", "worker"])
async def test_unrouted_events_are_dropped_by_the_ingress_or_a_worker(users: Users, role: str) -> None:
    async with opened(users.ingress) as ingress, opened(getattr(users, role)) as dropping:
        for _ in range(3):
            await ingress.publisher.publish(UNWANTED)
        assert await dropping.dead_letters.drop_unrouted(1) >= 2
        assert await ingress.queue_states.unrouted() == 1


async def test_the_ingress_reads_no_events(users: Users) -> None:
    async with everything_declared(users):
        for queue in ALL_QUEUES:
            # The exchange `hookline.unrouted` has to be read, to bind it. The register holds the names of queues.
            if queue not in {topics.UNROUTED, REGISTER}:
                assert await refuses_to_read(users.ingress, queue), queue


async def test_the_ingress_writes_to_no_workers_queue(users: Users) -> None:
    async with everything_declared(users):
        assert await refuses_to_publish(users.ingress, "", topics.queue_name("counter"))
        assert await refuses_to_publish(users.ingress, "amq.topic", "any")


async def test_the_ingress_declares_and_deletes_nothing_of_a_worker(users: Users) -> None:
    async with everything_declared(users):
        for queue in (topics.queue_name("counter"), topics.queue_name("new"), "theirs"):
            async with channel(users.ingress) as each:
                with pytest.raises(ChannelAccessRefused):
                    await each.queue_declare(queue, durable=True)
            async with channel(users.ingress) as each:
                with pytest.raises(ChannelAccessRefused):
                    await each.queue_delete(queue)
        async with channel(users.ingress) as each:
            with pytest.raises(ChannelAccessRefused):
                await each.queue_bind(topics.queue_name("counter"), topics.EXCHANGE, "#")


async def test_a_worker_publishes_no_event(users: Users) -> None:
    async with everything_declared(users):
        for routing_key in (ENVELOPE.routing_key, ""):
            assert await refuses_to_publish(users.worker, topics.EXCHANGE, routing_key)
            assert await refuses_to_publish(users.worker, topics.RECEIVED, routing_key)


async def test_a_worker_touches_nothing_of_other_programs(users: Users) -> None:
    async with channel(users.worker) as each:
        with pytest.raises(ChannelAccessRefused):
            await each.queue_declare("theirs")
    assert await refuses_to_read(users.worker, "theirs")
    assert await refuses_to_publish(users.worker, "amq.topic", "any")


async def test_an_operator_declares_binds_and_deletes_nothing(users: Users) -> None:
    async with everything_declared(users):
        for queue in (*ALL_QUEUES, topics.queue_name("new"), "hookline.lock", "theirs"):
            async with channel(users.operator) as each:
                with pytest.raises(ChannelAccessRefused):
                    await each.queue_delete(queue)
            async with channel(users.operator) as each:
                with pytest.raises(ChannelAccessRefused):
                    await each.queue_declare(queue, durable=True)
        async with channel(users.operator) as each:
            with pytest.raises(ChannelAccessRefused):
                await each.exchange_delete(topics.EXCHANGE)
        async with channel(users.operator) as each:
            with pytest.raises(ChannelAccessRefused):
                await each.queue_bind(topics.queue_name("counter"), topics.EXCHANGE, "#")


def test_the_event_exchange_is_there_before_a_topic_permission_names_it(request: pytest.FixtureRequest) -> None:
    """RabbitMQ 4.3 refuses the command otherwise, and the workers could publish events."""
    node, vhost = own_node(request.config), f'"rights" {uuid.uuid4().hex[:8]}é'
    for command in commands(vhost, f"{vhost}-"):
        if command[1] == "set_topic_permissions":
            assert topics.EXCHANGE in node.control("list_exchanges", "-p", vhost, "name").split()
        run(node, command)
    node.control("delete_vhost", vhost)


@pytest.mark.parametrize("vhost", ["hookline", '"own" \\ $HOME é'])
def test_the_expression_for_eval_has_nothing_that_a_second_shell_would_read(vhost: str) -> None:
    """Debian's `rabbitmqctl` puts each argument into double quotes, and escapes no more than those."""
    (expression,) = (command[2] for command in commands(vhost, "") if command[1] == "eval")
    assert not set(expression) & set("\\$`")


def test_the_script_prints_commands_for_a_shell() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "deploy.rabbitmq_users", "--vhost", "my host"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "rabbitmqctl add_vhost 'my host'" in printed
    assert "set_topic_permissions -p 'my host' hookline-worker hookline.events" in printed
    assert printed.count("set_permissions") == 3
