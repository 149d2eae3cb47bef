"""The inspector as a web application: which URL shows which page, to whom, and as what."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
from aiohttp import web

from hookline.admin.host_names import is_own_name
from hookline.admin.inspector.asked import Asked, WrongQuestion
from hookline.admin.inspector.html import render
from hookline.admin.inspector.live import Live
from hookline.admin.inspector.reading import Reading
from hookline.admin.inspector.session import (
    FORM_FIELD,
    Sessions,
    is_embedded_elsewhere,
    is_own_form,
)
from hookline.admin.inspector.views import NotFound, Views
from hookline.admin.pages import ReadinessPage
from hookline.admin.settings import SERVER
from hookline.schemas.errors import HooklineError, SettingsError
from hookline.settings import Settings

log = logging.getLogger("hookline.admin")

API = "/api"
PAGE_S = 20.0
"""How long a page may take."""
SLOW_S = 10.0
"""How long a browser may take to read a message of the live view."""
_AT_ONCE = 4
"""How many pages are made at a time; the next ones wait."""
_MAX_FORM_BYTES = 16 * 2**10
_WRONG_TOKEN_S = 1.0
HEADERS: Mapping[str, str] = {
    "Server": SERVER,
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_STATIC: Mapping[str, str] = {
    "icon.svg": "image/svg+xml",
    "inspector.css": "text/css",
    "inspector.js": "text/javascript",
}

View = Callable[[Asked], Awaitable[Any]]


class Inspector:
    """Answers requests for pages. `readiness` is that of the process, and `token` gives the token of now."""

    def __init__(
        self, settings: Settings, readiness: Callable[[], Awaitable[ReadinessPage]], token: Callable[[], str]
    ) -> None:
        self._settings = settings
        self._reading = Reading(settings)
        views = Views(self._reading, readiness)
        self._replays = views.replay
        self._live = Live(self._reading)
        self._sessions = Sessions(token)
        self._making = asyncio.Semaphore(_AT_ONCE)
        self._views: Mapping[str, tuple[str, View]] = {
            "/": ("overview", views.overview),
            "/events": ("events", views.events),
            "/event": ("event", views.event),
            "/rooms": ("rooms", views.rooms),
            "/room": ("room", views.room),
            "/queues": ("queues", views.queues),
            "/dead": ("dead", views.dead),
            "/refused": ("refused", views.refused),
            "/refusal": ("refusal", views.refusal),
            "/sources": ("sources", views.sources),
        }
        self._others: Mapping[tuple[str, str], Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]] = {
            ("GET", "/live"): self._show_live,
            ("GET", "/live/stream"): self._stream,
            ("POST", "/dead/replay"): self._replay,
            ("POST", f"{API}/dead/replay"): self._replay,
            ("POST", "/logout"): self._logout,
        }
        self._static = {f"/static/{name}": _static(name, kind) for name, kind in _STATIC.items()}

    async def close(self) -> None:
        await self._reading.close()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The response, with the headers that keep foreign pages and scripts away."""
        try:
            response = await self._answer(request)
        except _ANSWERED as error:
            response = self._problem(request, *_status_and_text(error))
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path in self._static:
            return _response(*self._static[request.path])
        if not self._sessions.needs_token and not is_own_name(
            request.headers.get("Host", ""), self._settings.admin.hosts
        ):
            raise _Problem(403, _FOREIGN_NAME)
        if is_embedded_elsewhere(request):
            raise _Problem(403, _EMBEDDED)
        if request.path == "/login":
            return await self._login(request)
        if not self._sessions.may_look(request):
            return self._turned_away(request)
        answer = self._others.get((request.method, request.path), self._show)
        return await answer(request)

    async def _show(self, request: web.BaseRequest) -> web.Response:
        """A page, as HTML or JSON."""
        if request.method not in ("GET", "HEAD"):
            raise _Problem(405, f"There is nothing to do at {request.path}.")
        path = request.path.removeprefix(API) or "/" if _is_api(request) else request.path
        found = self._views.get(path)
        if found is None:
            raise _Problem(404, f"There is no page {request.path}.")
        name, make = found
        content = await self._made(make, _asked(request.query_string))
        return _json(content) if _is_api(request) else self._page(name, request, {"page": content})

    async def _made(self, make: View, asked: Asked) -> Any:
        async with asyncio.timeout(PAGE_S), self._making:
            return await make(asked)

    async def _replay(self, request: web.BaseRequest) -> web.Response:
        form = await self._own_form(request)
        result = await self._made(self._replays, form)
        if not result.dry_run:
            log.info("the inspector replayed %d dead letters of %s", result.replayed, result.queue)
        return _json(result) if _is_api(request) else self._page("replay", request, {"page": result, "asked": form})

    async def _own_form(self, request: web.BaseRequest) -> Asked:
        """The fields of a form that the holder of the token has sent on purpose."""
        form = await _form(request)
        if not self._sessions.may_act(request, form.get(FORM_FIELD, "")):
            raise _Problem(403, _FOREIGN_FORM if self._sessions.needs_token else _NO_ACTIONS)
        return form

    async def _login(self, request: web.BaseRequest) -> web.Response:
        if request.method != "POST":
            to = _own_path(_asked(request.query_string).get("to", ""))
            return self._page("login", request, {"to": to, "wrong": False})
        form = await _form(request)
        to = _own_path(form.get("to", ""))
        if not is_own_form(request) or not self._sessions.is_token(form.get("token", "").strip()):
            await asyncio.sleep(_WRONG_TOKEN_S)
            return self._page("login", request, {"to": to, "wrong": True}, 403)
        response = web.Response(status=303, headers={"Location": to})
        self._sessions.open(response, request)
        return response

    async def _logout(self, request: web.BaseRequest) -> web.Response:
        await self._own_form(request)
        response = web.Response(status=303, headers={"Location": "/login"})
        self._sessions.end(response)
        return response

    def _turned_away(self, request: web.BaseRequest) -> web.Response:
        """Ask a browser for the token, and tell a program how to send it."""
        if request.method != "GET" or _is_api(request) or request.path == "/live/stream":
            return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"}, text="a token is needed\n")
        to = urlencode({"to": request.raw_path})
        return web.Response(status=303, headers={"Location": f"/login?{to}"})

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._live.is_full:
            return web.Response(status=503, text="too many live views\n", headers={"Retry-After": "30"})
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            async with aclosing(self._live.messages()) as messages:
                async for message in messages:
                    async with asyncio.timeout(SLOW_S):
                        await response.write(message)
        except OSError:  # the browser is gone, or reads nothing: a time-out is one, too
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _show_live(self, request: web.BaseRequest) -> web.Response:
        return self._page("live", request, {})

    def _problem(self, request: web.BaseRequest, status: int, text: str) -> web.Response:
        if _is_api(request):
            return _json({"error": text}, status)
        return self._page("problem", request, {"text": text}, status)

    def _page(self, name: str, request: web.BaseRequest, content: Mapping[str, Any], status: int = 200) -> web.Response:
        may_look = self._sessions.may_look(request)
        html = render(
            name,
            path=request.path,
            may_look=may_look,
            proof=self._sessions.proof(request),
            has_token=self._sessions.needs_token,
            bodies=self._settings.inspector.bodies,
            **content,
        )
        return _response(html.encode("utf-8", "replace"), "text/html", status)


_NO_ACTIONS = 'Actions need a token: set token = "…" under [admin], and start the process again.'
_FOREIGN_FORM = "This form is not of your session: reload its page."
_EMBEDDED = "No other site may embed this page."
_FOREIGN_NAME = (
    "Without a token the inspector answers only under an address of this machine, such as http://127.0.0.1, "
    'or http://localhost. For other names set token = "…" under [admin], or list them: hosts = ["name"].'
)


class _Problem(Exception):
    """A request that gets a page with a sentence instead of what it asked for."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


_ANSWERED = (_Problem, NotFound, HooklineError, TimeoutError, ValueError)


def _status_and_text(error: Exception) -> tuple[int, str]:
    text, status = str(error), 400
    match error:
        case _Problem():
            status = error.status
        case NotFound() | SettingsError():
            status = 404
        case HooklineError():
            status = 503
        case TimeoutError():
            status, text = 503, f"it took longer than {PAGE_S:g} s"
        case WrongQuestion():
            pass
        case _:
            text = "the request cannot be read"
    return status, text


def _is_api(request: web.BaseRequest) -> bool:
    return request.path == API or request.path.startswith(f"{API}/")


def _json(content: object, status: int = 200) -> web.Response:
    return _response(msgspec.json.encode(content), "application/json", status)


def _static(name: str, kind: str) -> tuple[bytes, str]:
    return files("hookline.admin.inspector").joinpath("static", name).read_bytes(), kind


def _response(content: bytes, kind: str, status: int = 200) -> web.Response:
    is_text = kind.startswith("text/")
    return web.Response(body=content, status=status, content_type=kind, charset="utf-8" if is_text else None)


def _asked(query: str) -> Asked:
    return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=32))


async def _form(request: web.BaseRequest) -> Asked:
    """The fields of a form, which is small."""
    body = b""
    try:
        async with asyncio.timeout(PAGE_S):
            while len(body) <= _MAX_FORM_BYTES and (more := await request.content.readany()):
                body += more
    except web.RequestPayloadError:
        raise _Problem(400, "The form is incomplete.") from None
    if len(body) > _MAX_FORM_BYTES:
        raise _Problem(413, "The form is too large.")
    return _asked(body.decode("ascii"))


def _own_path(text: str) -> str:
    """A path of ours to go on to; `/` for anything that might lead elsewhere."""
    is_ours = text.startswith("/") and not text.startswith("//") and text.isprintable() and "\\" not in text
    return text if is_ours else "/"
