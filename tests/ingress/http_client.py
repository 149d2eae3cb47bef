"""An HTTP client that sends exactly the given bytes, and reads the answers."""

import asyncio
import socket
import struct
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
    """One connection. Received bytes stay readable after a failed write; a stream of asyncio would drop them."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._received = b""
        self.cut_off = False
        """Whether a write has failed because the other side is gone."""

    async def send(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.get_running_loop().sock_sendall(self._socket, data)
        except ConnectionError:  # refused and closed before all of it was sent
            self.cut_off = True

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
            self._socket.shutdown(socket.SHUT_WR)

    def reset_when_closed(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def answer(self, *, to_head: bool = False) -> Answer | None:
        """The next answer; None if the connection was closed without one."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while b"\r\n\r\n" not in self._received:
                    await self._receive()
                size = self._received.index(b"\r\n\r\n") + 4
                size += 0 if to_head else int(Answer(self._received[:size]).headers.get("content-length", "0"))
                while len(self._received) < size:
                    await self._receive()
            except ConnectionError:
                return None
        answer, self._received = Answer(self._received[:size]), self._received[size:]
        return answer

    async def rest(self, quiet_s: float) -> bytes:
        """Everything that arrives until nothing has for this time, or the connection is closed."""
        with suppress(TimeoutError, ConnectionError):
            while True:
                async with asyncio.timeout(quiet_s):
                    await self._receive()
        rest, self._received = self._received, b""
        return rest

    async def is_closed(self) -> bool:
        """Wait until the other side closes the connection; False if it sends something instead."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                if not self._received:
                    await self._receive()
            except ConnectionError:
                return True
        return False

    async def closed_within(self, seconds: float) -> bool:
        """Whether the other side closes the connection within this time; it must send nothing else."""
        try:
            async with asyncio.timeout(seconds):
                return await self.is_closed()
        except TimeoutError:
            return False

    def close(self) -> None:
        self._socket.close()

    async def _receive(self) -> None:
        """Wait for more. Raises ConnectionError at the end."""
        received = await asyncio.get_running_loop().sock_recv(self._socket, 2**16)
        if not received:
            raise ConnectionAbortedError
        self._received += received


async def let_ingress_run() -> None:
    """Let the ingress, which shares the event loop, read what was sent and do everything that needs no waiting."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


@asynccontextmanager
async def connected(port: int, receive_buffer_bytes: int | None = None, host: str = "") -> AsyncIterator[Client]:
    """A connection from this address of the machine, or from 127.0.0.1."""
    ours = socket.socket()
    ours.bind((host, 0))
    ours.setblocking(False)  # noqa: FBT003  the library's name for it
    if receive_buffer_bytes:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    with ours:
        await asyncio.get_running_loop().sock_connect(ours, ("127.0.0.1", port))
        yield Client(ours)
