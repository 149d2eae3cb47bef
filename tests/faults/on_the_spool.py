"""Scenes in which the ingress's own disk or process fails while RabbitMQ is away."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.end_to_end.processes import WITHIN_S
from tests.faults.lines import run
from tests.faults.rig import Rig
from tests.faults.scene import scene

LASTS_S = 4.0
_SMALL = "8m"


@asynccontextmanager
async def away(rig: Rig) -> AsyncIterator[None]:
    """RabbitMQ refuses connections of the ingress."""
    cut = asyncio.create_task(rig.line.cut("reset", 3600))
    await asyncio.sleep(2)
    try:
        yield
    finally:
        cut.cancel()
        with suppress(asyncio.CancelledError):
            await cut


def inject(calls: str, fault: str) -> list[str]:
    """Run a program with a fault injected into system calls. It keeps its process id: strace is the child."""
    return ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]


@scene(52, title="the ingress is killed between accepting and confirming", refuses=True)
async def ingress_killed(rig: Rig) -> None:
    for _ in range(3):
        await asyncio.to_thread(rig.ingress.kill)
        await rig.start_ingress()
        await asyncio.sleep(1)
    async with away(rig):
        for _ in range(2):
            await asyncio.to_thread(rig.ingress.kill)
            await rig.start_ingress()
            await asyncio.sleep(2)


@scene(53, title="the ingress is killed while it removes drained files", refuses=True, needs=["strace"])
async def killed_while_removing(rig: Rig) -> None:
    async with away(rig):
        await asyncio.to_thread(rig.ingress.kill)
        await rig.start_ingress(under=inject("unlink,unlinkat", "signal=KILL:when=2"))
        await asyncio.sleep(LASTS_S)
    await asyncio.to_thread(rig.ingress.popen.wait, WITHIN_S)
    await rig.start_ingress()


async def _on_small_disk(rig: Rig, how: str = "rw") -> None:
    """Restart the ingress with a spool on a small disk."""
    await asyncio.to_thread(rig.ingress.stop)
    rig.spool.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={_SMALL},mode=700,{how}", "tmpfs", str(rig.spool))
    await rig.start_ingress()


@scene(54, title="the spool's disk is full while RabbitMQ is away", refuses=True, needs=["root"])
async def spool_full(rig: Rig) -> None:
    await _on_small_disk(rig)
    async with away(rig):
        await asyncio.sleep(LASTS_S)
        filler = rig.spool / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        await asyncio.sleep(LASTS_S)
        filler.unlink()
        await asyncio.sleep(2)


@scene(55, title="fsync fails while RabbitMQ is away", refuses=True, needs=["strace"])
async def sync_fails(rig: Rig) -> None:
    async with away(rig):
        await asyncio.to_thread(rig.ingress.kill)
        await rig.start_ingress(under=inject("fsync,fdatasync", "error=EIO:when=6+3"))
        await asyncio.sleep(LASTS_S)
    await asyncio.to_thread(rig.ingress.stop)
    await rig.start_ingress()


@scene(56, title="spooled records are damaged on disk", refuses=True, damages=2)
async def damaged(rig: Rig) -> None:
    async with away(rig):
        await asyncio.sleep(LASTS_S)
        await asyncio.to_thread(rig.ingress.kill)
        for path in rig.spool.rglob("*.segment"):
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 0x10
            path.write_bytes(data[:-3])
        await rig.start_ingress()
        await asyncio.sleep(2)


@scene(57, title="the spool's disk is read-only at the start, and RabbitMQ goes away", refuses=True, needs=["root"])
async def read_only(rig: Rig) -> None:
    await _on_small_disk(rig, "ro")
    async with away(rig):
        await asyncio.sleep(LASTS_S)
        await asyncio.to_thread(run, "mount", "-o", "remount,rw", str(rig.spool))
        await asyncio.sleep(LASTS_S)


@scene(58, title="each fsync takes 0.3 s while RabbitMQ is away", refuses=True, needs=["strace"])
async def slow_disk(rig: Rig) -> None:
    async with away(rig):
        await asyncio.to_thread(rig.ingress.kill)
        await rig.start_ingress(under=inject("fsync,fdatasync", "delay_enter=300000"))
        await asyncio.sleep(LASTS_S)
    await asyncio.to_thread(rig.ingress.stop)
    await rig.start_ingress()


@scene(58, 55, title="each fsync takes 2 s while RabbitMQ is away", refuses=True, needs=["strace"])
async def hanging_disk(rig: Rig) -> None:
    async with away(rig):
        await asyncio.to_thread(rig.ingress.kill)
        await rig.start_ingress(under=inject("fsync,fdatasync", "delay_enter=2000000"))
        await asyncio.sleep(LASTS_S)
    await asyncio.to_thread(rig.ingress.kill)
    await rig.start_ingress()


@scene(60, title="two processes share a port and a spool, and one is killed", refuses=True,
       settings={"ingress": "processes = 2"})  # fmt: skip
async def two_processes(rig: Rig) -> None:
    async with away(rig):
        await asyncio.sleep(LASTS_S)
        pid = await asyncio.to_thread(_a_child, rig.ingress.popen.pid)
        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(LASTS_S)


def _a_child(pid: int) -> int:
    """A serving process of a supervisor."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    serving = [int(child) for child in children if b"spawn" in Path(f"/proc/{child}/cmdline").read_bytes()
               or b"hookline" in Path(f"/proc/{child}/cmdline").read_bytes()]  # fmt: skip
    return serving[-1]
