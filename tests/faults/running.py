"""Runs one scene: traffic before, during and after its fault, then the time until everything is handled."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.machine import Machine
from tests.faults.judging import Result, Times, result_of
from tests.faults.rig import Rig
from tests.faults.scene import Scene
from tests.faults.world import World

_BEFORE_S = 2.0
_AFTER_S = 3.0
_PATIENCE_S = 60.0
_LOOK_S = 0.5
_STILL_S = 6.0


async def run(scene: Scene, world: World, folder: Path, module: Sequence[str] = ("hookline",)) -> Result:
    """What a scene showed. Its processes have ended."""
    await world.provide(scene.servers)
    machine = Machine()
    watching = asyncio.create_task(machine.watch())
    try:
        async with Rig(scene, world, folder, module) as rig:
            times = await _play(rig)
            return await result_of(rig, times, machine.slowdown)
    finally:
        watching.cancel()


async def _play(rig: Rig) -> Times:
    async with rig.user():
        await asyncio.sleep(_BEFORE_S)
        began_s = time.monotonic()
        await rig.scene.provoke(rig)
        ended_s = time.monotonic()
        await asyncio.sleep(_AFTER_S)
    until_s = time.monotonic() + _PATIENCE_S
    least, look_s = -1, time.monotonic() + _STILL_S
    while (missing := await rig.missing()) and time.monotonic() < until_s:
        if len(missing) != least:
            least, look_s = len(missing), time.monotonic() + _STILL_S
        elif time.monotonic() > look_s and missing <= await rig.kept(waiting=False):
            break
        await asyncio.sleep(_LOOK_S)
    await asyncio.sleep(_LOOK_S)  # a second call of a handler may still come
    return Times(began_s, ended_s)
