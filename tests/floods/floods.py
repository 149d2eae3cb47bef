"""Floods against a running ingress: what hostile clients send, while a genuine one calls all the time.

`run` starts `hookline ingress` on the embedded queue, floods it, and reports its peak memory and the genuine client's
answers.
"""

import asyncio
import contextlib
import multiprocessing
import random
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from hookline.schemas.provider import AnySource
from tests.ingress.callbacks import post, sample, signed
from tests.ingress.sources import KRTC, SECRET

SETTINGS = f"""
[broker]
url = "sqlite:queue.db"
[sources.{KRTC.name}]
provider = "krtc"
secrets = ["{SECRET}"]
[ingress]
host = "127.0.0.1"
port = 0
"""
WITHOUT_UVLOOP = "import runpy, sys; sys.modules['uvloop'] = None; runpy.run_module('hookline', run_name='__main__')"
MAX_MIB = 200
MAX_ANSWER_S = 1.5  # on a machine that does nothing else
_SPAWN = multiprocessing.get_context("spawn")
_READY_S = 60.0
_PAUSE_S = 0.05
_OPENING_AT_ONCE = 200


@dataclass
class Result:
    """What the ingress took, and how the genuine client fared, which called on a new connection each time."""

    flood: str
    start_mib: float
    peak_mib: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)
    slowest_s: float = 0.0
    slowest_busy_s: float = 0.0
    """The most processor time that the event loop took while a callback waited for its answer."""
    opened: int = 0

    def row(self) -> str:
        answers = ", ".join(f"{answer}: {count}" for answer, count in sorted(self.answers.items()))
        return (
            f"{self.flood:<44} {self.opened:>6} connections  {self.start_mib:>4.0f} → {self.peak_mib:>4.0f} MiB  "
            f"slowest answer {self.slowest_s:5.2f} s, {self.slowest_busy_s:4.2f} s of the loop  {answers}"
        )


Hostile: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter, float], Coroutine[None, None, None]]
"""What one hostile client does on its connection until the given time of the loop's clock."""


@dataclass(frozen=True)
class Flood:
    name: str
    clients: int
    hostile: Hostile
    has_many_addresses: bool = False


def _head(*lines: str, source: AnySource = KRTC) -> bytes:
    return "\r\n".join([f"POST /hooks/{source.name} HTTP/1.1", "Host: ingress.example", *lines, "", ""]).encode()


async def _until_closed(reader: asyncio.StreamReader) -> None:
    while await reader.read(2**16):
        pass


async def idle(reader: asyncio.StreamReader, _: asyncio.StreamWriter, __: float) -> None:
    await _until_closed(reader)


async def unsigned_bodies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: float) -> None:
    """All but the last byte of a body of 256 kB, and then nothing."""
    writer.write(_head("Content-Length: 262144", "Content-Type: application/json") + b"x" * 262_143)
    await writer.drain()
    await _until_closed(reader)


async def announced_bodies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: float) -> None:
    """A head that announces 256 kB, and no body."""
    writer.write(_head("Content-Length: 262144", "Content-Type: application/json"))
    await _until_closed(reader)


async def large_heads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: float) -> None:
    """62 headers of 8 kB, and no end of the head."""
    writer.write(_head(*(f"X-{n}: {'x' * 8000}" for n in range(62)))[:-2])
    await writer.drain()
    await _until_closed(reader)


async def many_short_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: float) -> None:
    """62 headers of a few bytes, each of which costs a hundred times its size."""
    writer.write(_head(*(f"a{n}:" for n in range(61)))[:-2])
    await _until_closed(reader)


async def tiny_chunks(_: asyncio.StreamReader, writer: asyncio.StreamWriter, end_s: float) -> None:
    """Chunks of two bytes, as fast as they are read."""
    writer.write(_head("Transfer-Encoding: chunked", "Content-Type: application/json"))
    while asyncio.get_running_loop().time() < end_s:
        writer.write(b"2\r\nxx\r\n" * 8192)
        await writer.drain()


async def chunks_in_one_piece(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: float) -> None:
    """A body in 20,000 chunks of one byte, sent at once."""
    writer.write(_head("Transfer-Encoding: chunked", "Content-Type: application/json") + b"1\r\nx\r\n" * 20_000)
    await writer.drain()
    await _until_closed(reader)


async def pipelining(_: asyncio.StreamReader, writer: asyncio.StreamWriter, end_s: float) -> None:
    """Health checks without end, whose answers are never read."""
    while asyncio.get_running_loop().time() < end_s:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
        await writer.drain()


async def forgeries(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end_s: float) -> None:
    """Callbacks of 256 kB with a wrong signature, one after another."""
    call = post(KRTC, headers={"KRTC-Signature": "0" * 64, "Content-Type": "application/json"}, body=b"x" * 262_000)
    while asyncio.get_running_loop().time() < end_s:
        writer.write(call)
        await writer.drain()
        await reader.read(4096)


async def mixed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end_s: float) -> None:
    """Nothing, a head or a body that trickles in, or a body in chunks that are sent at once."""
    await random.choice((idle, slow_head, slow_body, chunks_in_one_piece))(reader, writer, end_s)  # noqa: S311


async def slow_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter, end_s: float) -> None:
    await _trickle(writer, _head("X-Padding: " + "x" * 1000), end_s)


async def slow_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter, end_s: float) -> None:
    writer.write(_head("Content-Length: 1000", "Content-Type: application/json"))
    await _trickle(writer, b"x" * 999, end_s)


async def _trickle(writer: asyncio.StreamWriter, data: bytes, end_s: float) -> None:
    """A byte each second until the ingress closes the connection."""
    for byte in data:
        if writer.transport.is_closing() or asyncio.get_running_loop().time() > end_s:
            return
        writer.write(bytes([byte]))
        await asyncio.sleep(1)


def floods(scale: float) -> Sequence[Flood]:
    """All floods; with a scale below 1 with fewer clients each."""
    return [
        Flood("idle connections", int(12_000 * scale), idle),
        Flood("bodies of 256 kB without their last byte", int(3_000 * scale), unsigned_bodies),
        Flood("announced bodies that do not come", int(3_000 * scale), announced_bodies),
        Flood("62 headers of 8 kB", int(600 * scale), large_heads),
        Flood("62 short headers", int(10_000 * scale), many_short_headers),
        Flood("chunks of two bytes", int(200 * scale), tiny_chunks),
        Flood("bodies in 20,000 chunks, each sent at once", int(1500 * scale), chunks_in_one_piece),
        Flood("pipelined requests, answers not read", int(300 * scale), pipelining),
        Flood("forged bodies of 256 kB", int(300 * scale), forgeries),
        Flood("idle connections of many addresses", int(12_000 * scale), idle, has_many_addresses=True),
        Flood("slow heads of many addresses", int(12_000 * scale), slow_head, has_many_addresses=True),
        Flood("slow bodies of many addresses", int(12_000 * scale), slow_body, has_many_addresses=True),
        Flood("all of this from many addresses", int(12_000 * scale), mixed, has_many_addresses=True),
    ]


async def run(flood: Flood, folder: Path, seconds: float, limits: str = "", *, has_uvloop: bool = True) -> Result:
    """Flood an ingress of its own, whose limits are these lines of its settings. Fails if it does not start."""
    async with _ingress(folder, limits, has_uvloop) as (pid, port):
        result = Result(flood.name, _mib(pid, "VmRSS"))
        opened = _SPAWN.RawValue("i", 0)  # without a lock, which a killed process would keep
        crowd = _SPAWN.Process(target=_attack, args=(flood, port, seconds, opened))
        crowd.start()
        try:
            while not opened.value:  # noqa: ASYNC110  another process
                await asyncio.sleep(_PAUSE_S)
            await _genuine(pid, port, seconds, result)
        finally:
            crowd.kill()
            crowd.join()
        result.opened = opened.value
        result.peak_mib = _mib(pid, "VmHWM")
    return result


def _attack(flood: Flood, port: int, seconds: float, opened: Any) -> None:
    """The process of the hostile clients."""

    async def attack() -> None:
        end_s = asyncio.get_running_loop().time() + seconds + _READY_S
        opening = asyncio.Semaphore(_OPENING_AT_ONCE)
        await asyncio.gather(*(_hostile(flood, port, end_s, opening, opened) for _ in range(flood.clients)))

    allow_files()
    asyncio.run(attack())


async def _hostile(flood: Flood, port: int, end_s: float, opening: asyncio.Semaphore, opened: Any) -> None:
    """One hostile client, which connects again whenever it is cut off."""
    loop = asyncio.get_running_loop()
    while loop.time() < end_s:
        try:
            async with opening:
                local = (_address(), 0) if flood.has_many_addresses else None
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=local)
        except OSError:
            await asyncio.sleep(_PAUSE_S)
            continue
        opened.value += 1
        with contextlib.suppress(OSError):
            await flood.hostile(reader, writer, end_s)
        writer.transport.abort()
        await asyncio.sleep(_PAUSE_S)


def _address() -> str:
    """Some address of this machine; Linux has 16 million."""
    return f"127.{random.randrange(1, 255)}.{random.randrange(255)}.{random.randrange(1, 255)}"  # noqa: S311


async def _genuine(pid: int, port: int, seconds: float, result: Result) -> None:
    """Callbacks, each on a connection of its own, one after another."""
    loop = asyncio.get_running_loop()
    number, end_s = 0, loop.time() + seconds
    while loop.time() < end_s:
        number += 1
        began_s, began_busy_s = loop.time(), _busy_s(pid)
        answer = await _call(port, post(KRTC, signed(KRTC, sample(KRTC) + b" " * number, at_s=time.time())))
        result.slowest_s = max(result.slowest_s, loop.time() - began_s)
        result.slowest_busy_s = max(result.slowest_busy_s, _busy_s(pid) - began_busy_s)
        result.answers[answer] = result.answers.get(answer, 0) + 1
        await asyncio.sleep(_PAUSE_S)


async def _call(port: int, request: bytes) -> str:
    """The status of the answer, or what came instead of one."""
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                line = await reader.readline()
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError) as error:
        return type(error).__name__
    return line.split(b" ")[1].decode() if line else "closed"


@contextlib.asynccontextmanager
async def _ingress(folder: Path, limits: str, has_uvloop: bool) -> AsyncIterator[tuple[int, int]]:  # noqa: FBT001
    """The pid and the port of an ingress of its own in this folder."""
    (folder / "hookline.toml").write_text(SETTINGS + limits)
    log = folder / "log"
    with log.open("wb") as output:
        program = ["-m", "hookline"] if has_uvloop else ["-c", WITHOUT_UVLOOP]
        command = [sys.executable, *program, "ingress", "--config", str(folder / "hookline.toml")]
        process = await asyncio.create_subprocess_exec(*command, stderr=output, cwd=folder)
    try:
        yield process.pid, await _port(log, process)
    finally:
        process.kill()
        await process.wait()


async def _port(log: Path, process: asyncio.subprocess.Process) -> int:
    until_s = time.monotonic() + _READY_S
    text = ""
    while time.monotonic() < until_s and process.returncode is None:
        text = await asyncio.to_thread(log.read_text)
        _, listens, rest = text.partition("listening on http://127.0.0.1:")
        if listens and "\n" in rest:
            return int(rest.split("\n", 1)[0])
        await asyncio.sleep(_PAUSE_S)
    raise AssertionError(text)


def _mib(pid: int, key: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{key}:")[2].split()[0]) / 1024


def _busy_s(pid: int) -> float:
    """The processor time that the main thread has taken, which runs the event loop."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def allow_files() -> None:
    """Raise the number of files that this process and the ingress may open, as far as it may be raised."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
