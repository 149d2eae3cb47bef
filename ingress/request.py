"""Reading one request: its head is checked more strictly than HTTP asks, its body is bounded in size and time."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from aiohttp import HttpVersion, HttpVersion10, HttpVersion11, StreamReader, hdrs, web
from aiohttp.http_parser import RawRequestMessage
from multidict import MultiMapping

from hookline.ingress.client_address import Network, limited_client
from hookline.ingress.connection import IngressConnection
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
    {
        "",
        "*/*",
        "application/json",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "text/html",
        "text/json",
        "text/plain",
    }
)
# Old Java clients write ISO-8859-1 beside whatever they send. A body that is not UTF-8 is kept as unreadable.
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "iso8859-1"})


class Head(Protocol):
    """What is checked of a request before its body is read: of one that arrives, or of one in a file."""

    @property
    def version(self) -> HttpVersion: ...
    @property
    def method(self) -> str: ...
    @property
    def raw_path(self) -> str: ...
    @property
    def headers(self) -> MultiMapping[str]: ...
    @property
    def content_length(self) -> int | None: ...


def check_target(request: Head) -> None:
    """Raise MalformedRequest unless this is HTTP/1.0 or 1.1, and the target is a path.

    A target that names a host is refused: a name that the client chose must not get anywhere.
    """
    if request.version not in (HttpVersion11, HttpVersion10):
        raise MalformedRequest("only HTTP/1.1 and HTTP/1.0 are supported")
    if not request.raw_path.startswith("/"):
        raise MalformedRequest("the request target is not a path")


def ordinary_body(head: RawRequestMessage, body: StreamReader | bytes, max_body_bytes: int) -> bytes | None:
    """The body of a whole request that is a usual callback: `check_head` has nothing against it, and costs more.

    None for any other. A body without chunks has a Content-Length, which the parser has compared with it, and no
    Transfer-Encoding. Bytes are such a body. In a stream it is nearly always the one piece in the buffer, which is
    private: `read_nowait` takes six calls for it.
    """
    headers = head.headers
    if (
        head.method != hdrs.METH_POST
        or (head.version is not HttpVersion11 and head.version is not HttpVersion10)
        or hdrs.EXPECT in headers
        or hdrs.CONTENT_ENCODING in headers
        or not _is_json_like(headers.get(hdrs.CONTENT_TYPE, ""))
    ):
        return None
    if isinstance(body, bytes):
        return body if len(body) <= max_body_bytes else None
    if not 0 < body.total_bytes <= max_body_bytes or head.chunked or head.upgrade:
        return None
    pieces = body._buffer  # noqa: SLF001
    return pieces[0] if len(pieces) == 1 else body.read_nowait()


def check_head(request: Head, max_body_bytes: int) -> None:
    """Refuse what the head alone shows to be wrong, before any of the body is read."""
    check_target(request)
    headers = request.headers
    if request.method != "POST":
        if not request.method.isupper():
            raise MalformedRequest("HTTP methods are upper case")
        raise MethodNotAllowed("a callback is a POST request")
    _check_framing(request)
    if hdrs.EXPECT in headers and not _all(headers.getall(hdrs.EXPECT), "100-continue"):
        raise ExpectationFailed("only the expectation 100-continue is supported")
    if (request.content_length or 0) > max_body_bytes:
        raise _too_large(f"{request.content_length:,}", max_body_bytes)
    if hdrs.CONTENT_ENCODING in headers and not _all(headers.getall(hdrs.CONTENT_ENCODING), "identity"):
        raise UnsupportedEncoding("the body must not be compressed")
    if not _is_json_like(headers.get(hdrs.CONTENT_TYPE, "")):
        raise UnsupportedEncoding("the body must be JSON in UTF-8")


def _check_framing(request: Head) -> None:
    codings = request.headers.getall(hdrs.TRANSFER_ENCODING, ())
    if not codings:
        if request.content_length is None:
            raise LengthRequired("the body needs a Content-Length")
    elif [coding.lower() for coding in codings] != ["chunked"] or request.version != HttpVersion11:
        raise MalformedRequest("the framing of the body is not that of HTTP/1.1")


def _all(values: Sequence[str], expected: str) -> bool:
    return all(value.lower() == expected for value in values)


@lru_cache(maxsize=256)
def _is_json_like(content_type: str) -> bool:
    """Whether a provider's callback may have this type. Some providers send no type, or their HTTP client's default."""
    if len(content_type) > MAX_CONTENT_TYPE_CHARACTERS or not (content_type.isascii() and content_type.isprintable()):
        return False
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = {part.partition("=")[2].strip('" ') for part in parameters if part.startswith("charset=")}
    return (media_type in _MEDIA_TYPES or media_type.endswith("+json")) and charsets <= _CHARSETS


async def read_body(
    request: web.BaseRequest, max_body_bytes: int, timeout_s: float, trusted: Sequence[Network] = ()
) -> bytes:
    """The exact bytes of the body.

    Raises Overloaded, BodyTooLarge, SlowRequest, or MalformedRequest if the connection breaks.
    """
    connection: IngressConnection = request.protocol  # type: ignore[assignment]  # no others are made
    if connection.is_overloaded:
        connection.check_room()
    try:
        if request.content.is_eof():  # nearly always: a callback arrives in one segment
            body = request.content.read_nowait()
        else:
            body = await _read_rest(request, max_body_bytes, timeout_s, trusted)
    except (web.RequestPayloadError, OSError) as error:  # of TLS, too: ssl.SSLError is one
        error.__traceback__ = None  # its frames hold the stream, which holds the error
        raise MalformedRequest("the body is incomplete") from None
    if len(body) > max_body_bytes:
        raise _too_large(f"{len(body):,} or more", max_body_bytes)
    return body


def _too_large(size: str, max_body_bytes: int) -> BodyTooLarge:
    said = f"the body has {size} bytes, and {max_body_bytes:,} are allowed"
    return BodyTooLarge(f"the body is larger than {max_body_bytes} bytes", for_operator=said)


async def _read_rest(
    request: web.BaseRequest, max_body_bytes: int, timeout_s: float, trusted: Sequence[Network]
) -> bytes:
    connection: IngressConnection = request.protocol  # type: ignore[assignment]  # no others are made
    if connection.transport is None:  # lost before the request's task began: nothing ends the read of its body
        raise MalformedRequest("the body is incomplete")
    connection.begin_body(request.content_length or 0, limited_client(request, trusted))
    try:
        async with asyncio.timeout(None) as connection.reading:
            if hdrs.EXPECT in request.headers and request.version == HttpVersion11 and request.transport is not None:
                request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await _read(request.content, max_body_bytes)
    except TimeoutError:
        connection.check_room()
        arrived = f"{request.content.total_bytes:,} of {_announced(request)} bytes had arrived"
        text = f"the body did not arrive within {timeout_s:g} s"
        raise SlowRequest(text, for_operator=f"{text}: {arrived}") from None
    finally:
        connection.end_body()
    await connection.turns.wait(len(body))
    return body


def _announced(request: web.BaseRequest) -> str:
    return "an unknown number of" if request.content_length is None else f"{request.content_length:,}"


async def _read(content: StreamReader, max_body_bytes: int) -> bytes:
    """All of the body, or more than the allowed bytes of it."""
    chunks, size = [], 0
    while size <= max_body_bytes and not content.at_eof():
        chunk = await content.readany()
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)
