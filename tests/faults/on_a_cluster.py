"""Scenes with a cluster of three RabbitMQ nodes, each of which the ingress and the worker know."""

import asyncio
from contextlib import suppress

from hookline.schemas import topics
from tests.faults import effects
from tests.faults.lines import packets
from tests.faults.rig import Rig
from tests.faults.scene import scene

LASTS_S = 6.0


@scene(2, title="the node that leads the queue is killed", servers="cluster")
async def leader_killed(rig: Rig) -> None:
    leader = await rig.world.cluster.leader_of(topics.queue_name(effects.QUEUE))
    await asyncio.to_thread(leader.kill)
    await asyncio.sleep(LASTS_S)
    await asyncio.to_thread(leader.start)


@scene(3, title="all three nodes are killed", servers="cluster")
async def all_killed(rig: Rig) -> None:
    for node in rig.world.cluster.nodes:
        await asyncio.to_thread(node.kill)
    await asyncio.sleep(LASTS_S)
    await rig.world.cluster.mend()


@scene(16, title="the ingress's node is cut off from the other two", servers="cluster", needs=["root"])
async def minority(rig: Rig) -> None:
    async with packets(*rig.world.cluster.partition(rig.world.cluster.nodes[1])):
        await asyncio.sleep(LASTS_S * 2)


@scene(17, title="a partition comes and goes", servers="cluster", needs=["root"])
async def flapping(rig: Rig) -> None:
    for _ in range(4):
        async with packets(*rig.world.cluster.partition(rig.world.cluster.nodes[2])):
            await asyncio.sleep(2)
        await asyncio.sleep(2)


@scene(18, title="two of three nodes are frozen", servers="cluster")
async def no_quorum(rig: Rig) -> None:
    frozen = rig.world.cluster.nodes[1:]
    for node in frozen:
        await asyncio.to_thread(node.freeze)
    try:
        await asyncio.sleep(LASTS_S)
    finally:
        for node in frozen:
            node.thaw()


@scene(19, title="each node is restarted in turn", servers="cluster")
async def rolling(rig: Rig) -> None:
    for node in rig.world.cluster.nodes:
        with suppress(AssertionError):
            await asyncio.to_thread(node.control, "drain")
        await asyncio.to_thread(node.control, "stop_app")
        await asyncio.to_thread(node.control, "start_app")
        await asyncio.to_thread(node.control, "await_online_nodes", "3")
