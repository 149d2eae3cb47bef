"""An HTTP client that sends exactly the given bytes, and reads the answers."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec

PATIENCE_S = 10
TURNS = 10


@dataclass(frozen=True)
class Answer:
    """One answer. `raw` is all of its bytes."""

    raw: bytes

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> Mapping[str, str]:
        lines = self.raw.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def closes(self) -> bool:
        """Whether it ends the connection; versions other than HTTP/1.1 do so without a header."""
        return self.headers.get("connection") == "close" or not self.raw.startswith(b"HTTP/1.1")

    @property
    def code(self) -> str:
        """The code of a refusal, whose body must have exactly the documented form."""
        content: Any = msgspec.json.decode(self.body)
        assert content.keys() == {"error"}
        assert content["error"].keys() == {"code", "message"}
        assert content["error"]["message"]
        return str(content["error"]["code"])


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        with suppress(ConnectionError):  # refused and closed before all of it was sent
            async with asyncio.timeout(PATIENCE_S):
                await self._writer.drain()

    async def send_until_answered(self, parts: Sequence[bytes]) -> Answer | None:
        """Send the parts one by one, each in a segment of its own, until the first answer."""
        answer = asyncio.create_task(self.answer())
        for part in parts:
            if not answer.done():
                await self.send(part)
                await let_ingress_run()
        return await answer

    def half_close(self) -> None:
        with suppress(OSError):  # the other side closed first
            self._writer.write_eof()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def answer(self, *, to_head: bool = False) -> Answer | None:
        """The next answer; None if the connection was closed without one."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                head = await self._reader.readuntil(b"\r\n\r\n")
                size = 0 if to_head else int(Answer(head).headers.get("content-length", "0"))
                return Answer(head + await self._reader.readexactly(size))
            except (asyncio.IncompleteReadError, ConnectionError):
                return None

    async def is_closed(self) -> bool:
        """Wait until the other side closes the connection; False if it sends something instead."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self._reader.read(1) == b""
            except ConnectionError:
                return True

    async def closed_within(self, seconds: float) -> bool:
        """Whether the other side closes the connection within this time; it must send nothing else."""
        try:
            async with asyncio.timeout(seconds):
                return await self.is_closed()
        except TimeoutError:
            return False

    @property
    def cut_off(self) -> bool:
        """Whether this side has noticed that the connection is lost."""
        return self._writer.is_closing()

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


async def let_ingress_run() -> None:
    """Let the ingress, which shares the event loop, read what was sent and do everything that needs no waiting."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


@asynccontextmanager
async def connected(port: int, receive_buffer_bytes: int | None = None) -> AsyncIterator[Client]:
    ours = socket.socket()
    ours.setblocking(False)  # noqa: FBT003  the library's name for it
    if receive_buffer_bytes:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    try:
        await asyncio.get_running_loop().sock_connect(ours, ("127.0.0.1", port))
    except OSError:
        ours.close()
        raise
    reader, writer = await asyncio.open_connection(sock=ours, limit=receive_buffer_bytes or 2**16)
    client = Client(reader, writer)
    try:
        yield client
    finally:
        await client.close()
