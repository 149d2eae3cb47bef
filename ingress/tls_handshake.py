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
from hookline.ingress.timeouts import Timeouts
from hookline.ingress.tls_records import TlsRecords
from hookline.ingress.turns import Turns

_HANDSHAKE_BYTES = 49_152  # a body that costs as much
_MAX_GREETING_BYTES = 16_384  # a client sends one message, then waits for the server's
_NEVER_S = 3600.0  # `Timeouts` ends handshakes


class _Early(asyncio.Protocol):
    """Keeps what arrives between the end of a handshake and the connection's first turn."""

    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data


class Handshake(asyncio.Protocol):
    """A connection until its handshake has ended. It makes way for others as one that has sent no request.

    TLS begins once the client has sent something, and in its turn: a handshake costs as much as several requests, and
    a silent client no more than its connection.
    """

    is_new = True
    idle_since_s = None
    is_pipelining = False

    def __init__(
        self,
        make: Callable[[], IngressConnection],
        context: ssl.SSLContext,
        limits: ConnectionLimits,
        turns: Turns,
        timeouts: Timeouts,
    ) -> None:
        self._make = make
        self._context = context
        self._limits = limits
        self._turns = turns
        self._timeouts = timeouts
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._arrived = b""
        self.address = ""
        self.client = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(0)  # so that TLS notices that a client does not read
        self.address = (transport.get_extra_info("peername") or ("",))[0]
        if self._limits.opened(self, transport.get_extra_info("socket").fileno()):
            self._timeouts.head.start(self)
        else:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Begin with the handshake, and read no more before. uvloop may have read twice by then."""
        self._arrived += data
        if self._transport is None or len(self._arrived) > _MAX_GREETING_BYTES:
            self.force_close()
        elif self._task is None:
            self._transport.pause_reading()
            self._task = asyncio.get_running_loop().create_task(self._shake_hands(self._transport))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  of the protocol
        """The client is gone before TLS has taken over."""
        task, self._task = self._task, None  # cancelled, it would hold this until garbage is collected
        if task is not None:
            task.cancel()
        self._end()

    def _end(self) -> None:
        self._timeouts.head.stop(self)
        self._limits.closed(self)

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
        early = _Early()
        try:
            await self._turns.wait(_HANDSHAKE_BYTES)
            encrypted = await self._start_tls(transport, early)
        except (OSError, RuntimeError) as error:  # no TLS, too slow, or closed to make way
            error.__traceback__ = None  # its frames hold the error itself, and TLS, until garbage is collected
            transport.abort()
            return
        finally:
            self._end()
        if encrypted is None or encrypted.is_closing():
            return
        connection = self._make()
        encrypted.set_protocol(connection)
        connection.connection_made(encrypted)
        if early.data:
            connection.data_received(early.data)

    async def _start_tls(self, transport: asyncio.Transport, early: _Early) -> asyncio.Transport | None:
        loop = asyncio.get_running_loop()
        tls = loop.start_tls(transport, early, self._context, server_side=True, ssl_handshake_timeout=_NEVER_S)
        starting = loop.create_task(tls)
        try:
            await asyncio.sleep(0)  # its first step sets another protocol, which is connected in the next turn
            transport.set_protocol(TlsRecords(transport, self._turns))
            loop.call_soon(_feed, transport, self._arrived)
            return await starting
        finally:
            starting.cancel()

    def force_close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    abort = end_reading = give_way = force_close


def _feed(transport: asyncio.Transport, data: bytes) -> None:
    """Hand to the protocol of TLS what has arrived before it."""
    protocol = cast("asyncio.BufferedProtocol", transport.get_protocol())
    while data and not transport.is_closing():
        buffer = memoryview(protocol.get_buffer(len(data)))
        part = data[: len(buffer)]
        buffer[: len(part)] = part
        protocol.buffer_updated(len(part))
        data = data[len(part) :]
