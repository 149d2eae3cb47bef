"""The HTTP server: aiohttp's low-level one, with time-outs and answers of our own."""

import asyncio
import logging
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from ingress import answers
from ingress.receive import Receiver
from ingress.settings import IngressSettings
from schemas.errors import MalformedRequest, NotDurable

log = logging.getLogger("hookline.ingress")

_MAX_LINE = 8190
_MAX_FIELD = 8192  # another number than the line's: that is how the parser's error tells which it was
_MAX_HEADERS = 64
_LINGER_S = 1.0


class Door(web.RequestHandler):
    """One connection: closed if the head of a request does not arrive in time; never shows what the parser thought.

    Relies on aiohttp's `_messages` and `_request_in_progress`, which say whether a whole head has arrived.
    """

    __slots__ = ("_head_timeout_s", "_head_timer")

    def __init__(self, manager: "Doors", *, head_timeout_s: float, **options: Any) -> None:
        super().__init__(manager, **options)
        self._head_timeout_s = head_timeout_s
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages or self._request_in_progress:
            self._stop_waiting()
        elif data:
            self._await_head()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002  aiohttp's signature
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  quotes the request
    ) -> web.StreamResponse:
        """What the parser refuses, in our form. aiohttp's own answer would quote the request."""
        if status >= 500:
            log.error("a request failed in the server: %s", type(exc).__name__)
            return answers.refused(NotDurable("the event could not be taken now"))
        return answers.refused(MalformedRequest("this is not a request that we can read"), _parser_status(exc))

    def _await_head(self) -> None:
        if self._head_timer is None:
            loop = asyncio.get_running_loop()
            self._head_timer = loop.call_later(self._head_timeout_s, self.force_close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _parser_status(exc: BaseException | None) -> int:
    if isinstance(exc, LineTooLong):
        return 414 if exc.args[1] == _MAX_LINE else 431
    return 431 if str(exc).find("Too many headers") >= 0 else 400


class Doors(web.Server):
    """All connections; those above the limit are closed at once."""

    def __init__(self, receiver: Receiver, settings: IngressSettings) -> None:
        super().__init__(receiver.answer)
        self._settings = settings

    def __call__(self) -> Door:
        return Door(
            self,
            head_timeout_s=self._settings.head_timeout_s,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=self._settings.keepalive_timeout_s,
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
    """The running door."""

    def __init__(self, receiver: Receiver, settings: IngressSettings) -> None:
        self._receiver = receiver
        self._settings = settings
        self._runner = web.ServerRunner(Doors(receiver, settings), shutdown_timeout=settings.shutdown_s)

    async def start(self) -> int:
        """Listen; return the port. Raises OSError if that is not possible."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._settings.host, self._settings.port, backlog=1024).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Readiness off, serve on for the drain time, then close the listener and finish what is in hand."""
        self._receiver.draining = True
        await asyncio.sleep(self._settings.drain_s)
        await self._runner.cleanup()
