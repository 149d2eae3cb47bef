"""The HTTP server: aiohttp's low-level server with our own connections, limits and listening sockets."""

import asyncio
import ssl
from collections.abc import Sequence
from functools import partial

from aiohttp import http_parser, web

from hookline.aio.http_request import make_request
from hookline.ingress import fast_lane
from hookline.ingress.accepting import Acceptor
from hookline.ingress.connection import LINGER_S, IngressConnection
from hookline.ingress.connection_limits import ConnectionLimits
from hookline.ingress.fast_lane import FastLane
from hookline.ingress.listening import check_certificate, listening_sockets, load_certificate, server_context
from hookline.ingress.load import Load
from hookline.ingress.parser_errors import MAX_FIELD_BYTES, MAX_HEADERS, MAX_LINE_BYTES
from hookline.ingress.proxy_protocol import ProxiedConnection
from hookline.ingress.receive import Receiver
from hookline.ingress.settings import IngressSettings
from hookline.ingress.timeouts import Timeouts
from hookline.ingress.tls_handshake import Handshake
from hookline.ingress.turns import Turns
from hookline.schemas.errors import SettingsError


class ConnectionFactory(web.Server):
    """Makes the connections, which share the limits of the process."""

    def __init__(self, receiver: Receiver, settings: IngressSettings, max_file: int | None = None) -> None:
        super().__init__(receiver.answer, request_factory=make_request)
        self._receiver = receiver
        self._settings = settings
        self._load = Load(settings.max_bytes_in_flight, settings.max_connections_per_address)
        self.limits = ConnectionLimits(settings, self._load, lambda: receiver.trusted_proxies, max_file)
        self._turns = Turns()
        self._timeouts = Timeouts(settings)
        self._lane = FastLane(receiver, self._turns) if settings.fast_lane and fast_lane.is_supported() else None
        self._make = (
            partial(ProxiedConnection, self, self.limits)
            if settings.proxy_protocol
            else partial(IngressConnection, self)
        )

    def __call__(self) -> IngressConnection:
        connection = self._make(
            self._settings,
            self._load,
            self._turns,
            self._timeouts,
            self._lane,
            loop=asyncio.get_running_loop(),
            access_log=None,
            lingering_time=LINGER_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
        )
        connection.noted = self._receiver.note_unread
        return connection

    def handshake(self, context: ssl.SSLContext) -> Handshake:
        """What makes a connection once a handshake has ended."""
        return Handshake(self, context, self.limits, self._turns, self._timeouts)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        file = transport.get_extra_info("socket").fileno()
        if isinstance(handler, IngressConnection) and not self.limits.opened(handler, file):
            self._loop.call_soon(transport.abort)  # at once, aiohttp's task would find no connection

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        if isinstance(handler, IngressConnection):
            self.limits.closed(handler)
            self._load.end(handler)
        super().connection_lost(handler, exc)


class Ingress:
    """The running HTTP server."""

    def __init__(self, receiver: Receiver, settings: IngressSettings, max_file: int | None = None) -> None:
        """`max_file` is the highest number that a file of the process may have."""
        self._receiver = receiver
        self._settings = settings
        self._connections = ConnectionFactory(receiver, settings, max_file)
        self._runner = web.ServerRunner(self._connections, shutdown_timeout=LINGER_S)
        self._acceptors: list[Acceptor] = []
        self._context: ssl.SSLContext | None = None

    @property
    def connections(self) -> Sequence[web.RequestHandler]:
        return self._connections.connections

    async def start(self) -> int:
        """Listen, and return the port. Raises OSError if that fails, SettingsError without aiohttp's strict parser."""
        check_parser()
        settings = self._settings
        if settings.tls_certificate:
            self._context = server_context(settings.tls_certificate, settings.tls_key)
        await self._runner.setup()
        sockets = listening_sockets(settings.host, settings.port, shared=settings.processes > 1)
        make = self._connections if self._context is None else partial(self._connections.handshake, self._context)
        for each in sockets:
            acceptor = Acceptor(each, make, self._connections.limits.burst)
            self._acceptors.append(acceptor)
            await acceptor.start()
        return int(sockets[0].getsockname()[1])

    def check_certificate(self) -> None:
        """Raise SettingsError if `reload_certificate` would."""
        check_certificate(self._settings.tls_certificate, self._settings.tls_key)

    def reload_certificate(self) -> None:
        """Read the certificate anew for the next connections. Raises SettingsError, and then keeps the old one."""
        if self._context is not None:
            load_certificate(self._context, self._settings.tls_certificate, self._settings.tls_key)

    async def stop(self) -> None:
        """Turn readiness off, serve for the drain time, then close the listener and finish the requests in flight.

        aiohttp alone would read nothing more once it shuts down, which would cut off bodies that are still arriving.
        """
        self._receiver.draining = True
        await asyncio.sleep(self._settings.drain_s)
        for acceptor in self._acceptors:
            acceptor.close()
        await self._receiver.finish(self._settings.shutdown_s)
        await self._runner.cleanup()


def check_parser() -> None:
    """Raise SettingsError unless aiohttp uses its strict parser, the one in C.

    The one in Python accepts `post` for POST, and HTTP/3.9, and waits for chunks of impossible sizes.
    """
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise SettingsError(
            "aiohttp lacks its C extension, and its parser in Python accepts requests that are not valid HTTP; "
            "unset AIOHTTP_NO_EXTENSIONS, or install aiohttp from a wheel"
        )
