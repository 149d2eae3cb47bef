"""Reading messages from frames: assembling them, and decoding the properties that Hookline uses."""

import struct
from collections.abc import Callable
from typing import Any

from pamqp import decode
from pamqp.header import ContentHeader

from hookline.broker.rabbitmq.wire.frame_transport import HEADER, METHOD
from hookline.schemas.envelope import (
    ID_HEADER,
    RECEIVED_AT_HEADER,
    SOURCE_HEADER,
    SPEC_VERSION_HEADER,
    SUBJECT_HEADER,
    TIME_HEADER,
    TYPE_HEADER,
)
from hookline.schemas.errors import Unreadable

_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS = 0x8000, 0x4000, 0x2000
_TEXT, _X = ord("S"), ord("x")
_BROKEN = (ValueError, LookupError, ArithmeticError, OSError, TypeError, RecursionError, struct.error)
_body_size = struct.Struct(">Q").unpack_from
_flags = struct.Struct(">H").unpack_from
_length = struct.Struct(">I").unpack_from
_delivery_tag = struct.Struct(">Q").unpack_from
_TABLE_AT = 4  # the length of the table comes first
# The headers of an envelope in the order of `encode`: the name, the bytes before the value's length, and their number.
_ENVELOPE_FIELDS = tuple(
    (name, f"{chr(len(name))}{name}S\0\0\0", len(name) + 6)
    for name in (
        ID_HEADER,
        SOURCE_HEADER,
        TYPE_HEADER,
        SUBJECT_HEADER,
        TIME_HEADER,
        SPEC_VERSION_HEADER,
        RECEIVED_AT_HEADER,
    )
)


class Assembly:
    """Assembles the messages of one channel that start with `method`; calls `complete` with method, header and body."""

    def __init__(self, method: bytes, complete: Callable[[bytes, bytes, bytes], None]) -> None:
        self._wanted = method
        self._complete = complete
        self._method = self._header = b""
        self._parts: list[bytes] = []
        self._missing_bytes = 0

    def frame(self, kind: int, payload: bytes) -> bool:
        """Whether the frame is part of such a message."""
        if kind == METHOD:
            if not payload.startswith(self._wanted):
                return False
            self._method = payload
            return True
        if not self._method:  # the content of another method
            return False
        if kind == HEADER:
            self._header = payload
            self._missing_bytes = _body_size(payload, 4)[0]
        else:
            self._missing_bytes -= len(payload)
            if self._parts or self._missing_bytes > 0:
                self._parts.append(payload)
        if self._missing_bytes <= 0:
            body = b"".join(self._parts) if self._parts else b"" if kind == HEADER else payload
            method, self._method = self._method, b""
            self._parts.clear()
            self._complete(method, self._header, body)
        return True


def delivery(method: bytes, header: bytes) -> tuple[int, str, dict[str, Any], bool]:
    """The delivery tag, content type and headers of a Basic.Deliver and its content header.

    The last item is True if all headers are texts and none is set by the server. Properties that cannot be read are
    left out.
    """
    tag = delivery_tag(method)
    try:
        content_type, table = content_type_and_table(header)
        plain = texts(table)
        return (tag, content_type, values(table), False) if plain is None else (tag, content_type, plain, True)
    except Unreadable:
        return tag, "", {}, True


def delivery_tag(deliver: bytes) -> int:
    """The delivery tag of a Basic.Deliver, which follows the consumer tag."""
    return int(_delivery_tag(deliver, 5 + deliver[4])[0])


def message_id(header: bytes) -> str:
    """The message id of a content header. Raises Unreadable."""
    content = ContentHeader()
    try:
        content.unmarshal(header)
    except _BROKEN:
        raise Unreadable("a content header of RabbitMQ") from None
    return content.properties.message_id or ""


def content_type_and_table(header: bytes) -> tuple[str, bytes]:
    """The content type and the header table. The server does not check them. Raises Unreadable."""
    try:
        (flags,) = _flags(header, 12)
        at, content_type = 14, ""
        if flags & _CONTENT_TYPE:
            at += 1 + header[at]
            content_type = str(header[15:at], "utf-8", "replace")
        if flags & _CONTENT_ENCODING:
            at += 1 + header[at]
        end = at + 4 + _length(header, at)[0] if flags & _HEADERS else at
    except _BROKEN:
        raise Unreadable("the properties of a message") from None
    return content_type, header[at:end]


def texts(table: bytes) -> dict[str, str] | None:
    """A header table of texts, as Hookline writes them; None for one with other values or with headers of a server.

    Raises Unreadable.
    """
    end = len(table)
    try:
        found, at = _envelope_texts(table)
        while at < end:
            value = at + 1 + table[at]
            if table[value] != _TEXT or table[at + 1] == _X:
                return None
            after = value + 5 + _length(table, value + 1)[0]
            found[str(table[at + 1 : value], "utf-8", "replace")] = str(table[value + 5 : after], "utf-8", "replace")
            at = after
    except _BROKEN:
        raise Unreadable("the headers of a message") from None
    return found


def _envelope_texts(table: bytes) -> tuple[dict[str, str], int]:
    """The first texts of a table, as far as they are those of an envelope, and where the next one begins.

    They are read in half the time of others, and messages share their names. Each is ASCII and shorter than 128 bytes.
    """
    found: dict[str, str] = {}
    fields = table[_TABLE_AT:]
    if not fields.isascii():
        return found, _TABLE_AT
    text, at = fields.decode(), 0
    for name, before, size in _ENVELOPE_FIELDS:
        start = at + size
        if text[at : start - 1] != before:
            break
        at = start + fields[start - 1]
        found[name] = text[start:at]
    return found, _TABLE_AT + at


def values(table: bytes) -> dict[str, Any]:
    """A header table with values of any type. Raises Unreadable."""
    if not table:
        return {}
    try:
        return decode.field_table(table)[1]
    except _BROKEN:
        raise Unreadable("the headers of a message") from None
