"""The HTTP server of the operator's port."""

import asyncio
import hmac
import importlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from hookline.admin.host_names import is_own_name
from hookline.admin.metrics import CONTENT_TYPE
from hookline.admin.pages import PROCESSES, Pages, ReadinessPage
from hookline.admin.settings import PORTS, SERVER, AdminSettings
from hookline.aio.http_request import make_request
from hookline.settings import Settings

if TYPE_CHECKING:
    from hookline.admin.inspector.pages import Inspector

log = logging.getLogger("hookline.admin")

_MAX_CONNECTIONS = 64
_BACKLOG = 16
_METHODS = ("GET", "HEAD")
_FOREIGN_NAME = (
    "without a token, metrics are shown only under an address of this machine or localhost; for other names list them "
    "under [admin], hosts, or set a token\n"
)
_FOR_PROBES = ("/healthz", "/readyz")
"""They answer under any name: they show little, and a probe that is refused takes the process out of service."""
_OPTIONS: Mapping[str, Any] = {"access_log": None, "auto_decompress": False}  # no browser compresses a form


class AdminServer:
    """Answers `/metrics`, `/healthz`, `/readyz` and `/processes`, however many connections the public port has.

    With the settings of the installation it also has the inspector, under all other paths.
    """

    def __init__(self, pages: Pages, settings: AdminSettings, inspected: Settings | None = None) -> None:
        self._settings = settings
        self._inspected = inspected
        self._readiness = pages.readiness
        self._inspector: asyncio.Task[Inspector] | None = None
        self._token = settings.token
        connections = _Connections(self._answer, request_factory=make_request, **_OPTIONS)
        self._runner = web.ServerRunner(connections, shutdown_timeout=1.0)
        self._pages: Mapping[str, Callable[[], Awaitable[web.Response]]] = {
            "/metrics": lambda: _metrics(pages),
            "/healthz": _health,
            "/readyz": lambda: _ready(pages),
            PROCESSES: lambda: _processes(pages),
        }

    def use_token(self, token: str) -> None:
        """Ask for this token from the next request on."""
        self._token = token

    async def start(self) -> int | None:
        """Listen on the first free port; None if all 32 are taken, which is no reason to receive no callbacks."""
        await self._runner.setup()
        host, first, fault = self._settings.host, self._settings.port, ""
        for port in range(first, min(first + PORTS, 2**16)):
            try:
                await web.TCPSite(self._runner, host, port, backlog=_BACKLOG).start()
            except OSError as error:
                fault = error.strerror or str(error)
            else:
                shown = f"[{host}]" if ":" in host else host
                instead = "" if port == first else f", because {first} is taken"
                browser = "" if self._inspected is None else "; open it in a browser for the inspector"
                log.info("metrics and health on http://%s:%d%s%s", shown, port, instead, browser)
                return port
        log.warning("no metrics and health: cannot listen on %s:%d (%s), nor on the ports above", host, first, fault)
        return None

    async def start_on(self, path: Path) -> None:
        """Listen on a Unix socket, for the supervisor of several processes."""
        await self._runner.setup()
        await web.UnixSite(self._runner, path, backlog=_BACKLOG).start()

    async def stop(self) -> None:
        await self._runner.cleanup()
        if self._inspector is not None:
            await (await self._inspector).close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._inspected is not None and request.path not in self._pages:
            return await (await self._opened_inspector(self._inspected)).answer(request)
        if not self._may_read(request.headers.get("Authorization", "")):
            return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"}, text="a token is needed\n")
        if request.path not in _FOR_PROBES and not self._is_named_well(request):
            return web.Response(status=403, text=_FOREIGN_NAME)
        if request.method not in _METHODS:
            return web.Response(status=405, headers={"Allow": ", ".join(_METHODS)})
        page = self._pages.get(request.path)
        return await page() if page is not None else web.Response(status=404, text=f"try {', '.join(self._pages)}\n")

    def _is_named_well(self, request: web.BaseRequest) -> bool:
        """Whether no site has had its name point here. Nobody who has the token is a browser on such a site."""
        return bool(self._token) or is_own_name(request.headers.get("Host", ""), self._settings.hosts)

    async def _opened_inspector(self, settings: Settings) -> "Inspector":
        """Loaded in a thread, when somebody first looks: a worker need not wait for what draws pages."""
        if self._inspector is None:
            self._inspector = asyncio.create_task(_open_inspector(settings, self._readiness, lambda: self._token))
        return await asyncio.shield(self._inspector)

    def _may_read(self, authorization: str) -> bool:
        if not self._token:
            return True
        kind, _, token = authorization.partition(" ")
        given = token.strip().encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, self._token.encode()) and kind.lower() == "bearer"


async def _open_inspector(
    settings: Settings, readiness: Callable[[], Awaitable[ReadinessPage]], token: Callable[[], str]
) -> "Inspector":
    module = await asyncio.to_thread(importlib.import_module, "hookline.admin.inspector.pages")
    inspector: Inspector = module.Inspector(settings, readiness, token)
    return inspector


class _Connection(web.RequestHandler):
    """A connection that logs no error of its client, whose text would quote the request, and tells no versions."""

    __slots__ = ()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if not resp.prepared:
            resp.headers["Server"] = SERVER
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        response = web.Response(status=status, text="this is not a valid HTTP request\n")
        response.force_close()
        return response


class _Connections(web.Server):
    """Has at most 64 connections: a new one ends the oldest, which may be one that never sends anything."""

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > _MAX_CONNECTIONS:
            next(iter(self._connections)).force_close()


async def _metrics(pages: Pages) -> web.Response:
    return web.Response(body=await pages.metrics(), headers={"Content-Type": CONTENT_TYPE})


async def _health() -> web.Response:
    return _json({"status": "ok"}, 200)


async def _ready(pages: Pages) -> web.Response:
    readiness = await pages.readiness()
    return _json(readiness, 200 if readiness.ready else 503)


async def _processes(pages: Pages) -> web.Response:
    return _json(await pages.processes(), 200)


def _json(content: object, status: int) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")
