"""Scenes in which a process of ours is stopped, starved, flooded or told to change."""

import asyncio
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiohttp
import msgspec

from hookline.cli.sample_callbacks import Callback, send_callback
from hookline.schemas import topics
from tests.contract.installations import raw_channel
from tests.end_to_end.processes import END_S, WITHIN_S
from tests.faults import effects
from tests.faults.on_the_spool import away
from tests.faults.rig import RATE, Rig
from tests.faults.scene import scene

_CGROUPS = Path("/sys/fs/cgroup")
_BODY_BYTES = 250_000


@asynccontextmanager
async def killed_by_itself(rig: Rig) -> AsyncIterator[None]:
    """Wait for the worker's end after the block, and start another."""
    yield
    await asyncio.to_thread(rig.worker.popen.wait, WITHIN_S)
    await rig.start_worker()


@scene(36, 37, title="the worker is killed again and again", servers="postgresql")
async def worker_killed(rig: Rig) -> None:
    for _ in range(3):
        await asyncio.to_thread(rig.worker.kill)
        await rig.start_worker()
        await asyncio.sleep(1)


@scene(36, title="the worker dies between its effect and its commit", servers="postgresql")
async def dies_after_effect(rig: Rig) -> None:
    async with killed_by_itself(rig):
        rig.flag("die-after")


@scene(37, title="the worker dies before its effect")
async def dies_before_effect(rig: Rig) -> None:
    async with killed_by_itself(rig):
        rig.flag("die-before")


@scene(38, title="a worker is frozen beyond its heartbeats, and another takes over", servers="postgresql")
async def worker_frozen(rig: Rig) -> None:
    await rig.start_worker()
    rig.workers[0].popen.send_signal(signal.SIGSTOP)
    await asyncio.sleep(35)
    rig.workers[0].popen.send_signal(signal.SIGCONT)


@scene(39, title="a handler blocks the event loop for 6 s")
async def loop_blocked(rig: Rig) -> None:
    rig.flag("block")
    await asyncio.sleep(7)


@scene(40, title="the worker runs out of memory", repeats=True, needs=["cgroups"])
async def out_of_memory(rig: Rig) -> None:
    with _cgroup("memory", "memory.limit_in_bytes", str(400 * 2**20), rig.worker.popen.pid):
        async with killed_by_itself(rig):
            rig.flag("allocate")


@scene(41, title="a tenth of the first attempts fails")
async def handler_fails(rig: Rig) -> None:
    flag = rig.flag("fail-some")
    await asyncio.sleep(5)
    flag.unlink()


@scene(45, title="the dead-letter queue is deleted, and an event is poisoned", keeps=True)
async def no_dead_letters(rig: Rig) -> None:
    async with raw_channel(rig.node.url) as channel:
        await channel.queue_delete(topics.dead_name(effects.QUEUE))
    rig.flag("poison")
    await asyncio.sleep(5)


@scene(42, title="the handler's database is killed for 6 s", servers="postgresql")
async def database_killed(rig: Rig) -> None:
    await asyncio.to_thread(rig.world.store.kill)
    await asyncio.sleep(6)
    await asyncio.to_thread(rig.world.store.start)


@scene(70, title="the store of completed events is frozen for 6 s", servers="postgresql")
async def store_frozen(rig: Rig) -> None:
    await asyncio.to_thread(rig.world.store.freeze)
    await asyncio.sleep(6)
    rig.world.store.thaw()


@scene(46, title="one event arrives 500 times from many clients")
async def duplicates(rig: Rig) -> None:
    body = {"eventType": 21, "fromAccount": "teacher", "fromDeviceId": "device-same", "channelName": "room-1",
            "selfConfig": "777777", "timestamp": str(int(time.time() * 1000))}  # fmt: skip
    callback = Callback("room-1", msgspec.json.encode(body), time.time())
    url = rig.project.url(rig.source.name)
    async with aiohttp.ClientSession() as session:
        for _ in range(10):
            answers = [send_callback(session, url, rig.source, callback) for _ in range(50)]
            assert {answer.status for answer in await asyncio.gather(*answers)} == {200}


@scene(50, title="a storm of ten times the rate after an outage", refuses=True)
async def retry_storm(rig: Rig) -> None:
    async with away(rig):
        await asyncio.sleep(2)
    async with rig.user(RATE * 10):
        await asyncio.sleep(5)


@scene(63, title="SIGTERM under load, twice", refuses=True)
async def stopped(rig: Rig) -> None:
    rig.ingress.popen.send_signal(signal.SIGTERM)
    await asyncio.sleep(1.2)
    rig.ingress.popen.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(rig.ingress.popen.wait, END_S)
    assert code == 0, f"the exit code is {code}"
    await rig.start_ingress()


@scene(64, title="a secret is added, and then the settings are broken, while callbacks come")
async def reloaded(rig: Rig) -> None:
    text = rig.project.config.read_text()
    secret = rig.project.config.read_text().split('provider = "netease"')[1].split('secrets = ["')[1].split('"')[0]
    rig.change(f'"{secret}"', f'"another-secret-that-is-new", "{secret}"')
    rig.ingress.popen.send_signal(signal.SIGHUP)
    await asyncio.sleep(2)
    rig.project.config.write_text("[ingress\n")
    rig.ingress.popen.send_signal(signal.SIGHUP)
    await asyncio.sleep(2)
    rig.project.config.write_text(text)


@scene(66, title="few files may be open, and clients hold connections", refuses=True, slow=True)
async def few_files(rig: Rig) -> None:
    await asyncio.to_thread(rig.ingress.stop)
    await rig.start_ingress(under=["prlimit", "--nofile=64:64", "--"])
    with ExitStack() as held:
        for _ in range(100):
            with suppress(OSError):
                address = ("127.0.0.1", rig.project.settings.ingress.port)
                held.enter_context(socket.create_connection(address, timeout=1))
        async with away(rig):
            await asyncio.sleep(4)
    await asyncio.to_thread(rig.ingress.stop)
    await rig.start_ingress()


@scene(67, title="the ingress has a tenth of a processor", refuses=True, slow=True, needs=["cgroups"])
async def starved(rig: Rig) -> None:
    with _cgroup("cpu", "cpu.cfs_quota_us", "10000", rig.ingress.popen.pid):
        await asyncio.sleep(6)


@scene(68, title="300 connections send large bodies without a signature", refuses=True)
async def large_bodies(rig: Rig) -> None:
    head = f"POST /hooks/{rig.source.name} HTTP/1.1\r\nHost: h\r\nContent-Length: {_BODY_BYTES}\r\n\r\n"
    writers = []
    for _ in range(300):
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", rig.project.settings.ingress.port)
            writer.write(head.encode() + bytes(_BODY_BYTES - 1))
            writers.append(writer)
    await asyncio.sleep(4)
    for writer in writers:
        writer.transport.abort()


async def _with_clock(rig: Rig, shift_s: float) -> Path:
    """Restart the ingress with a wall clock that a file moves."""
    clock = rig.folder / "clock"
    clock.write_text(str(shift_s))
    await asyncio.to_thread(rig.ingress.stop)
    await rig.start_ingress(module=["tests.faults.moved_clock", str(clock)])
    return clock


@scene(61, title="the clock jumps an hour, and two days, and back", refuses=True)
async def clock_jumps(rig: Rig) -> None:
    clock = await _with_clock(rig, 0)
    for shift_s in (3600, -3600, 172_800, 0):
        clock.write_text(str(shift_s))
        async with away(rig):
            await asyncio.sleep(1)


@scene(62, title="the ingress's clock is four minutes ahead", refuses=True)
async def clock_ahead(rig: Rig) -> None:
    await _with_clock(rig, 240)
    await asyncio.sleep(4)


@contextmanager
def _cgroup(controller: str, limit: str, value: str, pid: int) -> Iterator[None]:
    """Put a process into a group with a limit until the block ends."""
    folder = _CGROUPS / controller / f"hookline-faults-{pid}-{time.monotonic_ns()}"
    folder.mkdir()
    try:
        (folder / limit).write_text(value)
        (folder / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for each in (folder / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (_CGROUPS / controller / "cgroup.procs").write_text(each)
        folder.rmdir()


def has_cgroups() -> bool:
    return all((_CGROUPS / each / "cgroup.procs").exists() for each in ("cpu", "memory"))


def has_strace() -> bool:
    return shutil.which("strace") is not None
