"""Writing messages as AMQP frames. Parts that many messages share are cached. A contract test compares with pamqp."""

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from typing import TypeAlias

import msgspec

from hookline.schemas.envelope import (
    ID_HEADER,
    QUERY_HEADER,
    RECEIVED_AT_HEADER,
    SOURCE_HEADER,
    SPEC_VERSION,
    SPEC_VERSION_HEADER,
    SUBJECT_HEADER,
    TIME_HEADER,
    TRACE_HEADER,
    TYPE_HEADER,
    Envelope,
    iso_bytes,
    origin,
)
from hookline.schemas.errors import NotDurable, Obstacle

_MAX_SHORT_BYTES = 255  # of an AMQP short string
_END = b"\xce"
_METHOD, _HEADER, _BODY = 1, 2, 3
_BASIC, _PUBLISH, _ACK = 60, 40, 80
_MANDATORY = b"\x01"
_FLAGS = 0x8000 | 0x2000 | 0x1000 | 0x0080  # content_type, headers, delivery_mode, message_id
_EXPIRES = 0x0100
_PERSISTENT = b"\x02"
_BEFORE_PROPERTIES_BYTES = 14
_ACK_BYTES = 13
_MAX_COPIED_BYTES = 16 * 1024
_MAX_NAMES = 200
_MAX_OTHERS = 500  # characters, of up to four bytes each
_MAX_FIELDS, _MAX_NAMES_OF_MESSAGE, _MAX_VALUES = 32, 700, 700  # of a message: together less than 3,800 bytes
_frame = Struct(">BHI").pack
_publish = Struct(">HHH").pack
_ack = Struct(">BHIHHQBB").pack
_content = Struct(">BHIHHQH").pack
_long = Struct(">I").pack


Frames: TypeAlias = list[bytes | memoryview]


class Message(msgspec.Struct, frozen=True):
    """A message to publish. It is persistent and must reach a queue, where it expires after `expiration_ms`."""

    exchange: str
    routing_key: str
    headers: Mapping[str, str]
    content_type: str
    body: bytes
    expiration_ms: int | None = None


def publish_frames(channel: int, message: Message, message_id: str, max_content_bytes: int) -> Frames:
    """Basic.Publish, content header and body, to be written in this order. A large body is not copied.

    Raises NotDurable for a message that does not fit into frames.
    """
    method = _publish_method(channel, message.exchange, message.routing_key)
    table, expiration = _table(message.headers), message.expiration_ms
    header = _content_header(channel, message, table, message_id, max_content_bytes, expiration)
    return _frames(channel, method, header, message.body, max_content_bytes)


def envelope_frames(channel: int, exchange: str, envelope: Envelope, message_id: str, max_content_bytes: int) -> Frames:
    """What `publish_frames` returns for the message of an envelope, in half the time."""
    method = _publish_method(channel, exchange, envelope.routing_key)
    header = _content_header(channel, envelope, _envelope_table(envelope), message_id, max_content_bytes)
    return _frames(channel, method, header, envelope.body, max_content_bytes)


def surely_fits(envelope: Envelope) -> bool:
    """Whether the headers of an envelope fit into the frames of any server. Its frames can be made when it is written.

    The smallest frame that a server may ask for has 4,096 bytes. The other headers take less than 600 of them.
    """
    names = envelope.provider + envelope.source + envelope.event_type + envelope.content_type
    others = len(envelope.id) + len(envelope.subject) + len(envelope.query) + len(envelope.traceparent)
    return len(names) <= _MAX_NAMES and names.isascii() and others <= _MAX_OTHERS


def message_surely_fits(message: Message) -> bool:
    """The same for a message."""
    names = (message.exchange, message.routing_key, message.content_type, *message.headers)
    joined = "".join(names)
    return (
        len(names) <= _MAX_FIELDS
        and len(joined) <= _MAX_NAMES_OF_MESSAGE
        and joined.isascii()
        and max(map(len, names)) <= _MAX_SHORT_BYTES
        and len("".join(message.headers.values())) <= _MAX_VALUES
    )


def _frames(channel: int, method: bytes, header: bytes, body: bytes, max_content_bytes: int) -> Frames:
    size = len(body)
    if 0 < size <= min(max_content_bytes, _MAX_COPIED_BYTES):
        return [b"".join((method, header, _frame(_BODY, channel, size), body, _END))]
    parts: Frames = [method, header]
    for start in range(0, size, max_content_bytes):
        chunk = memoryview(body)[start : start + max_content_bytes]
        parts += (_frame(_BODY, channel, len(chunk)), chunk, _END)
    return parts


def ack_frame(channel: int, tag: int, *, multiple: bool) -> bytes:
    return _ack(_METHOD, channel, _ACK_BYTES, _BASIC, _ACK, tag, multiple, _END[0])


@lru_cache(maxsize=4096)  # one for each topic and partition that is in use
def _publish_method(channel: int, exchange: str, routing_key: str) -> bytes:
    payload = _publish(_BASIC, _PUBLISH, 0) + _short(exchange) + _short(routing_key) + _MANDATORY
    return _frame(_METHOD, channel, len(payload)) + payload + _END


def _content_header(
    channel: int,
    content: Message | Envelope,
    table: bytes,
    message_id: str,
    max_content_bytes: int,
    expiration_ms: int | None = None,
) -> bytes:
    flags, expiration = (_FLAGS, b"") if expiration_ms is None else (_FLAGS | _EXPIRES, _short(str(expiration_ms)))
    content_type = _content_type(content.content_type)
    properties = b"".join((content_type, _long(len(table)), table, _PERSISTENT, expiration, _short(message_id), _END))
    payload_bytes = _BEFORE_PROPERTIES_BYTES + len(properties) - 1
    if payload_bytes > max_content_bytes:  # the server closes the connection for a frame that is too large
        raise NotDurable("the headers are larger than a frame of RabbitMQ", Obstacle.IMPOSSIBLE)
    return _content(_HEADER, channel, payload_bytes, _BASIC, 0, len(content.body), flags) + properties


def _table(headers: Mapping[str, str]) -> bytes:
    fields: list[bytes] = []
    for name, value in headers.items():
        text = value.encode("utf-8", "replace")
        fields += (_field_name(name), _long(len(text)), text)
    return b"".join(fields)


def _envelope_table(envelope: Envelope) -> bytes:
    """What `_table` returns for `to_headers`. Only the two times are known to be shorter than 256 bytes."""
    event_id, subject = envelope.id.encode("utf-8", "replace"), envelope.subject.encode("utf-8", "replace")
    occurred_at, received_at = iso_bytes(envelope.occurred_at), iso_bytes(envelope.received_at)
    table = _ENVELOPE_TABLE % (
        _long(len(event_id)),
        event_id,
        _origin_fields(envelope.provider, envelope.source, envelope.event_type),
        _long(len(subject)),
        subject,
        len(occurred_at),
        occurred_at,
        len(received_at),
        received_at,
    )
    if envelope.query:
        table += _table({QUERY_HEADER: envelope.query})
    return table + _table({TRACE_HEADER: envelope.traceparent}) if envelope.traceparent else table


@lru_cache(maxsize=4096)  # one for each topic that is in use
def _origin_fields(provider: str, source: str, event_type: str) -> bytes:
    return _table({SOURCE_HEADER: origin(provider, source), TYPE_HEADER: event_type})


@lru_cache(maxsize=256)
def _content_type(name: str) -> bytes:
    return _short(name)


@lru_cache(maxsize=256)
def _field_name(name: str) -> bytes:
    """The name of a header with a text value: the type tag follows it."""
    return _short(name) + b"S"


def _short(text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if len(raw) > _MAX_SHORT_BYTES:
        raise NotDurable("a name is longer than RabbitMQ allows", Obstacle.IMPOSSIBLE)
    return bytes((len(raw),)) + raw


_ENVELOPE_TABLE = b"".join(
    (
        *(_field_name(ID_HEADER), b"%b%b"),
        b"%b",  # source and type
        *(_field_name(SUBJECT_HEADER), b"%b%b"),
        *(_field_name(TIME_HEADER), b"\0\0\0%c%b"),
        _table({SPEC_VERSION_HEADER: SPEC_VERSION}),
        *(_field_name(RECEIVED_AT_HEADER), b"\0\0\0%c%b"),
    )
)
