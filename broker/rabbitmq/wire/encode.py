"""Writing messages as AMQP frames. Parts that many messages share are cached. A contract test compares with pamqp."""

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from typing import TypeAlias

import msgspec

from hookline.schemas import topics
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
_BYTES = tuple(bytes((number,)) for number in range(256))
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


class Template(msgspec.Struct, frozen=True):
    """What the frames of all messages have in common that have one routing key and one content type."""

    channel: int
    method: bytes
    content_type: bytes


class EnvelopeTemplate(Template, frozen=True):
    """The same for the envelopes of one topic, with how many characters their own headers surely may have."""

    origin: bytes
    fitting_characters: int


def publish_frames(channel: int, message: Message, message_id: str, max_content_bytes: int) -> Frames:
    """Basic.Publish, content header and body, to be written in this order. A large body is not copied.

    The message id is ASCII. Raises NotDurable for a message that does not fit into frames.
    """
    template = _template(channel, message.exchange, message.routing_key, message.content_type)
    expiration = b"" if message.expiration_ms is None else _short(str(message.expiration_ms))
    return _frames(template, _table(message.headers), message_id, message.body, max_content_bytes, expiration)


def template_of(channel: int, exchange: str, envelope: Envelope) -> EnvelopeTemplate:
    """The template for an envelope's frames. Raises NotDurable for names that do not fit into frames."""
    partition = topics.partition(envelope.subject)
    topic = (envelope.provider, envelope.source, envelope.event_type)
    return _envelope_template(channel, exchange, topic, partition, envelope.content_type)


def envelope_frames(template: EnvelopeTemplate, envelope: Envelope, message_id: str, max_content_bytes: int) -> Frames:
    """What `publish_frames` returns for the message of an envelope, in a third of the time."""
    return _frames(template, _envelope_table(template, envelope), message_id, envelope.body, max_content_bytes)


def surely_fits(template: EnvelopeTemplate, envelope: Envelope) -> bool:
    """Whether the headers of an envelope fit into the frames of any server. Its frames can be made when it is written.

    The smallest frame that a server may ask for has 4,096 bytes. The other headers take less than 600 of them.
    """
    others = envelope.id + envelope.subject + envelope.query + envelope.traceparent
    return len(others) <= template.fitting_characters


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


def _frames(
    template: Template, table: bytes, message_id: str, body: bytes, max_content_bytes: int, expiration: bytes = b""
) -> Frames:
    """The frames of a message with these headers. `expiration` is a short string, or empty for none."""
    ident, size = message_id.encode(), len(body)
    properties = b"".join(
        (
            template.content_type,
            _long(len(table)),
            table,
            _PERSISTENT,
            expiration,
            _BYTES[len(ident)],
            ident,
            _END,
        )
    )
    payload_bytes = _BEFORE_PROPERTIES_BYTES + len(properties) - 1
    if payload_bytes > max_content_bytes:  # the server closes the connection for a frame that is too large
        raise NotDurable("the headers are larger than a frame of RabbitMQ", Obstacle.IMPOSSIBLE)
    flags = _FLAGS | _EXPIRES if expiration else _FLAGS
    header = _content(_HEADER, template.channel, payload_bytes, _BASIC, 0, size, flags)
    if 0 < size <= max_content_bytes and size <= _MAX_COPIED_BYTES:
        return [b"".join((template.method, header, properties, _frame(_BODY, template.channel, size), body, _END))]
    parts: Frames = [template.method, header + properties]
    for start in range(0, size, max_content_bytes):
        chunk = memoryview(body)[start : start + max_content_bytes]
        parts += (_frame(_BODY, template.channel, len(chunk)), chunk, _END)
    return parts


def ack_frame(channel: int, tag: int, *, multiple: bool) -> bytes:
    return _ack(_METHOD, channel, _ACK_BYTES, _BASIC, _ACK, tag, multiple, _END[0])


@lru_cache(maxsize=4096)  # one for each topic and partition that is in use
def _template(channel: int, exchange: str, routing_key: str, content_type: str) -> Template:
    payload = _publish(_BASIC, _PUBLISH, 0) + _short(exchange) + _short(routing_key) + _MANDATORY
    return Template(channel, _frame(_METHOD, channel, len(payload)) + payload + _END, _short(content_type))


@lru_cache(maxsize=4096)
def _envelope_template(
    channel: int, exchange: str, topic: tuple[str, str, str], partition: str, content_type: str
) -> EnvelopeTemplate:
    provider, source, event_type = topic
    routing_key = topics.in_partition(topics.topic(provider, source, event_type), partition)
    general = _template(channel, exchange, routing_key, content_type)
    names = "".join((*topic, content_type))
    return EnvelopeTemplate(
        channel,
        general.method,
        general.content_type,
        _table({SOURCE_HEADER: origin(provider, source), TYPE_HEADER: event_type}),
        _MAX_OTHERS if len(names) <= _MAX_NAMES and names.isascii() else -1,
    )


def _table(headers: Mapping[str, str]) -> bytes:
    fields: list[bytes] = []
    for name, value in headers.items():
        text = value.encode("utf-8", "replace")
        fields += (_field_name(name), _long(len(text)), text)
    return b"".join(fields)


def _envelope_table(template: EnvelopeTemplate, envelope: Envelope) -> bytes:
    """What `_table` returns for `to_headers`. Only the two times are known to be shorter than 256 bytes."""
    event_id, subject = envelope.id.encode("utf-8", "replace"), envelope.subject.encode("utf-8", "replace")
    occurred_at, received_at = iso_bytes(envelope.occurred_at), iso_bytes(envelope.received_at)
    table = b"".join(
        (
            _ID_FIELD,
            _long(len(event_id)),
            event_id,
            template.origin,
            _SUBJECT_FIELD,
            _long(len(subject)),
            subject,
            _TIME_FIELD,
            _BYTES[len(occurred_at)],
            occurred_at,
            _RECEIVED_AT_FIELD,
            _BYTES[len(received_at)],
            received_at,
        )
    )
    if envelope.query:
        table += _table({QUERY_HEADER: envelope.query})
    return table + _table({TRACE_HEADER: envelope.traceparent}) if envelope.traceparent else table


@lru_cache(maxsize=256)
def _field_name(name: str) -> bytes:
    """The name of a header with a text value: the type tag follows it."""
    return _short(name) + b"S"


def _short(text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if len(raw) > _MAX_SHORT_BYTES:
        raise NotDurable("a name is longer than RabbitMQ allows", Obstacle.IMPOSSIBLE)
    return _BYTES[len(raw)] + raw


_ID_FIELD, _SUBJECT_FIELD = _field_name(ID_HEADER), _field_name(SUBJECT_HEADER)
_TIME_FIELD = _field_name(TIME_HEADER) + b"\0\0\0"
_RECEIVED_AT_FIELD = _table({SPEC_VERSION_HEADER: SPEC_VERSION}) + _field_name(RECEIVED_AT_HEADER) + b"\0\0\0"
