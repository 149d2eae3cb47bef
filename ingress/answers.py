"""From error to HTTP answer, in one table."""

from collections.abc import Mapping

import msgspec
from aiohttp import web

from schemas import errors
from schemas.errors import Refused
from schemas.provider import Reply

STATUS: Mapping[type[Refused], int] = {
    errors.MalformedRequest: 400,
    errors.MissingSignature: 401,
    errors.BadSignature: 401,
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
    errors.NotDurable: 503,
}
_HEADERS: Mapping[type[Refused], Mapping[str, str]] = {
    errors.MethodNotAllowed: {"Allow": "POST"},
    errors.TooManyRequests: {"Retry-After": "10"},
    errors.NotDurable: {"Retry-After": "5"},
}
# After these the connection can go on: the request was read to its end.
_KEEPS_OPEN = (errors.Unverified, errors.NotDurable)
_SERVER = {"Server": "hookline"}  # aiohttp would name itself and its version


def accepted(reply: Reply) -> web.Response:
    return web.Response(body=reply.body, status=reply.status, content_type=reply.content_type, headers=_SERVER)


def refused(refusal: Refused, status: int | None = None) -> web.Response:
    """The answer to a request that is not accepted; `status` where HTTP has a finer one than the table."""
    body = msgspec.json.encode({"error": {"code": refusal.reason, "message": str(refusal)}})
    kind = type(refusal)
    headers = {**_SERVER, **_HEADERS.get(kind, {})}
    response = web.Response(body=body, status=status or STATUS[kind], content_type="application/json", headers=headers)
    if not isinstance(refusal, _KEEPS_OPEN):
        response.force_close()
    return response


def health(*, status: str, ok: bool) -> web.Response:
    """The answer to a load balancer."""
    return accepted(Reply(msgspec.json.encode({"status": status}), 200 if ok else 503))
