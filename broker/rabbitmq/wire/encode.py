"""Writing messages as AMQP frames. Parts that many messages share are cached. A contract test compares with pamqp."""

from collections.abc import Iterable, Mapping
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
    LastTime,
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
_LENGTHS_BYTES = 5  # of the table's length, and of that of the message id
_ACK_BYTES = 13
_MAX_COPIED_BYTES = 16 * 1024
_MAX_NAMES = 200
_MAX_OTHERS = 500  # characters, of up to four bytes each
_MAX_FIELDS, _MAX_NAMES_OF_MESSAGE, _MAX_VALUES = 32, 700, 700  # of a message: together less than 3,800 bytes
_frame = Struct(">BHI").pack
_publish = Struct(">HHH").pack
_ack_start, _ack_end = Struct(">BHIHH").pack, Struct(">QBB").pack
_content = Struct(">HHI").pack
_frame_start = Struct(">BH").pack
_flags = Struct(">H").pack
_long = Struct(">I").pack
_MAX_KEPT_LENGTH = 4096


class _Starts(dict[int, bytes]):
    """What comes before so many bytes: the same for all, and their number. To make one anew costs a multiple."""

    def __init__(self, same: bytes = b"") -> None:
        super().__init__()
        self._same = same

    def __missing__(self, length: int) -> bytes:
        start = self._same + _long(length)
        if length <= _MAX_KEPT_LENGTH:
            self[length] = start
        return start


_LENGTH = _Starts()
_CONTENT = _Starts(_content(_BASIC, 0, 0))  # the upper half of a body's size is 0
_received_at = LastTime()


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
    """What the frames of all messages have in common that have one routing key and one content type.

    Each is what comes before something that differs: before the size of the content header, before the size of the
    table, and before the size of a body frame. `payload_bytes` is the size of a content header without table,
    expiration and message id.
    """

    header: bytes
    table: bytes
    body: bytes
    payload_bytes: int


class EnvelopeTemplate(Template, frozen=True):
    """The same for the envelopes of one topic, with how many characters their own headers surely may have.

    `origin` holds the source and the type.
    """

    origin: bytes
    fitting_characters: int


def publish_frames(channel: int, message: Message, message_id: bytes, max_content_bytes: int) -> Frames:
    """Basic.Publish, content header and body, to be written in this order. A large body is not copied.

    Raises NotDurable for a message that does not fit into frames.
    """
    expires = message.expiration_ms is not None
    template = _template(channel, message.exchange, message.routing_key, message.content_type, expires=expires)
    expiration = _short(str(message.expiration_ms)) if expires else b""
    return _frames(template, _table(message.headers), message_id, message.body, max_content_bytes, expiration)


def template_of(channel: int, exchange: str, envelope: Envelope) -> EnvelopeTemplate:
    """The template for an envelope's frames. Raises NotDurable for names that do not fit into frames."""
    partition = topics.partition(envelope.subject)
    topic = (envelope.provider, envelope.source, envelope.event_type)
    return _envelope_template(channel, exchange, topic, partition, envelope.content_type)


def envelope_frames(
    template: EnvelopeTemplate, envelope: Envelope, message_id: bytes, max_content_bytes: int
) -> Frames:
    """What `publish_frames` returns for the message of an envelope, in a third of the time."""
    event_id, subject = envelope.id.encode("utf-8", "replace"), envelope.subject.encode("utf-8", "replace")
    occurred_at, received_at = iso_bytes(envelope.occurred_at), _received_at.iso_bytes(envelope.received_at)
    table = b"".join(  # the same as `_table` returns for `to_headers`
        (
            _ID[len(event_id)],
            event_id,
            template.origin,
            _SUBJECT[len(subject)] if subject else b"",
            subject,
            _TIME[len(occurred_at)],
            occurred_at,
            _RECEIVED_AT[len(received_at)],
            received_at,
        )
    )
    if envelope.query:
        table += _table({QUERY_HEADER: envelope.query})
    if envelope.traceparent:
        table += _table({TRACE_HEADER: envelope.traceparent})
    return _frames(template, table, message_id, envelope.body, max_content_bytes)


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
    template: Template, table: bytes, message_id: bytes, body: bytes, max_content_bytes: int, expiration: bytes = b""
) -> Frames:
    """The frames of a message with these headers. `expiration` is a short string, or empty for none."""
    size = len(body)
    payload_bytes = template.payload_bytes + len(table) + len(expiration) + len(message_id)
    if payload_bytes > max_content_bytes:  # the server closes the connection for a frame that is too large
        raise NotDurable("the headers are larger than a frame of RabbitMQ", Obstacle.IMPOSSIBLE)
    parts = [
        template.header,
        _LENGTH[payload_bytes],
        _CONTENT[size],
        template.table,
        _LENGTH[len(table)],
        table,
        _PERSISTENT,
        expiration,
        _BYTES[len(message_id)],
        message_id,
    ]
    if 0 < size <= max_content_bytes and size <= _MAX_COPIED_BYTES:
        parts += (template.body, _LENGTH[size], body, _END)
        return [b"".join(parts)]
    frames: Frames = [b"".join(parts)]
    for start in range(0, size, max_content_bytes):
        chunk = memoryview(body)[start : start + max_content_bytes]
        frames += (template.body, _LENGTH[len(chunk)], chunk)
    frames.append(_END)
    return frames


def ack_frames(channel: int, acks: Iterable[tuple[int, bool]]) -> list[bytes]:
    """The frames that acknowledge delivery tags, each alone or (True) with all below it."""
    start, end = _ack_start(_METHOD, channel, _ACK_BYTES, _BASIC, _ACK), _END[0]
    return [start + _ack_end(tag, multiple, end) for tag, multiple in acks]


@lru_cache(maxsize=4096)  # one for each topic and partition that is in use
def _template(channel: int, exchange: str, routing_key: str, content_type: str, *, expires: bool = False) -> Template:
    payload = _publish(_BASIC, _PUBLISH, 0) + _short(exchange) + _short(routing_key) + _MANDATORY
    content = _short(content_type)
    return Template(
        header=_frame(_METHOD, channel, len(payload)) + payload + _END + _frame_start(_HEADER, channel),
        table=_flags(_FLAGS | _EXPIRES if expires else _FLAGS) + content,
        body=_END + _frame_start(_BODY, channel),
        payload_bytes=_BEFORE_PROPERTIES_BYTES + len(content) + _LENGTHS_BYTES + len(_PERSISTENT),
    )


@lru_cache(maxsize=4096)
def _envelope_template(
    channel: int, exchange: str, topic: tuple[str, str, str], partition: str, content_type: str
) -> EnvelopeTemplate:
    provider, source, event_type = topic
    routing_key = topics.in_partition(topics.topic(provider, source, event_type), partition)
    general = _template(channel, exchange, routing_key, content_type)
    names = "".join((*topic, content_type))
    return EnvelopeTemplate(
        **msgspec.structs.asdict(general),
        origin=_table({SOURCE_HEADER: origin(provider, source), TYPE_HEADER: event_type}),
        fitting_characters=_MAX_OTHERS if len(names) <= _MAX_NAMES and names.isascii() else -1,
    )


def _table(headers: Mapping[str, str]) -> bytes:
    fields: list[bytes] = []
    for name, value in headers.items():
        text = value.encode("utf-8", "replace")
        fields += (_field_name(name), _long(len(text)), text)
    return b"".join(fields)


@lru_cache(maxsize=256)
def _field_name(name: str) -> bytes:
    """The name of a header with a text value: the type tag follows it."""
    return _short(name) + b"S"


def _short(text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if len(raw) > _MAX_SHORT_BYTES:
        raise NotDurable("a name is longer than RabbitMQ allows", Obstacle.IMPOSSIBLE)
    return _BYTES[len(raw)] + raw


_ID, _SUBJECT, _TIME = (_Starts(_field_name(name)) for name in (ID_HEADER, SUBJECT_HEADER, TIME_HEADER))
_RECEIVED_AT = _Starts(_table({SPEC_VERSION_HEADER: SPEC_VERSION}) + _field_name(RECEIVED_AT_HEADER))
