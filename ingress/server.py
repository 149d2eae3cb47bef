"""The HTTP server: aiohttp's low-level server with our own time-outs and responses."""

import asyncio
import logging
from typing import Any, cast

from aiohttp import http_parser, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from hookline.ingress import responses
from hookline.ingress.receive import Receiver
from hookline.ingress.settings import IngressSettings
from hookline.schemas.errors import MalformedRequest, SettingsError

log = logging.getLogger("hookline.ingress")

_MAX_LINE = 8190
_MAX_FIELD = 8192  # differs from _MAX_LINE, so that the parser's error shows which of the two was exceeded
_MAX_HEADERS = 64
_LINGER_S = 1.0


class IngressConnection(web.RequestHandler):
    """One connection. It is closed if the client is slow to send a head or to read a response.

    Parser errors are answered in our form, and never quote the request. Relies on private parts of aiohttp: on
    `_messages`, the queue of heads and parser errors; on `_waiter`, which is pending while the connection is idle; and
    on `pause_reading`, without which the parser never stops within a message.
    """

    __slots__ = ("_body", "_has_paused", "_head_timer", "_settings", "_write_timer")

    def __init__(self, manager: "ConnectionFactory", settings: IngressSettings, **options: Any) -> None:
        super().__init__(manager, keepalive_timeout=settings.keepalive_timeout_s, **options)
        self._settings = settings
        self._has_paused = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._body: StreamReader = EMPTY_PAYLOAD

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Any unsent byte of a response pauses the writing, and is timed. uvloop's transports have no asyncio class.
        cast("asyncio.WriteTransport", transport).set_write_buffer_limits(0)
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_waiting()
        self._stop_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages:
            self._stop_waiting()
            message, body = self._messages[-1]
            if isinstance(message, http_parser.RawRequestMessage):
                self._body = body
            else:
                self._break_off()
        elif data and self._waiter is not None and not self._waiter.done():
            self._await_head()

    def pause_reading(self) -> None:
        self._has_paused = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  aiohttp's signature
        """Do nothing before the first pause: aiohttp calls this twice for each body, at some cost."""
        if self._has_paused:
            super().resume_reading(resume_parser)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None:
            loop = asyncio.get_running_loop()
            self._write_timer = loop.call_later(self._settings.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_writing()
        super().resume_writing()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002  aiohttp's signature
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  quotes the request
    ) -> web.StreamResponse:
        """The response to a parser error, in our form. aiohttp's own response would quote the request."""
        if status >= 500:
            log.error("a request failed in the server: %s", type(exc).__name__)
            return responses.unavailable()
        return responses.refused(MalformedRequest("this is not a valid HTTP request"), _parser_status(exc))

    def _break_off(self) -> None:
        """Fail the read of an incomplete body, which would otherwise wait for the rest until its time-out."""
        if not self._body.is_eof():
            self._body.set_exception(web.RequestPayloadError("the parser has failed"))
            self._lingering_time = 0.0  # nothing more of it will arrive

    def _await_head(self) -> None:
        if self._head_timer is None:
            loop = asyncio.get_running_loop()
            self._head_timer = loop.call_later(self._settings.head_timeout_s, self.force_close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_writing(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def _parser_status(exc: BaseException | None) -> int:
    if isinstance(exc, LineTooLong):
        return 414 if exc.args[1] == _MAX_LINE else 431
    return 431 if str(exc).find("Too many headers") >= 0 else 400


class ConnectionFactory(web.Server):
    """Makes the connections; those above the limit are closed at once."""

    def __init__(self, receiver: Receiver, settings: IngressSettings) -> None:
        super().__init__(receiver.answer)
        self._settings = settings

    def __call__(self) -> IngressConnection:
        return IngressConnection(
            self,
            self._settings,
            loop=asyncio.get_running_loop(),
            access_log=None,
            lingering_time=_LINGER_S,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_FIELD,
            max_headers=_MAX_HEADERS,
            auto_decompress=False,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > self._settings.max_connections:
            transport.abort()


class Ingress:
    """The running HTTP server."""

    def __init__(self, receiver: Receiver, settings: IngressSettings) -> None:
        self._receiver = receiver
        self._settings = settings
        self._runner = web.ServerRunner(ConnectionFactory(receiver, settings), shutdown_timeout=_LINGER_S)

    async def start(self) -> int:
        """Listen, and return the port. Raises OSError if that fails, SettingsError without aiohttp's strict parser."""
        check_parser()
        await self._runner.setup()
        host, port, shared = self._settings.host, self._settings.port, self._settings.processes > 1
        await web.TCPSite(self._runner, host, port, backlog=1024, reuse_port=shared).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Turn readiness off, serve for the drain time, then close the listener and finish the requests in flight.

        aiohttp alone would read nothing more once it shuts down, which would cut off bodies that are still arriving.
        """
        self._receiver.draining = True
        await asyncio.sleep(self._settings.drain_s)
        for site in self._runner.sites:
            await site.stop()
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
