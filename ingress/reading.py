"""Reading one request: what HTTP allows and we do not, and a body within bounds of size and time."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from hookline.schemas.envelope import MAX_CONTENT_TYPE_CHARACTERS
from hookline.schemas.errors import (
    BodyTooLarge,
    ExpectationFailed,
    LengthRequired,
    MalformedRequest,
    MethodNotAllowed,
    SlowRequest,
    UnsupportedEncoding,
)

_MEDIA_TYPES = frozenset(
    {"", "application/json", "text/json", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded"}
)
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})


def check_target(request: web.BaseRequest) -> str:
    """The path of the request as it was sent, without the query.

    Raises MalformedRequest for another HTTP than 1.0 and 1.1, and for a target that names a host: a name that the
    client chose must not get anywhere.
    """
    if request.version not in (HttpVersion11, HttpVersion10):
        raise MalformedRequest("HTTP/1.1 is spoken here")
    path = request.raw_path.partition("?")[0]
    if not path.startswith("/"):
        raise MalformedRequest("the request target is not a path")
    return path


def query_of(request: web.BaseRequest) -> str:
    return request.raw_path.partition("?")[2]


def check_head(request: web.BaseRequest, max_body_bytes: int) -> None:
    """Raise what the head alone shows to be wrong, before any of the body is read."""
    headers = request.headers
    if request.method != "POST":
        if not request.method.isupper():
            raise MalformedRequest("HTTP methods are upper case")
        raise MethodNotAllowed("callbacks come by POST")
    length = request.content_length
    _check_framing(request, length)
    if hdrs.EXPECT in headers and not _all(headers.getall(hdrs.EXPECT), "100-continue"):
        raise ExpectationFailed("that expectation cannot be met")
    if (length or 0) > max_body_bytes:
        raise BodyTooLarge(f"a body may have {max_body_bytes} bytes")
    if hdrs.CONTENT_ENCODING in headers and not _all(headers.getall(hdrs.CONTENT_ENCODING), "identity"):
        raise UnsupportedEncoding("bodies are taken as they are signed: uncompressed")
    if not _is_json_like(headers.get(hdrs.CONTENT_TYPE, "")):
        raise UnsupportedEncoding("callbacks are JSON in UTF-8")


def _all(values: Sequence[str], expected: str) -> bool:
    return all(value.lower() == expected for value in values)


def _check_framing(request: web.BaseRequest, length: int | None) -> None:
    codings = request.headers.getall(hdrs.TRANSFER_ENCODING, ())
    if not codings:
        if length is None:
            raise LengthRequired("the body needs a Content-Length")
    elif [coding.lower() for coding in codings] != ["chunked"] or request.version != HttpVersion11:
        raise MalformedRequest("the framing of the body is not HTTP/1.1's")


@lru_cache(maxsize=256)
def _is_json_like(content_type: str) -> bool:
    """Whether a body of this type can be what a provider sends. Some name no type, or their client's default."""
    if len(content_type) > MAX_CONTENT_TYPE_CHARACTERS or not (content_type.isascii() and content_type.isprintable()):
        return False
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = {part.partition("=")[2].strip('" ') for part in parameters if part.startswith("charset=")}
    return (media_type in _MEDIA_TYPES or media_type.endswith("+json")) and charsets <= _CHARSETS


async def read_body(request: web.BaseRequest, max_body_bytes: int, timeout_s: float) -> bytes:
    """The exact bytes of the body. Raises BodyTooLarge, SlowRequest, or MalformedRequest if it breaks off."""
    if hdrs.EXPECT in request.headers and request.version == HttpVersion11 and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        if request.content.is_eof():  # nearly always: a callback comes in one segment
            return _bounded(request.content.read_nowait(), max_body_bytes)
        async with asyncio.timeout(timeout_s):
            return await _read(request, max_body_bytes)
    except TimeoutError:
        raise SlowRequest(f"the body did not arrive within {timeout_s:g} s") from None
    except (web.RequestPayloadError, ConnectionError):
        raise MalformedRequest("the body is broken off") from None


async def _read(request: web.BaseRequest, max_body_bytes: int) -> bytes:
    chunks, size = [], 0
    while size <= max_body_bytes and not request.content.at_eof():
        chunk = await request.content.readany()
        chunks.append(chunk)
        size += len(chunk)
    return _bounded(b"".join(chunks), max_body_bytes)


def _bounded(body: bytes, max_body_bytes: int) -> bytes:
    if len(body) > max_body_bytes:
        raise BodyTooLarge(f"a body may have {max_body_bytes} bytes")
    return body
