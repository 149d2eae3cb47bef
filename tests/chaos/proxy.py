"""The network path from one process to one server: a TCP proxy that can be cut in four ways."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Literal, TypeAlias

Cut: TypeAlias = Literal["stall", "drop", "reset", "black hole"]
LASTING_CUTS: tuple[Cut, ...] = ("stall", "reset", "black hole")
CUTS: tuple[Cut, ...] = (*LASTING_CUTS, "drop")

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_CHUNK_BYTES = 65_536


class Proxy:
    """Listens on `port` and passes everything on to `target_port`, which may change: connections keep their target.

    `stall` delays every byte until the cut ends. `drop` closes the connections once. `reset` resets them, and every new
    one. `black hole` answers nothing, and resets at its end whatever was connected.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._refusing = False
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self, kind: Cut, lasts_s: float) -> None:
        """Return once the cut is over."""
        match kind:
            case "stall":
                await self._hold(lasts_s)
            case "drop":
                self.drop()
            case "reset":
                await self._refuse(lasts_s)
            case "black hole":
                await self._hold(lasts_s, reset=True)

    def drop(self) -> None:
        """Close every connection."""
        for writer in tuple(self._connections):
            writer.close()

    async def close(self) -> None:
        """Reset every connection, and return once nothing runs on."""
        if self._server is not None:
            self._server.close()
        self._passing.set()
        self._reset()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _hold(self, lasts_s: float, *, reset: bool = False) -> None:
        self._passing.clear()
        try:
            await asyncio.sleep(lasts_s)
        finally:
            if reset:
                self._reset()
            self._passing.set()

    async def _refuse(self, lasts_s: float) -> None:
        self._refusing = True
        self._reset()
        try:
            await asyncio.sleep(lasts_s)
        finally:
            self._refusing = False

    def _reset(self) -> None:
        for writer in tuple(self._connections):
            _reset(writer)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._accept(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            await self._passing.wait()
            if self._refusing or writer.is_closing():
                _reset(writer)
            else:
                await self._connect(reader, writer)
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            _reset(writer)
            return
        self._connections.add(server_writer)
        pumps = [
            asyncio.create_task(self._pump(reader, server_writer)),
            asyncio.create_task(self._pump(server_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
            self._connections.discard(server_writer)
            server_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, as a firewall or a crashed host answers."""
    raw = writer.get_extra_info("socket")
    with suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
