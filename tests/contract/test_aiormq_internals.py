"""What the fast path relies on in aiormq, aio-pika and AMQP, and that all is the same without it.

To be run at each change of version.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from yarl import URL

from hookline.aio.refusal_tally import RefusalTally
from hookline.broker.rabbitmq.confirms import Confirms
from hookline.broker.rabbitmq.consume_channel import ConsumeChannel
from hookline.broker.rabbitmq.publish_channel import PublishChannel, open_publish_channel
from hookline.broker.rabbitmq.wire import frame_transport
from hookline.broker.rabbitmq.wire.encode import Message, ack_frames, publish_frames
from hookline.broker.rabbitmq.wire.frame_transport import FrameTransport
from hookline.schemas.broker import Received
from hookline.schemas.errors import NotDurable
from tests.contract.installations import eventually
from tests.frames import BODY_SIZES
from tests.services.rabbitmq import server_url

HEADERS = {"cloudEvents_id": "0" * 32, "cloudEvents_subject": "会议室 🎥", "empty": ""}
TIMEOUT_S = 5.0
FRAME_BYTES = 131_072 - 8  # of a body, in a frame of the size that servers ask for


def message(routing_key: str, body: bytes = b"{}") -> Message:
    return Message("", routing_key, HEADERS, "application/json", body)


@dataclass(frozen=True, slots=True)
class Station:
    """A connection opened as in production."""

    connection: Any
    wire: FrameTransport | None

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        opened = await self.connection.transport.connection.channel()
        yield opened
        await opened.close()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Station]:
    connection, wire = await frame_transport.connect(URL(url), {})
    try:
        yield Station(connection, wire)
    finally:
        await connection.close()


@pytest.fixture(params=["by wire", "by public calls"])
async def station(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Station]:
    if request.param == "by public calls":
        monkeypatch.setattr(frame_transport, "is_supported", lambda _: False)
    async with connected(server_url(request.config)) as station:
        assert (station.wire is None) == (request.param == "by public calls")
        yield station


@pytest.fixture
async def channel(station: Station) -> AsyncIterator[AbstractChannel]:
    async with station.channel() as channel:
        yield channel


@pytest.fixture
async def queue(channel: AbstractChannel) -> str:
    return str((await channel.queue_declare(exclusive=True)).queue)


@pytest.fixture
async def publish_channel(station: Station) -> AsyncIterator[PublishChannel]:
    async with station.channel() as channel:
        publish_channel = open_publish_channel(channel, station.wire, Confirms(TIMEOUT_S, RefusalTally()))
        yield publish_channel
        publish_channel.end()


async def answers(publish_channel: PublishChannel, *messages: Message) -> list[str | None]:
    """None for each message that was confirmed, the error for the others."""
    async with asyncio.timeout(TIMEOUT_S - 1):
        results = await asyncio.gather(*(publish_channel.send(each) for each in messages), return_exceptions=True)
    return [None if result is None else str(result) for result in results]


def test_an_aiormq_of_another_shape_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    class Connection:
        kwargs: dict[str, Any] = {}  # noqa: RUF012  as aio-pika's, but for the type

    assert frame_transport.is_supported(Connection())
    monkeypatch.setattr(aiormq.Connection, "__init__", lambda _self, _url: None)
    assert not frame_transport.is_supported(Connection())


def test_an_aio_pika_of_another_shape_is_detected() -> None:
    assert not frame_transport.is_supported(object())


@pytest.mark.parametrize("size", BODY_SIZES.values(), ids=BODY_SIZES)
def test_published_bytes_are_those_of_pamqp(size: int) -> None:
    body = bytes(size)
    properties = Basic.Properties(
        content_type="application/json", headers=dict(HEADERS), delivery_mode=2, message_id="m-1"
    )
    expected = [
        frame.marshal(Basic.Publish(exchange="e", routing_key="a.b", mandatory=True), 3),
        frame.marshal(ContentHeader(body_size=size, properties=properties), 3),
        *(frame.marshal(ContentBody(body[start : start + 1000]), 3) for start in range(0, size, 1000)),
    ]
    ours = publish_frames(3, Message("e", "a.b", HEADERS, "application/json", body), b"m-1", 1000)
    assert b"".join(ours) == b"".join(expected)


@pytest.mark.parametrize("expiration_ms", [0, 1, 4_294_967_295], ids=["at once", "after 1 ms", "as late as possible"])
def test_a_message_that_expires_has_the_bytes_of_pamqp(expiration_ms: int) -> None:
    properties = Basic.Properties(
        content_type="a/b", headers=dict(HEADERS), delivery_mode=2, message_id="m-1", expiration=str(expiration_ms)
    )
    expected = [
        frame.marshal(Basic.Publish(routing_key="a.b", mandatory=True), 3),
        frame.marshal(ContentHeader(body_size=0, properties=properties), 3),
    ]
    ours = publish_frames(3, Message("", "a.b", HEADERS, "a/b", b"", expiration_ms), b"m-1", 1000)
    assert b"".join(ours) == b"".join(expected)


@pytest.mark.parametrize("multiple", [False, True], ids=["one", "multiple"])
def test_acknowledged_bytes_are_those_of_pamqp(multiple: bool) -> None:  # noqa: FBT001  # a parameter of the test
    assert ack_frames(3, [(2**40, multiple)]) == [frame.marshal(Basic.Ack(2**40, multiple), 3)]


@pytest.mark.parametrize(
    "unsendable",
    [
        Message("", "k" * 256, {}, "", b""),
        Message("", "k", {"n" * 256: ""}, "", b""),
        Message("", "k", {"name": "v" * 2000}, "", b""),
    ],
    ids=["long routing key", "long header name", "large headers"],
)
def test_a_message_that_does_not_fit_into_frames_is_refused_alone(unsendable: Message) -> None:
    with pytest.raises(NotDurable):
        publish_frames(1, unsendable, b"m-1", 1000)


async def test_many_messages_are_confirmed_one_by_one(
    channel: AbstractChannel, queue: str, publish_channel: PublishChannel
) -> None:
    batch = [message(queue, bytes([number])) for number in range(64)]
    assert await answers(publish_channel, *batch) == [None] * 64
    got = [(await channel.basic_get(queue, no_ack=True)).body for _ in batch]
    assert got == [each.body for each in batch]
    assert publish_channel.confirms.in_flight == 0


async def test_a_returned_message_fails_and_its_neighbours_do_not(queue: str, publish_channel: PublishChannel) -> None:
    results = await answers(publish_channel, *(message(key) for key in (queue, "nowhere", queue, "nowhere")))
    assert results == [None, "no queue of RabbitMQ takes the event"] * 2
    assert publish_channel.confirms.in_flight == 0


async def test_a_refused_message_fails(channel: AbstractChannel, publish_channel: PublishChannel) -> None:
    arguments: dict[str, Any] = {"x-max-length": 0, "x-overflow": "reject-publish"}
    full = str((await channel.queue_declare(exclusive=True, arguments=arguments)).queue)
    assert await answers(publish_channel, message(full)) == ["a queue of RabbitMQ refused the event"]


async def test_a_channel_that_the_server_closes_fails_all_that_is_in_flight(
    queue: str, publish_channel: PublishChannel
) -> None:
    missing = Message("no.such.exchange", "", {}, "", b"")
    assert (
        await answers(publish_channel, missing, message(queue), missing) == ["the connection to RabbitMQ was lost"] * 3
    )
    await asyncio.wait_for(publish_channel.ended, TIMEOUT_S)
    with pytest.raises(NotDurable):
        await publish_channel.send(message(queue))


async def test_a_channel_that_the_server_closes_does_not_close_the_connection(request: pytest.FixtureRequest) -> None:
    """It would if aiormq published another message on it."""
    async with connected(server_url(request.config)) as station, station.channel() as first:
        publish_channel = open_publish_channel(first, station.wire, Confirms(TIMEOUT_S, RefusalTally()))
        missing = Message("no.such.exchange", "", {}, "", b"")
        assert None not in await answers(publish_channel, *[missing] * 100)
        async with station.channel() as second:
            queue = str((await second.queue_declare(exclusive=True)).queue)
            again = open_publish_channel(second, station.wire, Confirms(TIMEOUT_S, RefusalTally()))
            assert await answers(again, message(queue)) == [None]


async def test_a_lost_connection_leaves_nothing_in_flight_unanswered(
    station: Station, queue: str, publish_channel: PublishChannel
) -> None:
    """The server may confirm some messages before it reads that the connection is closed."""
    waiting = asyncio.gather(
        *(publish_channel.send(message(queue, bytes(1_000_000))) for _ in range(4)), return_exceptions=True
    )
    await station.connection.close()
    async with asyncio.timeout(TIMEOUT_S / 2):  # before they time out
        results = await waiting
        await publish_channel.ended
    assert all(result is None or isinstance(result, NotDurable) for result in results)
    with pytest.raises(NotDurable):
        await publish_channel.send(message(queue))


class Consumed:
    """Collects the messages of a ConsumeChannel."""

    def __init__(self, station: Station, channel: AbstractChannel) -> None:
        self.arrived: list[Received] = []
        self.consume_channel = ConsumeChannel(channel, station.wire, 10, self.arrived.append)

    async def until(self, count: int) -> list[Received]:
        async def have_arrived() -> bool:
            return len(self.arrived) >= count

        await eventually(have_arrived)
        return self.arrived


@pytest.fixture
async def consumed(station: Station, queue: str) -> AsyncIterator[Consumed]:
    async with station.channel() as channel:
        consumed = Consumed(station, channel)
        await channel.basic_consume(queue, consumed.consume_channel.delivered)
        yield consumed


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(0, id="empty"),
        pytest.param(1, id="one byte"),
        pytest.param(FRAME_BYTES - 1, id="a byte less than a frame"),
        pytest.param(FRAME_BYTES, id="one frame"),
        pytest.param(FRAME_BYTES + 1, id="a byte more than a frame"),
        pytest.param(3 * FRAME_BYTES + 7, id="several frames"),
    ],
)
async def test_bodies_of_any_size_arrive_unchanged(
    queue: str, publish_channel: PublishChannel, consumed: Consumed, size: int
) -> None:
    body = bytes(number % 251 for number in range(size))
    assert await answers(publish_channel, message(queue, body), message(queue)) == [None, None]
    first, second = await consumed.until(2)
    assert (first.body, second.body) == (body, b"{}")
    assert (first.headers, first.content_type, first.attempt) == (HEADERS, "application/json", 1)


async def test_headers_from_any_publisher_arrive_as_text(
    channel: AbstractChannel, queue: str, consumed: Consumed
) -> None:
    foreign: dict[str, Any] = {
        "number": 2**40,
        "table": {"a": [1, {"b": None}]},
        "bytes": bytearray(b"\xff"),
        "hookline-attempt": "3",
        "x-death": [{"count": 3, "queue": "elsewhere"}],
        "x-first-death-queue": "elsewhere",
    }
    properties = Basic.Properties(headers=foreign, content_type="a/b", priority=1, correlation_id="c")
    await channel.basic_publish(b"body", routing_key=queue, properties=properties)
    (received,) = await consumed.until(1)
    assert received.headers == {"number": str(2**40), "table": "{'a': [1, {'b': None}]}", "bytes": "\ufffd"}
    assert (received.content_type, received.body, received.attempt) == ("a/b", b"body", 3)


async def test_acknowledgements_reach_the_server(
    channel: AbstractChannel, queue: str, publish_channel: PublishChannel, consumed: Consumed
) -> None:
    await answers(publish_channel, *(message(queue, bytes([number])) for number in range(6)))
    for received in [(await consumed.until(6))[index] for index in (4, 0, 1, 3)]:
        received.token.acks.done(received.token.tag)
    await consumed.consume_channel.acknowledged()
    await consumed.consume_channel.channel.basic_nack(0, multiple=True, requeue=True)
    again = (await consumed.until(8))[6:]
    assert sorted(received.body for received in again) == [bytes([2]), bytes([5])]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"content_type": "a/?"}, id="a type that is no UTF-8"),
        pytest.param({"headers": {"when": "????????"}}, id="a time after the end of time"),
    ],
)
async def test_a_message_that_pamqp_cannot_read_is_handed_out(
    request: pytest.FixtureRequest, header: dict[str, Any]
) -> None:
    """aiormq would close the connection, and get the message again on the next one, forever."""
    async with connected(server_url(request.config)) as station, station.channel() as channel:
        assert station.wire is not None
        queue = str((await channel.queue_declare(exclusive=True)).queue)
        consumed = Consumed(station, channel)
        await channel.basic_consume(queue, consumed.consume_channel.delivered)
        content = frame.marshal(ContentHeader(body_size=2, properties=Basic.Properties(**header)), channel.number)
        broken = content.replace(b"S\0\0\0\x08????????", b"T" + 8 * b"\x7f").replace(b"?", b"\xff")
        method = frame.marshal(Basic.Publish(routing_key=queue), channel.number)
        station.wire.write([method, shortened(broken), frame.marshal(ContentBody(b"{}"), channel.number)])
        (received,) = await consumed.until(1)
        assert (received.body, received.headers, received.attempt) == (b"{}", {}, 1)


def shortened(content: bytes) -> bytes:
    """The frame with the lengths that its bytes have now: those of a table are four less for a time than for a text."""
    lost = 7 + int.from_bytes(content[3:7], "big") + 1 - len(content)
    if not lost:
        return content
    size = (int.from_bytes(content[3:7], "big") - lost).to_bytes(4, "big")
    table = (int.from_bytes(content[21:25], "big") - lost).to_bytes(4, "big")
    return content[:3] + size + content[7:21] + table + content[25:]
