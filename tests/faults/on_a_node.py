"""Scenes with a single RabbitMQ node: its death, alarms, rights and topology."""

import asyncio
from contextlib import suppress

import aiormq

from hookline.schemas import topics
from tests.contract.installations import raw_channel
from tests.faults import effects, lines
from tests.faults.lines import Line
from tests.faults.rig import Rig
from tests.faults.scene import scene
from tests.services.rabbitmq import Node, programs

LASTS_S = 5.0
_ALARM_S = 8.0
_DRAINED_S = 30.0
_STILL_S = 3.0
_USER = "visitor"


@scene(1, title="RabbitMQ is killed and started again")
async def killed(rig: Rig) -> None:
    await asyncio.to_thread(rig.node.kill)
    await asyncio.sleep(LASTS_S)
    await asyncio.to_thread(rig.node.start)


@scene(4, title="RabbitMQ's application is stopped and started")
async def restarted(rig: Rig) -> None:
    await rig.control("stop_app")
    await asyncio.sleep(LASTS_S)
    await rig.control("start_app")


@scene(12, title="RabbitMQ is frozen for 10 s")
async def frozen(rig: Rig) -> None:
    await asyncio.to_thread(rig.node.freeze)
    await asyncio.sleep(10)
    rig.node.thaw()


@scene(13, title="RabbitMQ has a memory alarm")
async def memory_alarm(rig: Rig) -> None:
    await rig.control("set_vm_memory_high_watermark", "0.000001")
    await asyncio.sleep(_ALARM_S)
    await rig.control("set_vm_memory_high_watermark", "0.4")


@scene(14, title="RabbitMQ has a disk alarm")
async def disk_alarm(rig: Rig) -> None:
    await rig.control("set_disk_free_limit", "100000000000000")
    await asyncio.sleep(14)
    await rig.control("set_disk_free_limit", "50000000")


@scene(15, title="RabbitMQ's disk is full", needs=["root"])
async def disk_full(rig: Rig) -> None:
    """A node of its own, on a small disk, takes the place of the other."""
    node = Node(programs(), configuration="disk_free_limit.absolute = 1MB\n")
    data = node.home / "data"
    data.mkdir()
    lines.run("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(data))
    try:
        await asyncio.to_thread(node.start)
        await _move(node, rig.line, rig.worker_line)
        await asyncio.sleep(LASTS_S)
        filler = data / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65_536))
        await asyncio.sleep(LASTS_S)
        filler.unlink()
        if not await _lives(node):
            await asyncio.to_thread(node.kill)
            await asyncio.to_thread(node.start)
        await _move(rig.node, rig.line)  # before the worker: what comes now would stay on a node that ends
        await _drained(rig, node)
    finally:
        await _move(rig.node, rig.line, rig.worker_line)
        await asyncio.to_thread(node.close)
        lines.run("umount", "--lazy", str(data))  # a helper of the node may still end


async def _move(node: Node, *to_node: Line) -> None:
    for line in to_node:
        line.target_port = node.port
        line.drop()
    await asyncio.sleep(1)


async def _drained(rig: Rig, node: Node) -> None:
    """Wait until nothing is ready for the worker on a node that gets nothing more, and nothing is handled any more."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAINED_S):
            before, now = -1, len(await rig.effects())
            while before != now or await _has_ready(node):
                await asyncio.sleep(_STILL_S)
                before, now = now, len(await rig.effects())


async def _has_ready(node: Node) -> bool:
    """Also true while the queue does not answer."""
    try:
        async with asyncio.timeout(_STILL_S), raw_channel(node.url) as channel:
            declared = await channel.queue_declare(topics.queue_name(effects.QUEUE), passive=True)
    except (OSError, TimeoutError, aiormq.exceptions.AMQPError):
        return True
    return bool(declared.message_count)


async def _lives(node: Node) -> bool:
    try:
        async with asyncio.timeout(5), raw_channel(node.url):
            return True
    except (OSError, TimeoutError, aiormq.exceptions.AMQPError):
        return False


def _as_visitor(rig: Rig) -> str:
    return f"amqp://{_USER}:first@127.0.0.1:{rig.line.port}/"


@scene(20, title="the password is changed, and read anew", url=_as_visitor, settings={})
async def password_changed(rig: Rig) -> None:
    await _add_visitor(rig)
    await asyncio.sleep(6)  # the ingress connects now
    await rig.control("change_password", _USER, "second")
    rig.line.drop()
    await asyncio.sleep(LASTS_S)
    rig.change(f"{_USER}:first@", f"{_USER}:second@")
    rig.ingress.popen.send_signal(1)
    await asyncio.sleep(1)


async def _add_visitor(rig: Rig) -> None:
    with suppress(AssertionError):
        await rig.control("delete_user", _USER)
    await rig.control("add_user", _USER, "first")
    await rig.control("set_permissions", _USER, ".*", ".*", ".*")


@scene(21, title="the user's permissions are removed while it runs", url=_as_visitor)
async def permissions_removed(rig: Rig) -> None:
    await _add_visitor(rig)
    await asyncio.sleep(6)
    await rig.control("clear_permissions", _USER)
    await asyncio.sleep(LASTS_S)
    rig.line.drop()
    await asyncio.sleep(LASTS_S)
    await rig.control("set_permissions", _USER, ".*", ".*", ".*")


@scene(22, title="the user may open no connection", url=_as_visitor)
async def connection_limit(rig: Rig) -> None:
    await _add_visitor(rig)
    await asyncio.sleep(6)
    await rig.control("set_user_limits", _USER, '{"max-connections": 0}')
    rig.line.drop()
    await asyncio.sleep(LASTS_S)
    await rig.control("clear_user_limits", _USER, "all")


@scene(26, title="the exchange is deleted", keeps=True)
async def exchange_deleted(rig: Rig) -> None:
    async with raw_channel(rig.node.url) as channel:
        await channel.exchange_delete(topics.EXCHANGE)
    await asyncio.sleep(LASTS_S)


@scene(27, title="the worker's queue is deleted", keeps=True)
async def queue_deleted(rig: Rig) -> None:
    """What is in a queue goes with it, so it is deleted empty: the ingress is cut off meanwhile."""
    cut = asyncio.create_task(rig.line.cut("reset", 4))
    await asyncio.sleep(2)
    async with raw_channel(rig.node.url) as channel:
        await channel.queue_delete(topics.queue_name(effects.QUEUE))
    await cut
    await asyncio.sleep(LASTS_S)


@scene(28, title="the worker's binding is removed", keeps=True)
async def binding_removed(rig: Rig) -> None:
    await _unbind(rig, effects.QUEUE)
    await asyncio.sleep(LASTS_S)


async def _unbind(rig: Rig, queue: str) -> None:
    listed = await rig.control("list_bindings", "source_name", "destination_name", "routing_key")
    async with raw_channel(rig.node.url) as channel:
        for line in listed.splitlines():
            source, destination, key = (*line.split("\t"), "", "")[:3]
            if source == topics.EXCHANGE and destination == topics.queue_name(queue):
                await channel.queue_unbind(destination, source, key)


@scene(29, title="no queue is bound, not even that of unrouted events", keeps=True)
async def no_route(rig: Rig) -> None:
    async with raw_channel(rig.node.url) as channel:
        await channel.queue_unbind(topics.UNROUTED, topics.UNROUTED, "")
    await _unbind(rig, effects.QUEUE)
    await asyncio.sleep(LASTS_S)


@scene(32, title="the worker's queue is full and refuses")
async def queue_full(rig: Rig) -> None:
    queue = topics.queue_name(effects.QUEUE)
    await asyncio.to_thread(rig.worker.stop)
    limit = '{"max-length": 10, "overflow": "reject-publish"}'
    await rig.control("set_policy", "full", f"^{queue}$", limit, "--apply-to", "queues")
    await asyncio.sleep(LASTS_S)
    await rig.control("clear_policy", "full")
    await rig.start_worker()


@scene(72, title="a reset, an alarm and a freeze, one after the other")
async def combined(rig: Rig) -> None:
    cut = asyncio.create_task(rig.line.cut("reset", 2))
    await rig.control("set_vm_memory_high_watermark", "0.000001")
    await cut
    await asyncio.sleep(1)
    await asyncio.to_thread(rig.node.freeze)
    await asyncio.sleep(3)
    rig.node.thaw()
    await rig.control("set_vm_memory_high_watermark", "0.4")
