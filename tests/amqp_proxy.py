"""A proxy before RabbitMQ that reads AMQP: it closes connections at once, swallows confirms, or freezes."""

import asyncio
from contextlib import suppress
from struct import Struct
from typing import Literal, Self, TypeAlias

Mode: TypeAlias = Literal["pass", "shut", "swallow confirms", "freeze"]

_HEAD = Struct(">BHI")
_CONFIRMS = (b"\0\x3c\0\x50", b"\0\x3c\0\x78")


class AmqpProxy:
    """Listens on `port`. `accepted` counts connections."""

    def __init__(self, target_port: int, port: int = 0) -> None:
        self._target_port = target_port
        self.mode: Mode = "pass"
        self.accepted = 0
        self.port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.close()
        self.drop()
        if self._serving:
            await asyncio.wait(self._serving)

    def drop(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._accept(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        try:
            if self.mode != "shut":
                await self._pass(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers.add(server_writer)
        both = [
            asyncio.create_task(self._upstream(reader, server_writer)),
            asyncio.create_task(self._downstream(server_reader, writer)),
        ]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()
        await asyncio.wait(both)
        self._writers.discard(server_writer)
        server_writer.transport.abort()

    async def _upstream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)

    async def _downstream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(_HEAD.size)
                rest = await reader.readexactly(_HEAD.unpack(head)[2] + 1)
                if not self._swallows(rest):
                    writer.write(head + rest)

    def _swallows(self, payload: bytes) -> bool:
        return self.mode == "freeze" or (self.mode == "swallow confirms" and payload.startswith(_CONFIRMS))
