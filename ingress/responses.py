"""The HTTP responses: the provider's reply, health, and one table from error to status."""

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

import msgspec
from aiohttp import HttpVersion, HttpVersion10, HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from hookline.schemas import errors
from hookline.schemas.errors import NotDurable, Refused
from hookline.schemas.provider import Reply

STATUS: Mapping[type[Refused], int] = {
    errors.MalformedRequest: 400,
    errors.MissingSignature: 401,
    errors.BadSignature: 401,
    errors.RefusedAddress: 401,
    errors.StaleTimestamp: 401,
    errors.UnknownSource: 404,
    errors.MethodNotAllowed: 405,
    errors.SlowRequest: 408,
    errors.LengthRequired: 411,
    errors.BodyTooLarge: 413,
    errors.UnsupportedEncoding: 415,
    errors.ExpectationFailed: 417,
    errors.TooManyRequests: 429,
    # Never 500: NetEase counts that as delivered.
    errors.Overloaded: 503,
    errors.NotDurable: 503,
}
_HEADERS: Mapping[type[Refused], Mapping[str, str]] = {
    errors.MethodNotAllowed: {"Allow": "POST"},
    errors.TooManyRequests: {"Retry-After": "10"},
    errors.Overloaded: {"Retry-After": "5"},
    errors.NotDurable: {"Retry-After": "5"},
}
# After these the connection stays open: the request was read to its end.
_KEEPS_OPEN = (errors.Unverified, errors.NotDurable)
_SERVER = {"Server": "hookline"}  # aiohttp would name itself and its version
_CONNECTION = {(HttpVersion11, False): "Connection: close\r\n", (HttpVersion10, True): "Connection: keep-alive\r\n"}


class Accepted(web.StreamResponse):
    """The provider's reply: the bytes of a `web.Response`, encoded once a second instead of for each request."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(status=reply.status)
        self._reply = reply

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        await request.writer.write(reply_bytes(self._reply, request.version, int(time.time()), self._keep_alive))
        await request.writer.drain()
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


@lru_cache(maxsize=64)
def reply_bytes(reply: Reply, version: HttpVersion, unix_s: int, keep_alive: bool) -> bytes:  # noqa: FBT001  quicker
    """The whole response to an accepted request, as aiohttp would write it."""
    return (
        f"HTTP/{version.major}.{version.minor} {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
        f"Server: {_SERVER['Server']}\r\n"
        f"Content-Type: {reply.content_type}\r\n"
        f"Content-Length: {len(reply.body)}\r\n"
        f"Date: {formatdate(unix_s, usegmt=True)}\r\n"
        f"{_CONNECTION.get((version, keep_alive), '')}\r\n"
    ).encode() + reply.body


def refused(refusal: Refused, status: int | None = None) -> web.Response:
    """The response to a request that is not accepted; `status` where HTTP has a more exact one than the table."""
    body = msgspec.json.encode({"error": {"code": refusal.reason, "message": str(refusal)}})
    kind = type(refusal)
    headers = {**_SERVER, **_HEADERS.get(kind, {})}
    response = web.Response(body=body, status=status or STATUS[kind], content_type="application/json", headers=headers)
    if not isinstance(refusal, _KEEPS_OPEN):
        response.force_close()
    return response


def unavailable() -> web.Response:
    """The response to a request that failed because of an error of ours."""
    return refused(NotDurable("the event could not be stored now"))


def health(*, status: str, reason: str, ok: bool) -> web.Response:
    """The response to a load balancer."""
    body = msgspec.json.encode({"status": status, "reason": reason} if reason else {"status": status})
    return web.Response(body=body, status=200 if ok else 503, content_type="application/json", headers=_SERVER)
