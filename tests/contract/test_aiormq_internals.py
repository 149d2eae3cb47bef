"""The insides of aiormq and the bytes of AMQP that the fast path relies on. To be run at each change of version."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import uuid4

import pytest
from aiormq.abc import AbstractChannel, ChannelFrame
from aiormq.exceptions import DeliveryError, PublishError
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from broker import rabbitmq_frames
from broker.rabbitmq_frames import Lane, Message, Pending, ack_frame, is_supported, publish_frames, write_acks
from schemas.errors import NotDurable
from tests.contract.installations import eventually, raw_channel
from tests.services.rabbitmq import server_url

HEADERS = {"cloudEvents_id": "0" * 32, "cloudEvents_subject": "会议室 🎥", "empty": ""}


def message(routing_key: str, body: bytes = b"{}") -> Message:
    return Message("", routing_key, HEADERS, "application/json", body)


def pending(lane: Lane, of: Message) -> Pending:
    message_id = uuid4().hex
    return Pending(of, message_id, lane.format(of, message_id), asyncio.get_running_loop().create_future())


@pytest.fixture
async def channel(request: pytest.FixtureRequest) -> AsyncIterator[AbstractChannel]:
    async with raw_channel(server_url(request.config)) as opened:
        yield opened


@pytest.fixture
async def queue(channel: AbstractChannel) -> str:
    return str((await channel.queue_declare(exclusive=True)).queue)


@pytest.fixture(params=["in one go", "singly"])
def lane(request: pytest.FixtureRequest, channel: AbstractChannel, monkeypatch: pytest.MonkeyPatch) -> Lane:
    if request.param == "singly":
        monkeypatch.setattr(rabbitmq_frames, "is_supported", lambda _: False)
    return Lane(channel)


async def test_the_installed_aiormq_has_the_insides_that_writing_in_one_go_needs(channel: AbstractChannel) -> None:
    assert is_supported(channel)


@pytest.mark.parametrize(
    "missing", ["confirmations", "delivery_tag", "write_queue", "message_id_delivery_tag", "max_content_size", "number"]
)
def test_an_aiormq_of_another_shape_is_noticed(missing: str) -> None:
    class Other:
        number = delivery_tag = max_content_size = 1

        def __init__(self) -> None:
            self.confirmations: dict[int, Any] = {}
            self.message_id_delivery_tag: dict[str, int] = {}
            self.write_queue: asyncio.Queue[ChannelFrame] = asyncio.Queue()

    other = Other()
    assert is_supported(cast("AbstractChannel", other))
    setattr(other, missing, None)
    assert not is_supported(cast("AbstractChannel", other))


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 2500])
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
    ours = publish_frames(3, Message("e", "a.b", HEADERS, "application/json", body), "m-1", 1000)
    assert ours == b"".join(expected)


@pytest.mark.parametrize("expiration_ms", [0, 1, 4_294_967_295])
def test_a_message_that_expires_has_the_bytes_of_pamqp(expiration_ms: int) -> None:
    properties = Basic.Properties(
        content_type="a/b", headers=dict(HEADERS), delivery_mode=2, message_id="m-1", expiration=str(expiration_ms)
    )
    expected = [
        frame.marshal(Basic.Publish(routing_key="a.b", mandatory=True), 3),
        frame.marshal(ContentHeader(body_size=0, properties=properties), 3),
    ]
    assert publish_frames(3, Message("", "a.b", HEADERS, "a/b", b"", expiration_ms), "m-1", 1000) == b"".join(expected)


@pytest.mark.parametrize("multiple", [False, True])
def test_acknowledged_bytes_are_those_of_pamqp(multiple: bool) -> None:  # noqa: FBT001  # a parameter of the test
    assert ack_frame(3, 2**40, multiple=multiple) == frame.marshal(Basic.Ack(2**40, multiple), 3)


@pytest.mark.parametrize(
    "unsendable",
    [
        Message("", "k" * 256, {}, "", b""),
        Message("", "k", {"n" * 256: ""}, "", b""),
        Message("", "k", {"name": "v" * 2000}, "", b""),
    ],
    ids=["long routing key", "long header name", "large headers"],
)
def test_a_message_that_no_frame_can_hold_is_refused_alone(unsendable: Message) -> None:
    with pytest.raises(NotDurable):
        publish_frames(1, unsendable, "m-1", 1000)


async def test_a_batch_is_confirmed_one_by_one(channel: AbstractChannel, queue: str, lane: Lane) -> None:
    batch = [pending(lane, message(queue, bytes([number]))) for number in range(64)]
    await lane.write(batch)
    async with asyncio.timeout(5):
        await asyncio.gather(*(each.confirmed for each in batch))
    got = [(await channel.basic_get(queue, no_ack=True)).body for _ in batch]
    assert got == [each.message.body for each in batch]
    assert lane.unconfirmed == 0


async def test_a_message_that_came_back_fails_and_its_neighbours_do_not(queue: str, lane: Lane) -> None:
    batch = [pending(lane, message(key)) for key in (queue, "nowhere", queue, "nowhere")]
    await lane.write(batch)
    async with asyncio.timeout(5):
        results = await asyncio.gather(*(each.confirmed for each in batch), return_exceptions=True)
    assert [isinstance(result, PublishError) for result in results] == [False, True, False, True]


async def test_a_refused_message_fails(channel: AbstractChannel, lane: Lane) -> None:
    arguments: dict[str, Any] = {"x-max-length": 0, "x-overflow": "reject-publish"}
    full = str((await channel.queue_declare(exclusive=True, arguments=arguments)).queue)
    refused = pending(lane, message(full))
    await lane.write([refused])
    async with asyncio.timeout(5):
        with pytest.raises(DeliveryError):
            await refused.confirmed


async def test_acknowledgements_reach_the_server(channel: AbstractChannel, queue: str) -> None:
    for _ in range(4):
        await channel.basic_publish(b"", routing_key=queue)
    tags = [(await channel.basic_get(queue)).delivery_tag or 0 for _ in range(4)]
    await write_acks(channel, [(tags[1], True), (tags[3], False)])
    await channel.basic_nack(0, multiple=True, requeue=True)

    async def all_but_one_are_gone() -> bool:
        return (await channel.queue_declare(queue, passive=True)).message_count == 1

    await eventually(all_but_one_are_gone)
