"""What RabbitMQ's management API shows and AMQP does not, on a real server that has it switched on."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hookline.broker.rabbitmq import guard
from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.broker.rabbitmq.management import Management
from hookline.broker.rabbitmq.visit import visiting
from hookline.doctor.broker import check_rabbitmq
from hookline.schemas import topics
from hookline.schemas.errors import Unreachable
from hookline.schemas.observer import Observer
from hookline.settings import load
from tests.contract.installations import envelope, eventually, queue_name, raw_channel, taken
from tests.services import rabbitmq
from tests.services.rabbitmq import Node
from tests.services.servers import free_ports

PATTERNS = ("*.*.room.created",)
KEY = topics.binding(PATTERNS[0])


class Restored(Observer):
    def __init__(self) -> None:
        self.bindings: list[tuple[str, int]] = []

    def bindings_restored(self, queue: str, count: int) -> None:
        self.bindings.append((queue, count))


@dataclass(frozen=True)
class Managed:
    node: Node
    settings: RabbitMQSettings


@pytest.fixture(scope="module")
def managed() -> Iterator[Managed]:
    (port,) = free_ports(1)
    lines = (f"management.tcp.port = {port}", "management.tcp.ip = 127.0.0.1", "collect_statistics_interval = 1000")
    node = Node(rabbitmq.programs(), configuration="\n".join(lines) + "\n", plugins=["rabbitmq_management"])
    try:
        node.start()
        yield Managed(node, RabbitMQSettings(node.url, management_url=f"http://127.0.0.1:{port}"))
    finally:
        node.close()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "LOOK_EVERY_S", 0.2)


async def unbind(managed: Managed, queue: str, key: str) -> None:
    """As another tool does."""
    async with raw_channel(managed.node.url) as channel:
        await channel.queue_unbind(topics.queue_name(queue), topics.EXCHANGE, key)


@pytest.mark.parametrize("is_ordered", [False, True])
async def test_a_binding_that_another_tool_removes_is_made_again_said_and_counted(
    managed: Managed, caplog: pytest.LogCaptureFixture, *, is_ordered: bool
) -> None:
    caplog.set_level(logging.ERROR, "hookline.broker")
    queue, restored = queue_name(), Restored()
    broker = await RabbitMQBroker.open(replace(managed.settings, observer=restored))
    try:
        if is_ordered:
            await broker.declare_partitions(queue, PATTERNS)
            bound, key = (
                topics.partition_name(queue, "p07").removeprefix("hookline."),
                topics.binding(PATTERNS[0], "p07"),
            )
        else:
            await broker.subscribe(queue, PATTERNS, 1)
            bound, key = queue, KEY
        await unbind(managed, bound, key)
        await eventually(lambda: _is(restored.bindings == [(queue, 1)]))
        found = await Management(managed.settings).bindings()
    finally:
        await broker.close()
    assert (topics.queue_name(bound), key) in found
    (record,) = caplog.records
    assert f"{topics.queue_name(queue)}: another tool has removed bindings" in record.message
    assert key in record.message


async def test_a_binding_that_is_removed_while_the_guard_looks_is_said_and_counted(
    managed: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, restored, list_bindings = queue_name(), Restored(), Management.bindings
    removed: list[str] = []

    async def then_remove_one(management: Management) -> frozenset[tuple[str, str]]:
        found = await list_bindings(management)
        if not removed and (topics.queue_name(queue), KEY) in found:
            await unbind(managed, queue, KEY)
            removed.append(KEY)
        return found

    monkeypatch.setattr(Management, "bindings", then_remove_one)
    broker = await RabbitMQBroker.open(replace(managed.settings, observer=restored))
    try:
        await broker.subscribe(queue, PATTERNS, 1)
        await eventually(lambda: _is(restored.bindings == [(queue, 1)]))
    finally:
        await broker.close()


async def _is_bound(managed: Managed, queue: str) -> bool:
    return (topics.queue_name(queue), KEY) in await Management(managed.settings).bindings()


async def _is(value: bool) -> bool:  # noqa: FBT001  a value
    return value


async def test_what_a_process_has_and_has_not_settled_is_in_flight(managed: Managed) -> None:
    queue = queue_name()
    broker = await RabbitMQBroker.open(managed.settings)
    try:
        consumer = await broker.subscribe(queue, PATTERNS, 10)
        for _ in range(3):
            await broker.publisher.publish(envelope())
        await taken(consumer)
        await eventually(lambda: _has_in_flight(broker, queue, 3))
        assert consumer.unsettled == 3
    finally:
        await broker.close()


async def _has_in_flight(broker: RabbitMQBroker, queue: str, count: int) -> bool:
    (state,) = await broker.queue_states.states([queue])
    return state.in_flight == count


async def test_a_policy_that_deletes_is_a_fault_with_its_remedy(managed: Managed, tmp_path: Path) -> None:
    queue = queue_name()
    broker = await RabbitMQBroker.open(managed.settings)
    await broker.subscribe(queue, PATTERNS, 1)
    await broker.close()
    assert "no policy deletes events" in "\n".join(await said(managed, tmp_path))
    managed.node.control("set_policy", "lim", f"^{topics.dead_name(queue)}$", '{"max-length":3,"expires":3600000}')
    try:
        await eventually(lambda: _has_policy(managed, topics.dead_name(queue)))
        (line,) = [line for line in await said(managed, tmp_path) if "policy" in line]
    finally:
        managed.node.control("clear_policy", "lim")
    assert line == (
        f"fault {topics.dead_name(queue)} has the policy lim, by which RabbitMQ deletes or refuses events (expires, "
        "max-length): rabbitmqctl clear_policy lim"
    )


async def _has_policy(managed: Managed, name: str) -> bool:
    return bool((await Management(managed.settings).queues())[name].deleting)


async def said(managed: Managed, folder: Path) -> Sequence[str]:
    config = folder / "hookline.toml"
    config.write_text(f'[broker]\nurl = "{managed.node.url}"\nmanagement_url = "{managed.settings.management_url}"\n')
    return [f"{each.level} {each.text}" for each in await check_rabbitmq(load(config, with_sources=False), ())]


async def test_a_binding_that_is_missing_is_a_difference(managed: Managed) -> None:
    queue = queue_name()
    broker = await RabbitMQBroker.open(managed.settings)
    await broker.subscribe(queue, PATTERNS, 1)
    await broker.close()
    await unbind(managed, queue, KEY)

    class Wanting:
        order = None
        patterns = PATTERNS

        def __init__(self) -> None:
            self.queue = queue

    async with visiting(managed.settings) as visit:
        texts = [each.text for each in await visit.differences([Wanting()])]
    assert texts == [f"{topics.queue_name(queue)} is not bound to {KEY}; its worker binds it when it starts"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://guest:wrong@{place}", "it refuses the user or password"),
        ("http://127.0.0.1:1", "Cannot connect"),
        ("http://{place}/some/prefix", "not as RabbitMQ's management does"),
    ],
)
async def test_an_api_that_cannot_be_used_says_why_and_never_its_password(
    managed: Managed, url: str, reason: str
) -> None:
    place = managed.settings.management_url.removeprefix("http://")
    settings = replace(managed.settings, management_url=url.format(place=place))
    with pytest.raises(Unreachable, match=r"broker\.management_url: http://") as raised:
        await Management(settings).bindings()
    assert reason in str(raised.value)
    assert "wrong" not in str(raised.value)


async def test_a_worker_goes_on_without_the_api(managed: Managed, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "hookline.broker")
    queue, settings = queue_name(), replace(managed.settings, management_url="http://127.0.0.1:1")
    broker = await RabbitMQBroker.open(settings)
    try:
        consumer = await broker.subscribe(queue, PATTERNS, 1)
        await eventually(lambda: _is(bool(caplog.records)))
        await unbind(managed, queue, KEY)
        await eventually(lambda: _is_bound(managed, queue))
        await broker.publisher.publish(envelope())
        assert await taken(consumer)
        (state,) = await broker.queue_states.states([queue])
        assert state.in_flight is None
    finally:
        await broker.close()
    assert "nobody can tell whether bindings were removed: broker.management_url" in caplog.records[0].message
