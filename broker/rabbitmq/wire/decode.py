"""Reading messages from frames: assembling them, and decoding the properties that Hookline uses."""

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
from pamqp import decode
from pamqp.header import ContentHeader

from hookline.broker.rabbitmq.wire.frame_transport import BODY, END, HEAD_BYTES, HEADER, METHOD
from hookline.schemas.envelope import (
    ID_HEADER,
    RECEIVED_AT_HEADER,
    SOURCE_HEADER,
    SPEC_VERSION,
    SPEC_VERSION_HEADER,
    SUBJECT_HEADER,
    TIME_HEADER,
    TYPE_HEADER,
)
from hookline.schemas.errors import Unreadable

_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS = 0x8000, 0x4000, 0x2000
_TEXT, _X = ord("S"), ord("x")
_BROKEN = (ValueError, LookupError, ArithmeticError, OSError, TypeError, RecursionError, struct.error)
_method_head = struct.Struct(">3sI4s").unpack_from  # with what says which method it is
_header_head = struct.Struct(">4sI4xQ").unpack_from  # with the end of the frame before it, and the size of the body
_body_head = struct.Struct(">4sI").unpack_from  # with the end of the frame before it
_body_size = struct.Struct(">Q").unpack_from
_flags = struct.Struct(">H").unpack_from
_length = struct.Struct(">I").unpack_from
_delivery_tag = struct.Struct(">Q").unpack_from
_BETWEEN_BYTES = 1 + HEAD_BYTES  # the end of a payload, and the head of the next frame
_TABLE_AT = 4  # the length of the table comes first
_ID_BYTES, _RECEIVED_AT_BYTES = 32, 32  # an id has 32 digits, and a time of receipt has microseconds


def _before(name: str, size: bytes = b"") -> bytes:
    """What is before a text of less than 256 bytes: `size` is the last byte of it."""
    return bytes((len(name),)) + name.encode() + b"S\0\0\0" + size


_BEFORE_ID, _BEFORE_SUBJECT, _BEFORE_TIME = _before(ID_HEADER, b" "), _before(SUBJECT_HEADER), _before(TIME_HEADER)
_BEFORE_RECEIVED_AT = _before(SPEC_VERSION_HEADER, b"\x03") + SPEC_VERSION.encode() + _before(RECEIVED_AT_HEADER, b" ")
_ORIGIN_AT = _TABLE_AT + len(_BEFORE_ID) + _ID_BYTES
# What is looked up in caches is short, also in messages of others: source and type have up to 255 bytes each.
_BEFORE_SUBJECT_ENDS = _ORIGIN_AT + len(_before(SOURCE_HEADER) + _before(TYPE_HEADER) + _BEFORE_SUBJECT) + 2 * 256


class _Layout(msgspec.Struct, frozen=True):
    """Where the texts of an envelope are in a table, whose `end` is that of the last, and what is before each of them.

    `parts` takes out all of these. The headers of source and type are one part.
    """

    parts: Callable[[bytes], tuple[bytes, ...]]
    before: tuple[bytes, ...]
    end: int


class Assembly:
    """Assembles the messages of a channel that start with `method`; calls `complete` with method, header and body."""

    def __init__(self, channel: int, method: bytes, complete: Callable[[bytes, bytes, bytes], None]) -> None:
        number = channel.to_bytes(2, "big")
        self._start = bytes((METHOD,)) + number
        self._starts = method, bytes((END, HEADER)) + number, bytes((END, BODY)) + number
        self._wanted = method
        self._complete = complete
        self._method = self._header = b""
        self._parts: list[bytes] = []
        self._missing_bytes = 0

    def whole_messages(self, data: bytes, at: int) -> int:
        """Take the whole messages that follow one another from `at`, of one body frame each, and return where they end.

        `frame` takes such messages too, and decides about all others.
        """
        if self._method:  # the next frames belong to another message
            return at
        start, starts = self._start, self._starts
        while True:
            try:
                method_start, size, method = _method_head(data, at)
                if method_start != start:  # another channel's, as mostly where a worker has several queues
                    return at
                method_at = at + HEAD_BYTES
                method_end = method_at + size
                header_start, size, body_bytes = _header_head(data, method_end)
                header_at = method_end + _BETWEEN_BYTES
                header_end = header_at + size
                body_start, size = _body_head(data, header_end)
                body_at = header_end + _BETWEEN_BYTES
                body_end = body_at + size
                is_whole = data[body_end] == END and 0 < size == body_bytes
            except (struct.error, IndexError):  # the rest has yet to arrive
                return at
            if not is_whole or (method, header_start, body_start) != starts:
                return at
            self._complete(data[method_at:method_end], data[header_at:header_end], data[body_at:body_end])
            at = body_end + 1

    def frame(self, kind: int, payload: bytes) -> bool:
        """Whether the frame is part of such a message."""
        if kind == METHOD:
            if not payload.startswith(self._wanted):
                return False
            self._method, self._header = payload, b""
            return True
        if not self._method or (kind != HEADER and not self._header):  # of another method, or without its header
            return False
        if kind == HEADER:
            self._header, body = payload, b""
            self._missing_bytes = _body_size(payload, 4)[0]
        else:
            body = payload
            self._missing_bytes -= len(payload)
            if self._parts or self._missing_bytes > 0:
                self._parts.append(payload)
        if self._missing_bytes > 0:
            return True
        if self._parts:
            body = b"".join(self._parts)
            self._parts.clear()
        method, self._method = self._method, b""
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
    tag: int = _delivery_tag(deliver, 5 + deliver[4])[0]
    return tag


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
    try:
        found, at = _envelope_texts(table)
    except (LookupError, ValueError, struct.error):  # it ends before an envelope's would, or is no UTF-8
        found, at = {}, _TABLE_AT
    end = len(table)
    try:
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
    """The first texts of a table if they are those of an envelope as `encode` writes them, and where the next begins.

    All are taken out at once, in half the time of others. Messages share the names, and those of a topic its texts.
    """
    subject_at = table.find(_BEFORE_SUBJECT, _ORIGIN_AT, _BEFORE_SUBJECT_ENDS)
    if subject_at < 0:
        return {}, _TABLE_AT
    size_at = subject_at + len(_BEFORE_SUBJECT)
    size = table[size_at]
    layout = _layout(subject_at - _ORIGIN_AT, size, table[size_at + 1 + size + len(_BEFORE_TIME)])
    before_id, event_id, origin, before_subject, subject, before_time, time, before_received_at, received_at = (
        layout.parts(table)
    )
    topic = _source_and_type(origin)
    if topic is None or (before_id, before_subject, before_time, before_received_at) != layout.before:
        return {}, _TABLE_AT
    source, event_type = topic
    found = {
        ID_HEADER: event_id.decode(),
        SOURCE_HEADER: source,
        TYPE_HEADER: event_type,
        SUBJECT_HEADER: subject.decode(),
        TIME_HEADER: time.decode(),
        SPEC_VERSION_HEADER: SPEC_VERSION,
        RECEIVED_AT_HEADER: received_at.decode(),
    }
    return found, layout.end


@lru_cache(maxsize=4096)  # one for each length of source and type, of subject and of time
def _layout(origin_bytes: int, subject_bytes: int, time_bytes: int) -> _Layout:
    before_subject, before_time = _BEFORE_SUBJECT + bytes((subject_bytes,)), _BEFORE_TIME + bytes((time_bytes,))
    sizes = (
        len(_BEFORE_ID),
        _ID_BYTES,
        origin_bytes,
        len(before_subject),
        subject_bytes,
        len(before_time),
        time_bytes,
        len(_BEFORE_RECEIVED_AT),
        _RECEIVED_AT_BYTES,
    )
    parts = struct.Struct(f"{_TABLE_AT}x" + "".join(f"{size}s" for size in sizes))
    return _Layout(parts.unpack_from, (_BEFORE_ID, before_subject, before_time, _BEFORE_RECEIVED_AT), parts.size)


@lru_cache(maxsize=4096)  # one for each topic
def _source_and_type(fields: bytes) -> tuple[str, str] | None:
    """The texts of these two fields; None for any others."""
    at, found = 0, []
    for name in (SOURCE_HEADER, TYPE_HEADER):
        before, start = _before(name), at + len(_before(name)) + 1
        if fields[at : start - 1] != before:
            return None
        at = start + fields[start - 1]
        found.append(fields[start:at].decode())
    return (found[0], found[1]) if at == len(fields) else None


def values(table: bytes) -> dict[str, Any]:
    """A header table with values of any type. Raises Unreadable."""
    if not table:
        return {}
    try:
        return decode.field_table(table)[1]
    except _BROKEN:
        raise Unreadable("the headers of a message") from None
