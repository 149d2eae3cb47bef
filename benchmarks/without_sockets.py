"""`python -m benchmarks.without_sockets`: an ingress of the benchmarks in one process, fed with requests in memory.

There is no system's part, no other process and no waiting: what is left is the same in each run. Ours has its real
connections, receiver, spool and publish channel; RabbitMQ's side confirms what is written to it in the next turn of
the event loop.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aiohttp import web

from benchmarks.callbacks import read_requests
from benchmarks.counted import counted_command
from benchmarks.references import bare
from hookline.aio.refusal_tally import RefusalTally
from hookline.broker.rabbitmq.confirms import Confirms
from hookline.broker.rabbitmq.publish_channel import RawPublishChannel
from hookline.broker.rabbitmq.wire.frame_transport import FrameTransport
from hookline.broker.spool.opening import SpoolSettings, spooling_publisher
from hookline.ingress.receive import Receiver
from hookline.ingress.server import ConnectionFactory
from hookline.runtime.event_loop import collect_rarely, run_to_end
from hookline.schemas import topics
from hookline.schemas.broker import Confirm
from hookline.schemas.envelope import Envelope
from hookline.settings import load

_CHANNEL = 1
_FRAME_BYTES = 131_072
_METHOD = b"\x01"
_TURNS = 50
_ack = struct.Struct(">BHIHHQBB").pack
_ACK_BYTES, _BASIC, _ACK, _END = 13, 60, 80, 0xCE


class _Client(asyncio.Transport):
    """The client's side of a connection: counts the requests that are accepted."""

    def __init__(self) -> None:
        self.accepted = 0
        self._socket = socket.socket()  # libraries set options on it

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"socket": self._socket, "peername": ("127.0.0.1", 1024)}.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.accepted += bytes(data).startswith(b"HTTP/1.1 200")

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        self._socket.close()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class _Server(asyncio.Transport):
    """RabbitMQ's side of the connection: confirms all that has been written, in one range."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._written = 0
        self._is_due = False

    def is_closing(self) -> bool:
        return False

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self._written += sum(frame[:1] == _METHOD for frame in list_of_data)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._confirm)

    def _confirm(self) -> None:
        self._is_due = False
        self._protocol.data_received(_ack(1, _CHANNEL, _ACK_BYTES, _BASIC, _ACK, self._written, 1, _END))


class _RabbitMQ:
    """Implements `broker.spool.drain.Primary` on one publish channel."""

    ready, reason = True, ""

    def __init__(self) -> None:
        frames = FrameTransport(asyncio.Protocol(), asyncio.get_running_loop().time)
        frames.connection_made(_Server(frames))
        tune = SimpleNamespace(connection_tune=SimpleNamespace(frame_max=_FRAME_BYTES))
        channel: Any = SimpleNamespace(number=_CHANNEL, connection=tune)
        self._channel = RawPublishChannel(channel, frames, Confirms(5.0, RefusalTally(), 1000))

    def begin(self, envelope: Envelope) -> Confirm:
        return self._channel.send_envelope(topics.EXCHANGE, envelope)


@asynccontextmanager
async def _hookline(folder: Path) -> AsyncIterator[Callable[[], asyncio.Protocol]]:
    settings = load(folder / "hookline.toml", with_sources=True)
    spool = SpoolSettings(folder / "spool", after_s=60.0, max_bytes=2**30, max_age_s=3600.0, max_draining=100)
    publisher = spooling_publisher(_RabbitMQ(), spool)
    await publisher.open()
    yield ConnectionFactory(Receiver(settings.sources, publisher, settings.ingress), settings.ingress)
    await publisher.close()


@asynccontextmanager
async def _bare(_: Path) -> AsyncIterator[Callable[[], asyncio.Protocol]]:
    runner = web.AppRunner(bare.application(), access_log=None)
    await runner.setup()
    factory: Any = runner.server
    yield factory
    await runner.cleanup()


_PROGRAMS = {"hookline": _hookline, "bare": _bare}


async def answer_all(program: str, folder: Path, requests: Sequence[bytes], at_a_time: int) -> None:
    """Have a program answer requests, so many in one turn of the event loop. Raises RuntimeError if one is refused."""
    clients = [_Client() for _ in range(at_a_time)]
    async with _PROGRAMS[program](folder) as make:
        connections = [make() for _ in clients]
        for connection, client in zip(connections, clients, strict=True):
            connection.connection_made(client)
        await asyncio.sleep(0)
        for sent in range(0, len(requests), at_a_time):
            group = requests[sent : sent + at_a_time]
            for connection, request in zip(connections, group, strict=False):
                connection.data_received(request)
            await _accepted(clients, sent + len(group))
        for connection, client in zip(connections, clients, strict=True):
            connection.connection_lost(None)
            client.close()


async def _accepted(clients: Sequence[_Client], count: int) -> None:
    """Return once so many requests have been accepted."""
    for _ in range(_TURNS):
        if sum(client.accepted for client in clients) >= count:
            return
        await asyncio.sleep(0)
    raise RuntimeError(f"requests are not accepted within {_TURNS} turns of the event loop")


@counted_command(_PROGRAMS, __doc__)
def main(program: str, folder: Path, count: int, at_a_time: int) -> None:
    logging.disable()
    collect_rarely()
    requests = read_requests(folder / "requests")[:count]
    run_to_end(answer_all(program, folder, requests, at_a_time))


if __name__ == "__main__":
    main()
