"""The frame transport and the decoder, fed with bytes and without a server."""

import asyncio
import struct
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, cast

import pytest
from aiormq.exceptions import ChannelClosed
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel, Connection
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from hookline.broker.rabbitmq.wire import encode
from hookline.broker.rabbitmq.wire.decode import (
    Assembly,
    content_type_and_table,
    delivery_tag,
    message_id,
    texts,
    values,
)
from hookline.broker.rabbitmq.wire.frame_transport import FrameTransport
from hookline.schemas.errors import Unreadable

DELIVER = b"\0\x3c\0\x3c"
OURS, THEIRS = 1, 2
HEARTBEAT = frame.marshal(Heartbeat(), 0)

Message = tuple[int, bytes]


class Streams(asyncio.Protocol):
    """Collects what aiormq would get."""

    def __init__(self) -> None:
        self.received = b""
        self.calls = 0
        self.is_lost = False

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.calls += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's
        self.is_lost = True


class FakeListener:
    """Collects deliveries."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.contents: list[tuple[bytes, bytes, bytes]] = []
        self.is_closed = False
        assembly = Assembly(OURS, DELIVER, self._arrived)
        self.whole_messages, self.frame = assembly.whole_messages, assembly.frame

    def writable(self) -> None: ...

    def closed(self, error: ChannelClosed | None) -> None:  # noqa: ARG002  none is looked at
        self.is_closed = True

    def _arrived(self, method: bytes, header: bytes, body: bytes) -> None:
        self.contents.append((method, header, body))
        self.messages.append((delivery_tag(method), body))


class Transport:
    """A frame transport with one listener, on the channel `OURS`."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.streams = Streams()
        self.wire = FrameTransport(self.streams, clock)
        self.listener = FakeListener()
        self.wire.connection_made(asyncio.Transport())
        self.wire.listen(OURS, self.listener)

    def receives(self, data: bytes) -> None:
        self.wire.data_received(data)

    @property
    def left(self) -> bytes:
        """What aiormq got, without the one heartbeat that the transport added."""
        return self.streams.received.replace(HEARTBEAT, b"", 1)


def delivery(channel: int, tag: int, *bodies: bytes) -> list[bytes]:
    """The frames of a message, one body frame for each of `bodies`."""
    return [
        frame.marshal(Basic.Deliver("ctag1.x", tag, False, "hookline.events", "a.b"), channel),  # noqa: FBT003  the protocol's
        frame.marshal(ContentHeader(body_size=sum(map(len, bodies))), channel),
        *(frame.marshal(ContentBody(body), channel) for body in bodies),
    ]


def chunks(data: bytes, ends: Iterable[int]) -> list[bytes]:
    points = [0, *sorted({end % (len(data) + 1) for end in ends}), len(data)]
    return [data[begin:end] for begin, end in pairwise(points)]


def raw_frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def raw_message(bodies: Sequence[bytes]) -> bytes:
    return b"".join(delivery(OURS, 7, *bodies))


PAYLOADS = st.one_of(
    st.binary(max_size=24),
    st.just(DELIVER),
    st.builds(lambda size: b"\0\x3c\0\0" + size.to_bytes(8, "big") + b"\0\0", st.integers(min_value=0, max_value=30)),
)
"""Of frames that are damaged, or that a server would not send now."""

MESSAGES = [*delivery(OURS, 1, b"one"), *delivery(OURS, 2), *delivery(OURS, 3, b"th", b"re", b"e")]
FOREIGN = [frame.marshal(Basic.ConsumeOk("ctag1.x"), OURS), *delivery(THEIRS, 9, b"not ours")]


def test_a_message_is_read_wherever_its_bytes_are_split() -> None:
    data = b"".join([*MESSAGES, *FOREIGN])
    for end in range(len(data)):
        transport = Transport()
        for chunk in (data[:end], data[end:]):
            transport.receives(chunk)
        assert transport.listener.messages == [(1, b"one"), (2, b""), (3, b"three")]
        assert transport.left == b"".join(FOREIGN)


def test_messages_are_read_from_single_bytes() -> None:
    transport = Transport()
    for byte in b"".join([*MESSAGES, *FOREIGN]):
        transport.receives(bytes([byte]))
    assert transport.listener.messages == [(1, b"one"), (2, b""), (3, b"three")]
    assert transport.left == b"".join(FOREIGN)


def mixed(ours: Sequence[bytes], theirs: Sequence[bytes], turns: Sequence[bool]) -> bytes:
    """The frames of two channels, interleaved, each in its order."""
    first, second, together = list(ours), list(theirs), []
    for turn in turns:
        queue = first if turn else second
        together += [queue.pop(0)] if queue else []
    return b"".join([*together, *first, *second])


@given(
    ours=st.lists(st.lists(st.binary(min_size=1, max_size=300), max_size=3), max_size=6),
    theirs=st.lists(st.lists(st.binary(min_size=1, max_size=300), max_size=3), max_size=6),
    turns=st.lists(st.booleans(), max_size=40),
    ends=st.lists(st.integers(min_value=0, max_value=10_000), max_size=12),
)
def test_each_channel_gets_its_own_frames_from_any_mix_of_channels_and_chunks(
    ours: list[list[bytes]], theirs: list[list[bytes]], turns: list[bool], ends: list[int]
) -> None:
    transport = Transport(lambda: -1.0)  # before the first heartbeat is due
    heard = [each for tag, bodies in enumerate(ours, 1) for each in delivery(OURS, tag, *bodies)]
    passed = [each for tag, bodies in enumerate(theirs, 1) for each in delivery(THEIRS, tag, *bodies)]
    for chunk in chunks(mixed(heard, passed, turns), ends):
        transport.receives(chunk)
    assert transport.listener.messages == [(tag, b"".join(bodies)) for tag, bodies in enumerate(ours, 1)]
    assert transport.streams.received == b"".join(passed)


@given(
    frames=st.lists(
        st.one_of(
            st.builds(raw_message, st.lists(st.binary(max_size=20), max_size=2)),
            st.builds(raw_frame, st.sampled_from([1, 2, 3, 8, 9]), st.sampled_from([0, OURS, THEIRS]), PAYLOADS),
            st.sampled_from([*MESSAGES, *FOREIGN]),
        ),
        max_size=8,
    ),
    damage=st.lists(st.tuples(st.integers(min_value=0, max_value=2000), st.binary(max_size=2)), max_size=2),
    ends=st.lists(st.integers(min_value=0, max_value=2000), max_size=4),
)
def test_whole_messages_are_taken_as_their_frames_would_be(
    frames: list[bytes], damage: list[tuple[int, bytes]], ends: list[int]
) -> None:
    data = b"".join(frames)
    for place, changed in damage:
        at = place % (len(data) + 1)
        data = data[:at] + changed + data[at + 1 :]
    assert_taken_as_by_frame(chunks(data, ends))


@pytest.mark.parametrize("bodies", [[b"two"], [b"tw", b"o"], [b""]], ids=["a body frame", "two", "an empty one"])
def test_a_message_damaged_anywhere_is_taken_as_its_frames_would_be(bodies: list[bytes]) -> None:
    before, after = b"".join(delivery(OURS, 1, b"one")), b"".join(delivery(OURS, 3, b"three"))
    frames = delivery(OURS, 2, *bodies)
    message = b"".join(frames)
    for place in range(len(message)):
        for byte in (0, OURS, THEIRS, 3, 8, 0xCE):
            damaged = message[:place] + bytes((byte,)) + message[place + 1 :]
            assert_taken_as_by_frame([before + damaged + after])
    for missing in range(len(frames)):
        assert_taken_as_by_frame([b"".join([before, *frames[:missing], *frames[missing + 1 :], after])])


def assert_taken_as_by_frame(received: Sequence[bytes]) -> None:
    """Whether whole messages or single frames are taken makes no difference after any of these chunks."""
    at_once, by_frame = Transport(), Transport()
    by_frame.listener.whole_messages = none
    for chunk in received:
        assert outcome(at_once, chunk) == outcome(by_frame, chunk)


def none(data: bytes, at: int) -> int:
    """Takes no whole messages."""
    return at


def outcome(transport: Transport, chunk: bytes) -> tuple[Any, ...]:
    """What the listener and aiormq have once the chunk is received, and whether the connection is lost by it."""
    try:
        transport.receives(chunk)
        is_lost = False
    except (struct.error, IndexError):  # asyncio closes the connection
        is_lost = True
    listener = transport.listener
    return is_lost, listener.contents, listener.is_closed, transport.streams.received


def test_foreign_frames_within_a_message_go_to_aiormq() -> None:
    transport = Transport()
    method, *content = delivery(OURS, 1, b"a", b"b")
    transport.receives(b"".join([method, *FOREIGN, *content]))
    assert transport.listener.messages == [(1, b"ab")]
    assert transport.left == b"".join(FOREIGN)


def test_messages_from_basic_get_go_to_aiormq() -> None:
    transport = Transport()
    got = [frame.marshal(Basic.GetOk(1, False, "", "q", 0), OURS), *delivery(OURS, 1, b"body")[1:]]  # noqa: FBT003  pamqp's own order
    transport.receives(b"".join(got))
    assert transport.streams.received == b"".join(got)
    assert transport.listener.messages == []


def test_a_body_without_its_content_header_goes_to_aiormq() -> None:
    transport = Transport()
    method, _, body = delivery(OURS, 2, b"two")
    transport.receives(b"".join([*delivery(OURS, 1, b"one"), method, body]))
    assert transport.listener.messages == [(1, b"one")]
    assert transport.left == body


def test_frames_without_a_listener_go_on_in_one_piece() -> None:
    transport = Transport()
    transport.receives(b"".join(FOREIGN))
    assert transport.streams.calls == 1


@pytest.mark.parametrize("answer", [b"AMQP\0\0\x09\x01", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["AMQP", "HTTP"])
def test_bytes_that_are_not_amqp_go_on_unchanged(answer: bytes) -> None:
    transport = Transport()
    for chunk in (answer[:7], answer[7:]):
        transport.receives(chunk)
    assert transport.streams.received == answer


def test_a_frame_with_a_wrong_end_goes_on_with_everything_after_it() -> None:
    transport = Transport()
    broken = FOREIGN[0][:-1] + b"?"
    transport.receives(b"".join([*MESSAGES, broken]))
    transport.receives(b"whatever")
    assert transport.left == broken + b"whatever"
    assert len(transport.listener.messages) == 3


def test_aiormq_gets_a_heartbeat_once_a_second_while_frames_are_taken() -> None:
    now_s = [0.0]
    transport = Transport(lambda: now_s[0])
    for half_second in range(20):
        now_s[0] = half_second / 2
        transport.receives(b"".join(MESSAGES))
    assert transport.streams.received == 10 * HEARTBEAT


def test_an_alarm_is_noticed_and_passed_on_to_aiormq() -> None:
    transport = Transport()
    alarms = [frame.marshal(each, 0) for each in (Connection.Blocked("memory"), Connection.Unblocked())]
    noticed = []
    for alarm in alarms:
        transport.receives(alarm)
        noticed.append(transport.wire.is_blocked)
    assert noticed == [True, False]
    assert transport.streams.received == b"".join(alarms)


@pytest.mark.parametrize(
    "over", [Channel.Close(404, "gone", 60, 40), Channel.CloseOk()], ids=["by the server", "by the client"]
)
def test_the_listener_of_a_closed_channel_is_called_at_once_and_its_number_is_free(over: Any) -> None:
    transport = Transport()
    transport.receives(frame.marshal(over, OURS))
    assert transport.listener.is_closed
    transport.receives(b"".join(MESSAGES))
    assert transport.listener.messages == []
    assert transport.left == frame.marshal(over, OURS) + b"".join(MESSAGES)


def test_listener_and_aiormq_are_called_when_the_connection_is_lost_within_a_frame() -> None:
    transport = Transport()
    transport.receives(b"".join(MESSAGES)[:-2])
    transport.wire.connection_lost(None)
    assert transport.listener.is_closed
    assert transport.streams.is_lost
    assert transport.listener.messages == [(1, b"one"), (2, b"")]


def header_of(properties: Basic.Properties) -> bytes:
    return ContentHeader(body_size=0, properties=properties).marshal()


ENVELOPE = {
    "cloudEvents_id": "0123456789abcdef0123456789abcdef",
    "cloudEvents_source": "/hookline/krtc/krtc-main",
    "cloudEvents_type": "room.created",
    "cloudEvents_subject": "room",
    "cloudEvents_time": "2026-11-26T07:08:10+00:00",
    "cloudEvents_specversion": "1.0",
    "hookline-received-at": "2026-11-26T07:08:10.123456+00:00",
}
TEXTS: dict[str, dict[str, Any]] = {
    "no headers": {},
    "texts": {"cloudEvents_subject": "会议室 🎥", "empty": ""},
    "an envelope": ENVELOPE,
    "an envelope and more": {**ENVELOPE, "hookline-attempt": "2", "traceparent": ""},
    "an envelope without a subject": {**ENVELOPE, "cloudEvents_subject": ""},
    "an envelope without a header for a subject": {
        name: text for name, text in ENVELOPE.items() if name != "cloudEvents_subject"
    },
    "an envelope with a long subject": {**ENVELOPE, "cloudEvents_subject": "r" * 300},
    "an envelope with a subject that is not ASCII": {**ENVELOPE, "cloudEvents_subject": "会议室"},
    "an envelope with fields in a subject": {**ENVELOPE, "cloudEvents_subject": "\x10cloudEvents_timeS\0\0\0\x03abc"},
    "an envelope with a short id": {**ENVELOPE, "cloudEvents_id": "0f"},
    "an envelope received at a whole second": {**ENVELOPE, "hookline-received-at": "2026-11-26T07:08:10+00:00"},
    "an envelope of another version": {**ENVELOPE, "cloudEvents_specversion": "1.1"},
    "an envelope with a field before its subject": {
        key: {**ENVELOPE, "other": "x"}[key] for key in [*list(ENVELOPE)[:3], "other", *list(ENVELOPE)[3:]]
    },
    "an envelope in another order": dict(reversed(ENVELOPE.items())),
}
TABLES: dict[str, dict[str, Any]] = {
    **TEXTS,
    "simple values": {"number": 1, "big": 2**40, "yes": True, "nothing": None, "real": 0.5},
    "nested values": {"table": {"a": [1, {"b": None}]}, "list": ["x", 2]},
    "x-death": {"x-death": [{"count": 3, "queue": "elsewhere", "reason": "expired"}]},
    "bytes": {"bytes": bytearray(b"\xff\xfe")},
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("encoding", ["", "gzip"], ids=["no encoding", "gzip"])
def test_properties_are_read_as_by_pamqp(table: dict[str, Any], encoding: str) -> None:
    properties = Basic.Properties(content_type="text/plain", content_encoding=encoding, headers=table, priority=3)
    content_type, raw = content_type_and_table(header_of(properties))
    assert content_type == "text/plain"
    assert dict(values(raw)) == table
    assert texts(raw) in (table, None)


@pytest.mark.parametrize("table", TEXTS.values(), ids=TEXTS)
def test_a_table_of_texts_is_read_without_pamqp(table: dict[str, str]) -> None:
    assert texts(content_type_and_table(header_of(Basic.Properties(headers=dict(table))))[1]) == table
    assert texts(in_order(table)) == table


def in_order(table: dict[str, str]) -> bytes:
    """A table as Hookline encodes it; pamqp sorts the names."""
    message = encode.Message("", "queue", table, "text/plain", b"")
    frames = b"".join(encode.publish_frames(1, message, b"m-1", 100_000))
    header = frames[frame.unmarshal(frames)[0] :]
    return content_type_and_table(header[7:-1])[1]


def test_the_names_of_an_envelope_are_shared_by_its_messages() -> None:
    raw = in_order(ENVELOPE)
    one, other = texts(raw) or {}, texts(raw) or {}
    assert [name is same for name, same in zip(one, other, strict=True)] == [True] * len(ENVELOPE)


def test_large_headers_of_others_are_not_kept() -> None:
    """A worker would hold as many as its caches have places."""
    count, (event_id, *others) = 100, ENVELOPE.items()
    tracemalloc.start()
    try:
        for number in range(count):
            table = dict([event_id, ("other", f"{number}" + "x" * 50_000), *others])
            assert texts(in_order(table)) == table
        assert tracemalloc.get_traced_memory()[0] < 5_000 * count
    finally:
        tracemalloc.stop()


def test_a_table_that_is_nearly_an_envelope_s_is_read_as_any_other() -> None:
    raw, other_field = in_order(ENVELOPE), b"\x01aS\0\0\0\0"
    for place in range(4, len(raw)):
        for changed in (raw[:place], *(raw[:place] + bytes((byte,)) + raw[place + 1 :] for byte in (0, 32, 120, 255))):
            assert read(changed) == read(changed[:4] + other_field + changed[4:]), place


def read(raw: bytes) -> dict[str, str] | str | None:
    """The texts of a table, without the other field."""
    try:
        found = texts(raw)
    except Unreadable:
        return "unreadable"
    return found and {name: text for name, text in found.items() if name != "a"}


@pytest.mark.parametrize("length", [1, 127, 128, 2**32 - 1])
def test_a_length_beyond_the_table_ends_it(length: int) -> None:
    raw = b"\0\0\0\0\x0ecloudEvents_idS" + length.to_bytes(4, "big") + b"a"
    assert texts(raw) == {"cloudEvents_id": "a"}


def test_a_table_with_headers_of_the_server_is_not_plain() -> None:
    raw = content_type_and_table(header_of(Basic.Properties(headers={"x-first-death-queue": "q"})))[1]
    assert texts(raw) is None


def test_a_message_without_properties_is_read() -> None:
    assert content_type_and_table(header_of(Basic.Properties())) == ("", b"")
    assert (texts(b""), values(b"")) == ({}, {})


def test_invalid_utf8_is_replaced() -> None:
    header = header_of(Basic.Properties(content_type="a/?", headers={"na?e": "v?"})).replace(b"?", b"\xff")
    content_type, raw = content_type_and_table(header)
    assert content_type == "a/\ufffd"
    assert texts(raw) == {"na\ufffde": "v\ufffd"}


def test_the_message_id_of_a_returned_message_is_read() -> None:
    assert message_id(header_of(Basic.Properties(headers={"a": "b"}, message_id="m-1"))) == "m-1"
    assert message_id(header_of(Basic.Properties())) == ""


@given(st.binary(max_size=80))
def test_properties_of_any_bytes_are_read_or_unreadable(rest: bytes) -> None:
    header = header_of(Basic.Properties())[:12] + rest
    for read in (message_id, content_type_and_table):
        try:
            cast("Callable[[bytes], object]", read)(header)
        except Unreadable:
            continue


@given(st.binary(max_size=80))
def test_a_table_of_any_bytes_is_read_or_unreadable(rest: bytes) -> None:
    raw = len(rest).to_bytes(4, "big") + rest
    for read in (texts, values):
        try:
            cast("Callable[[bytes], object]", read)(raw)
        except Unreadable:
            continue


class Encrypted(asyncio.Transport):
    """A transport of TLS, which makes a record of each piece that it gets."""

    def __init__(self) -> None:
        super().__init__({"ssl_object": object()})
        self.records: list[bytes] = []

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.records.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        for piece in list_of_data:
            self.write(piece)


def test_frames_that_are_written_together_share_a_record_of_tls() -> None:
    """A record costs several times as much as the bytes of a usual message in it, here and in the server."""
    wire, encrypted = FrameTransport(Streams(), lambda: 0.0), Encrypted()
    wire.connection_made(encrypted)
    wire.write([b"one", memoryview(b"two"), b"three"])
    assert encrypted.records == [b"onetwothree"]
