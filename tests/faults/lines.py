"""Network paths that a scene can harm: TCP proxies, and packet rules in the run's own network namespace."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random

from tests.chaos.proxy import Proxy
from tests.services.commands import output_of

_COMMAND_S = 30.0


class Line(Proxy):
    """A proxy that may also delay, tear its data into small pieces, lose one direction, or speak TLS."""

    def __init__(self, target_port: int, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        super().__init__(target_port)
        self.delay_s = 0.0
        self.piece_bytes = 0
        self.accepted = 0
        self.is_shut = False
        self._host = host
        self._tls = tls
        self._random = Random(1)  # noqa: S311  # no secret

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._accepted, self._host, port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    def end_listening(self) -> None:
        if self._server is not None:
            self._server.close()
        self._reset()

    def half_close(self) -> None:
        """End one direction of every connection, and keep the other open."""
        for writer in tuple(self._connections):
            with suppress(OSError, NotImplementedError, RuntimeError):
                writer.write_eof()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.is_shut:
            writer.close()
            return
        await super()._accept(reader, writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._passing.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s * (0.5 + self._random.random()))
                for piece in self._pieces(data):
                    writer.write(piece)
                    await writer.drain()
                    if self.piece_bytes:
                        await asyncio.sleep(0.001)

    def _pieces(self, data: bytes) -> list[bytes]:
        size = self.piece_bytes or len(data)
        return [data[start : start + size] for start in range(0, len(data), size)]


def run(*command: str) -> str:
    return output_of(command, timeout_s=_COMMAND_S)


@asynccontextmanager
async def packets(*rules: str) -> AsyncIterator[None]:
    """Apply nftables rules to arriving packets (`in …`) and sent ones (`out …`) until the block ends."""
    lines = ["add table inet faults"]
    for chain, hook in (("in", "input"), ("out", "output")):
        lines.append(f"add chain inet faults {chain} {{ type filter hook {hook} priority 0; }}")
    lines += [f"add rule inet faults {rule}" for rule in rules]
    await asyncio.to_thread(run, "nft", "; ".join(lines))
    try:
        yield
    finally:
        await asyncio.to_thread(run, "nft", "delete table inet faults")


def destroy_sockets(port: int) -> None:
    """Have the kernel end every connection to a port."""
    subprocess.run(  # noqa: S603  a program of the system
        ["ss", "-K", "-t", "-n", "dport", "=", f":{port}"],  # noqa: S607  # found on PATH
        check=False,
        capture_output=True,
        timeout=_COMMAND_S,
    )
