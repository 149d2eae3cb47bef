"""Publishes on a channel against the frames of a server, without a server."""

import asyncio
import math
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiormq.abc import AbstractChannel
from pamqp import frame
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Connection
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from hookline.aio.deadlines import LOOKS_S
from hookline.aio.refusal_tally import RefusalTally
from hookline.broker.rabbitmq.confirms import Confirms, Pending
from hookline.broker.rabbitmq.publish_channel import RawPublishChannel
from hookline.broker.rabbitmq.wire.encode import Message
from hookline.broker.rabbitmq.wire.frame_transport import FrameTransport
from hookline.schemas.errors import NotDurable, Obstacle

NUMBER = 7
MESSAGE = Message("e", "k", {}, "a/b", b"{}")
REFUSED = "a queue of RabbitMQ refused the event"
LOST = "the connection to RabbitMQ was lost"
_FRAMES_BYTES = 1024  # more than one frame of these messages has


class Socket(asyncio.Transport):
    """Collects writes, one entry each."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def is_closing(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))


class Server:
    """A publish channel, and the frames that a server would send to it."""

    def __init__(self, timeout_s: float = 5.0, most_written: float = math.inf, most: float = math.inf) -> None:
        connection = SimpleNamespace(connection_tune=SimpleNamespace(frame_max=131_072))
        self.socket = Socket()
        self.wire = FrameTransport(asyncio.Protocol(), lambda: -1.0)
        self.wire.connection_made(self.socket)
        self.publishing = RawPublishChannel(
            cast("AbstractChannel", SimpleNamespace(number=NUMBER, connection=connection)),
            self.wire,
            Confirms(timeout_s, RefusalTally(), most_written, most),
        )

    async def publishes(self, count: int) -> list[Pending]:
        """Publish and write `count` messages."""
        sent = [self.publishing.send(MESSAGE) for _ in range(count)]
        await asyncio.sleep(0)
        return sent

    def sends(self, what: Frame | ContentHeader, channel: int = NUMBER) -> None:
        self.wire.data_received(frame.marshal(what, channel))

    def returns(self, number: int) -> None:
        """Return the message with this number."""
        self.sends(Basic.Return(312, "NO_ROUTE", "e", "k"))
        self.sends(ContentHeader(body_size=0, properties=Basic.Properties(message_id=self.message_id(number))))

    def message_id(self, number: int) -> str:
        return self.message_ids()[number]

    def message_ids(self) -> list[str]:
        """Those of all messages that were written."""
        frames, ids = memoryview(b"".join(self.socket.writes)), []
        while frames:
            taken, _, content = frame.unmarshal(bytes(frames[:_FRAMES_BYTES]))
            frames = frames[taken:]
            if isinstance(content, ContentHeader):
                ids.append(str(content.properties.message_id))
        return ids


def results(sent: list[Pending]) -> list[str | None]:
    """The result of each so far: … while pending, None once confirmed, or the error."""
    return ["…" if not each.done() else str(each.exception()) if each.exception() else None for each in sent]


async def test_messages_of_one_turn_of_the_loop_go_out_in_one_write() -> None:
    server = Server()
    await server.publishes(50)
    assert len(server.socket.writes) == 1


async def test_confirms_may_come_in_any_order_single_or_multiple() -> None:
    server = Server()
    sent = await server.publishes(8)
    server.sends(Basic.Ack(6))
    assert results(sent) == ["…", "…", "…", "…", "…", None, "…", "…"]
    server.sends(Basic.Ack(3, multiple=True))
    assert results(sent) == [None, None, None, "…", "…", None, "…", "…"]
    server.sends(Basic.Nack(7, multiple=True))
    assert results(sent) == [None, None, None, REFUSED, REFUSED, None, REFUSED, "…"]
    server.sends(Basic.Ack(8))
    assert results(sent)[-1] is None
    assert server.publishing.confirms.in_flight == 0


async def test_confirms_are_taken_wherever_what_is_read_ends() -> None:
    answers = (Basic.Ack(1), Basic.Ack(3, multiple=True), Basic.Nack(4))
    confirms = b"".join(frame.marshal(each, NUMBER) + frame.marshal(Heartbeat(), 0) for each in answers)
    for end in range(len(confirms)):
        server = Server()
        sent = await server.publishes(5)
        server.wire.data_received(confirms[:end])
        server.wire.data_received(confirms[end:])
        assert results(sent) == [None, None, None, REFUSED, "…"]


async def test_an_unexpected_confirm_changes_nothing() -> None:
    server = Server()
    sent = await server.publishes(2)
    for _ in range(2):
        server.sends(Basic.Ack(1))
    assert results(sent) == [None, "…"]
    assert server.publishing.confirms.in_flight == 1


async def test_a_returned_message_is_not_confirmed_by_its_confirm() -> None:
    server = Server()
    sent = await server.publishes(3)
    server.returns(1)
    assert results(sent) == ["…", "no queue of RabbitMQ takes the event", "…"]
    server.sends(Basic.Ack(3, multiple=True))
    assert results(sent) == [None, "no queue of RabbitMQ takes the event", None]


async def test_a_returned_message_is_found_although_messages_before_it_were_never_written() -> None:
    server = Server()
    sent = [server.publishing.send(MESSAGE) for _ in range(4)]
    sent[0].cancel()
    sent[2].cancel()
    await asyncio.sleep(0)
    server.returns(1)
    assert results(sent)[1::2] == ["…", "no queue of RabbitMQ takes the event"]


async def test_returned_messages_of_others_change_nothing() -> None:
    server = Server()
    sent = await server.publishes(2)
    own = server.message_id(0)
    for foreign in ("", "1", own[:-1], f"{own}9", f"{own[:-1]}x", f"x{own}", f"{own[:-1]}²"):
        server.sends(Basic.Return(312, "NO_ROUTE", "e", "k"))
        server.sends(ContentHeader(body_size=0, properties=Basic.Properties(message_id=foreign)))
    assert results(sent) == ["…", "…"]


async def test_a_returned_message_costs_the_same_however_many_are_in_flight() -> None:
    few, many = [min([await seconds_per_return(count) for _ in range(2)]) for count in (500, 16_000)]
    assert many < 4 * few


async def seconds_per_return(count: int) -> float:
    """Processor time per message, if all that are in flight are returned."""
    server = Server()
    sent = await server.publishes(count)
    returned = [
        frame.marshal(Basic.Return(312, "NO_ROUTE", "e", "k"), NUMBER)
        + frame.marshal(ContentHeader(body_size=0, properties=Basic.Properties(message_id=each)), NUMBER)
        for each in server.message_ids()
    ]
    began_s = time.process_time()
    for each in returned:
        server.wire.data_received(each)
    took_s = time.process_time() - began_s
    assert all(each.done() for each in sent)
    return took_s / count


async def test_an_unreadable_returned_message_fails_all_in_flight() -> None:
    server = Server()
    sent = await server.publishes(2)
    server.sends(Basic.Return(312, "NO_ROUTE", "e", "k"))
    content = ContentHeader(body_size=0, properties=Basic.Properties(message_id="x"))
    server.wire.data_received(frame.marshal(content, NUMBER).replace(b"\x01x", b"\x01\xff"))
    server.sends(Basic.Ack(2, multiple=True))
    assert results(sent) == [LOST, LOST]


async def test_nothing_is_written_while_the_socket_is_paused() -> None:
    server = Server()
    server.wire.is_paused = True
    sent = await server.publishes(3)
    assert server.socket.writes == []
    assert server.publishing.confirms.in_flight == 3
    sent[1].cancel()
    server.wire.is_paused = False
    server.publishing.writable()
    server.sends(Basic.Ack(2, multiple=True))
    assert results([sent[0], sent[2]]) == [None, None]


async def test_messages_beyond_the_limit_are_written_in_order_once_others_are_confirmed() -> None:
    server = Server(most_written=2)
    sent = await server.publishes(5)
    assert len(server.message_ids()) == 2
    server.sends(Basic.Ack(1))
    await asyncio.sleep(0)
    assert len(server.message_ids()) == 3
    server.sends(Basic.Nack(3, multiple=True))
    await asyncio.sleep(0)
    server.sends(Basic.Ack(5, multiple=True))
    assert results(sent) == [None, REFUSED, REFUSED, None, None]


async def test_messages_published_during_an_alarm_are_refused_and_never_written() -> None:
    server = Server()
    server.sends(Connection.Blocked("memory"), 0)
    sent = await server.publishes(2)
    assert results(sent) == ["RabbitMQ takes nothing now (memory or disk alarm)"] * 2
    server.sends(Connection.Unblocked(), 0)
    again = await server.publishes(1)
    server.sends(Basic.Ack(1))
    assert results(again) == [None]


async def test_a_message_that_is_not_confirmed_in_time_fails_and_stays_in_flight() -> None:
    server = Server(timeout_s=0.01)
    sent = await server.publishes(2)
    late = await asyncio.gather(*sent, return_exceptions=True)
    assert [str(each) for each in late] == ["RabbitMQ did not confirm in time"] * 2
    assert (server.publishing.confirms.in_flight, server.publishing.confirms.is_silent) == (2, True)
    server.sends(Basic.Ack(2, multiple=True))
    assert (server.publishing.confirms.in_flight, server.publishing.confirms.is_silent) == (0, False)


async def test_each_message_has_its_own_deadline_although_they_share_a_timer() -> None:
    server = Server(timeout_s=0.02)
    for _ in range(3):
        (sent,) = await server.publishes(1)
        with pytest.raises(NotDurable):
            await asyncio.wait_for(sent, 5)


async def test_time_in_which_the_process_stood_still_does_not_count() -> None:
    server = Server(timeout_s=2 * LOOKS_S)
    sent = await server.publishes(2)
    time.sleep(3 * LOOKS_S)  # noqa: ASYNC251  nothing else may run
    for _ in range(3):  # the timer fires
        await asyncio.sleep(0)
    assert (results(sent), server.publishing.confirms.is_silent) == (["…", "…"], False)


@pytest.mark.parametrize(
    "over", [Channel.Close(404, "gone", 60, 40), Channel.CloseOk()], ids=["by the server", "by the client"]
)
async def test_nothing_is_written_to_a_channel_that_the_server_has_closed(over: Frame) -> None:
    server = Server()
    sent = await server.publishes(2)
    unwritten = server.publishing.send(MESSAGE)
    server.sends(over)
    await asyncio.sleep(0)
    assert results([*sent, unwritten]) == [LOST] * 3
    assert len(server.socket.writes) == 1
    with pytest.raises(NotDurable):
        await server.publishing.send(MESSAGE)


@pytest.mark.parametrize(
    ("over", "obstacle"),
    [
        (
            Channel.Close(406, "PRECONDITION_FAILED - message size 2 is larger than max size 1", 60, 40),
            Obstacle.REFUSED,
        ),
        (Channel.Close(403, "ACCESS_REFUSED - access to topic", 60, 40), Obstacle.REFUSED),
        (Channel.Close(404, "NOT_FOUND - no exchange", 60, 40), Obstacle.AWAY),
        (Channel.CloseOk(), Obstacle.AWAY),
    ],
    ids=["too large", "not allowed", "no exchange", "by the client"],
)
async def test_messages_in_flight_are_refused_if_the_server_closes_the_channel_because_of_one(
    over: Frame, obstacle: Obstacle
) -> None:
    server = Server()
    sent = await server.publishes(2)
    server.sends(over)
    errors = [each.exception() for each in sent]
    assert [error.obstacle for error in errors if isinstance(error, NotDurable)] == [obstacle] * 2


async def test_a_message_that_is_published_when_another_one_is_lost_is_refused_and_not_forgotten() -> None:
    server = Server()
    (sent,) = await server.publishes(1)
    again: list[Pending] = []
    errors: list[NotDurable] = []

    def publish_again(publishing: RawPublishChannel, _: BaseException | None) -> None:
        try:
            again.append(publishing.send(MESSAGE))
        except NotDurable as error:
            errors.append(error)

    sent.when_ended(publish_again, server.publishing)
    server.sends(Channel.Close(404, "gone", 60, 40))
    await asyncio.sleep(0)
    assert (again, [str(error) for error in errors]) == ([], [LOST])
    assert server.publishing.confirms.in_flight == 0
    assert len(server.socket.writes) == 1


async def test_a_message_too_many_is_refused_until_another_one_is_confirmed() -> None:
    server = Server(most=2)
    await server.publishes(2)
    with pytest.raises(NotDurable, match="too many"):
        await server.publishing.send(MESSAGE)
    server.sends(Basic.Ack(1))
    (sent,) = await server.publishes(1)
    server.sends(Basic.Ack(3))
    assert results([sent]) == [None]


async def test_answered_waits_for_every_message_in_flight() -> None:
    server = Server()
    await server.publishes(2)
    ending = asyncio.create_task(server.publishing.confirms.answered())
    await asyncio.sleep(0)
    server.sends(Basic.Ack(1))
    await asyncio.sleep(0)
    assert not ending.done()
    server.sends(Basic.Ack(2))
    await asyncio.wait_for(ending, 5)
