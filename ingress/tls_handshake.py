"""TLS handshakes, each counted among the connections before it begins.

asyncio's own server tells nobody of a connection until its handshake ends, so a crowd of clients that never begin one
would take files and memory without a limit.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from hookline.ingress.connection import IngressConnection
from hookline.ingress.connection_limits import ConnectionLimits


class _Early(asyncio.Protocol):
    """Keeps what arrives between the end of a handshake and the connection's first turn."""

    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data


class Handshake(asyncio.Protocol):
    """A connection until its handshake has ended. It makes way for others as one that has sent no request."""

    is_new = True
    idle_since_s = None

    def __init__(
        self, make: Callable[[], IngressConnection], limits: ConnectionLimits, context: ssl.SSLContext, timeout_s: float
    ) -> None:
        self._make = make
        self._limits = limits
        self._context = context
        self._timeout_s = timeout_s
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._arrived = b""
        self.address = ""
        self.client = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.pause_reading()  # the first bytes are those of the handshake
        self._transport.set_write_buffer_limits(0)  # so that TLS notices that a client does not read
        self.address = (transport.get_extra_info("peername") or ("",))[0]
        if self._limits.opened(self, transport.get_extra_info("socket").fileno()):
            self._task = asyncio.get_running_loop().create_task(self._shake_hands(self._transport))
        else:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Keep what arrives before TLS takes over: uvloop begins to read after `connection_made`, paused or not."""
        self._arrived += data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  of the protocol
        """The client is gone before TLS has taken over."""
        if self._task is not None:
            self._task.cancel()

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
        early, loop = _Early(), asyncio.get_running_loop()
        tls = loop.start_tls(transport, early, self._context, server_side=True, ssl_handshake_timeout=self._timeout_s)
        starting = loop.create_task(tls)
        try:
            await asyncio.sleep(0)  # its first step sets another protocol, which is connected in the next turn
            if self._arrived:
                loop.call_soon(_feed, transport, self._arrived)
            encrypted = await starting
        except (OSError, RuntimeError):  # no TLS, too slow, or closed to make way
            transport.abort()
            return
        finally:
            starting.cancel()
            self._limits.closed(self)
        if encrypted is None or encrypted.is_closing():
            return
        connection = self._make()
        encrypted.set_protocol(connection)
        connection.connection_made(encrypted)
        if early.data:
            connection.data_received(early.data)

    def force_close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _feed(transport: asyncio.Transport, data: bytes) -> None:
    """Hand to the protocol of TLS what has arrived before it."""
    protocol = cast("asyncio.BufferedProtocol", transport.get_protocol())
    while data and not transport.is_closing():
        buffer = memoryview(protocol.get_buffer(len(data)))
        part = data[: len(buffer)]
        buffer[: len(part)] = part
        protocol.buffer_updated(len(part))
        data = data[len(part) :]
