"""Reads one HTTP request from the bytes of a file, as inspectors and proxies save it."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import HttpVersion, HttpVersion10, HttpVersion11, hdrs
from multidict import CIMultiDict, CIMultiDictProxy, MultiMapping

_REQUEST_LINE = re.compile(rb"([A-Za-z]+)[ \t]+(\S+)(?:[ \t]+HTTP/([0-9])(?:\.([0-9]))?)?[ \t]*")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[^\r\n]*)?\r?\n")
_LINE_ENDS = b"\r\n"
_BLANKS = b" \t"
_MAX_DIGITS = 18


class NotARequest(ValueError):
    """The bytes are no HTTP request. The text says where they stop being one, and quotes nothing."""


@dataclass(frozen=True, slots=True)
class CapturedRequest:
    """A request as it was sent. `notes` say what of the file was taken otherwise than it stands there."""

    method: str
    raw_path: str
    version: HttpVersion
    headers: CIMultiDictProxy[str]
    body: bytes
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return self.raw_path.partition("?")[0]

    @property
    def query(self) -> str:
        return self.raw_path.partition("?")[2]

    @property
    def content_length(self) -> int | None:
        """The size that the head announces."""
        return _announced(self.headers)


def read_request(data: bytes) -> CapturedRequest:
    """The request in these bytes, whose lines may end in LF alone. Raises NotARequest."""
    data = data.removeprefix(b"\xef\xbb\xbf").lstrip(_LINE_ENDS)
    end = _END_OF_HEAD.search(data)
    head, body = (data[: end.start()], data[end.end() :]) if end else (data.rstrip(_LINE_ENDS), b"")
    first, *lines = head.replace(b"\r\n", b"\n").split(b"\n")
    method, target, version, notes = _request_line(first)
    headers = CIMultiDict(_header(number, line) for number, line in enumerate(lines, 2))
    body, of_body = _body(headers, body)
    if version is None:  # a proxy in front of the ingress translates HTTP/2, and announces the size
        version = HttpVersion11
        headers.setdefault(hdrs.CONTENT_LENGTH, str(len(body)))
    return CapturedRequest(method, target, version, CIMultiDictProxy(headers), body, (*notes, *of_body))


def _request_line(line: bytes) -> tuple[str, str, HttpVersion | None, list[str]]:
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise NotARequest("its first line is not one such as POST /hooks/krtc-main HTTP/1.1")
    method, target, major, minor = found.groups()
    path, notes = _text(target), []
    if not path.startswith("/"):
        try:
            parts = urlsplit(path)
        except ValueError:
            raise NotARequest("the URL in its first line cannot be read") from None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        notes.append("the target is a whole URL, of which the path is taken")
    if major not in (None, b"1"):
        notes.append(f"it is HTTP/{major.decode()}, which a proxy translates to HTTP/1.1")
        return _text(method), path, None, notes
    return _text(method), path, HttpVersion10 if minor == b"0" else HttpVersion11, notes


def _header(number: int, line: bytes) -> tuple[str, str]:
    found = _HEADER.fullmatch(line)
    if found is None:
        raise NotARequest(f"its line {number} is no header; a blank line ends the headers")
    return _text(found[1]), _text(found[2].strip(_BLANKS))


def _announced(headers: MultiMapping[str]) -> int | None:
    """The size that a head announces. One of many digits is cut, and is still larger than any body."""
    text = headers.get(hdrs.CONTENT_LENGTH, "")
    return int(text.lstrip("0")[:_MAX_DIGITS] or "0") if text.isascii() and text.isdigit() else None


def _body(headers: CIMultiDict[str], body: bytes) -> tuple[bytes, list[str]]:
    """The body without what the file adds to it, and what that was."""
    if headers.get(hdrs.TRANSFER_ENCODING, "").lower() == "chunked":
        joined = _unchunked(body)
        return (body, []) if joined is None else (joined, [])
    announced = _announced(headers)
    if announced is not None and len(body) > announced and not body[announced:].strip(_LINE_ENDS):
        return body[:announced], ["the line end after it in the file is left out"]
    return body, []


def _unchunked(body: bytes) -> bytes | None:
    """The body from its chunks; None if there are none, since most inspectors have joined them."""
    parts: list[bytes] = []
    place = 0
    while (found := _CHUNK.match(body, place)) is not None:
        size = int(found[1], 16)
        if not size:
            return b"".join(parts)
        parts.append(body[found.end() : found.end() + size])
        place = found.end() + size
        place += 2 if body[place : place + 2] == b"\r\n" else 1
    return None


def _text(data: bytes) -> str:
    """As aiohttp decodes a head."""
    return data.decode("utf-8", "surrogateescape")
