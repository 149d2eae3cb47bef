"""An ingress whose connections are in memory, so that a fuzzer can open some thousands a second."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

from hookline.ingress.client_address import Network
from hookline.ingress.receive import Receiver
from hookline.ingress.server import ConnectionFactory
from tests.ingress.callbacks import BODY
from tests.ingress.running_ingress import SETTINGS, RecordingPublisher
from tests.ingress.sources import NOW_S, SOURCES

_TURNS = 12


class MemoryTransport(asyncio.Transport):
    """Keeps what is written. The other side is at 192.0.2.1."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        super().__init__({"peername": ("192.0.2.1", 1), "socket": self._socket})
        self.written = b""
        self.closed = False
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def writelines(self, list_of_data: Any) -> None:
        self.written += b"".join(map(bytes, list_of_data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._socket.close()
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        """Nothing: what is sent is delivered anyway."""

    def resume_reading(self) -> None:
        """The same."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever buffered."""


async def survives(segments: Sequence[bytes], trusted: Sequence[Network] = ()) -> None:
    """Deliver the segments on one connection; fails unless it is answered well, and nothing forged is published."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    publisher = RecordingPublisher()
    factory = ConnectionFactory(Receiver(SOURCES, publisher, SETTINGS, trusted, lambda: NOW_S), SETTINGS)
    transport, connection = MemoryTransport(), factory()
    transport.protocol = connection
    connection.connection_made(transport)
    for segment in segments:
        if not transport.closed:
            connection.data_received(segment)
        await _turns()
    transport.close()
    await _turns()
    await factory.shutdown(0.01)
    assert faults == []
    assert {envelope.body for envelope in publisher.envelopes} <= {BODY}
    assert b" 500 " not in transport.written
    assert b"not_durable" not in transport.written


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
