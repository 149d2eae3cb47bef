"""One confirm channel to publish on: what is published in one turn of the event loop goes out in one write."""

import asyncio
from collections.abc import Iterator
from itertools import count
from struct import Struct
from typing import Protocol
from uuid import uuid4

from aiormq.abc import AbstractChannel
from aiormq.exceptions import AMQPError, DeliveryError, PublishError

from hookline.broker.rabbitmq.confirms import UNROUTABLE, Confirms, Pending
from hookline.broker.rabbitmq.wire.connection_state import is_blocked, max_content_bytes
from hookline.broker.rabbitmq.wire.decode import Assembly, message_id
from hookline.broker.rabbitmq.wire.encode import Frames, Message, envelope_frames, publish_frames
from hookline.broker.rabbitmq.wire.frame_transport import METHOD, FrameTransport
from hookline.broker.rabbitmq.wire.properties import properties_of
from hookline.schemas.envelope import Envelope, to_headers
from hookline.schemas.errors import NotDurable, Unreadable

LOST = "the connection to RabbitMQ was lost"
_ALARM = "RabbitMQ takes nothing now (memory or disk alarm)"
_REFUSED = "a queue of RabbitMQ refused the event"
_ACK, _NACK, _RETURN = b"\0\x3c\0\x50", b"\0\x3c\0\x78", b"\0\x3c\0\x32"
_tag_and_bits = Struct(">QB").unpack_from


class PublishChannel(Protocol):
    """Nobody else may publish on its channel, so that tags are ours to count. Two implementations, below."""

    confirms: Confirms
    ended: "asyncio.Future[None]"

    @property
    def is_blocked(self) -> bool:
        """Whether the server has said that it takes nothing now."""

    def send(self, message: Message) -> "asyncio.Future[None]":
        """The answer to come. Raises NotDurable for a message that cannot be sent."""

    def send_envelope(self, exchange: str, envelope: Envelope) -> "asyncio.Future[None]":
        """The same, of the message that carries an envelope."""

    def end(self) -> None:
        """Answer everybody: the channel is gone."""


def open_publish_channel(
    channel: AbstractChannel, transport: FrameTransport | None, timeout_s: float
) -> PublishChannel:
    """The faster of the two, where there is a wire."""
    publishing = (
        AiormqPublishChannel(channel, timeout_s)
        if transport is None
        else RawPublishChannel(channel, transport, timeout_s)
    )
    channel.closing.add_done_callback(lambda _: publishing.end())
    return publishing


class RawPublishChannel:
    """Implements PublishChannel, and Listener: writes to the socket, and takes the confirms off it."""

    def __init__(self, channel: AbstractChannel, transport: FrameTransport, timeout_s: float) -> None:
        self.confirms = Confirms(timeout_s)
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._transport = transport
        self._number = channel.number
        self._max_content_bytes = max_content_bytes(channel)
        self._returns = Assembly(_RETURN, self._returned)
        self._message_ids = _message_ids()
        self._is_due = False
        transport.listen(channel.number, self)

    @property
    def is_blocked(self) -> bool:
        return self._transport.is_blocked

    def send(self, message: Message) -> "asyncio.Future[None]":
        each = next(self._message_ids)
        return self._send(each, publish_frames(self._number, message, each, self._max_content_bytes))

    def send_envelope(self, exchange: str, envelope: Envelope) -> "asyncio.Future[None]":
        each = next(self._message_ids)
        return self._send(each, envelope_frames(self._number, exchange, envelope, each, self._max_content_bytes))

    def end(self) -> None:
        self.confirms.fail(LOST)
        if not self.ended.done():
            self.ended.set_result(None)

    def frame(self, kind: int, payload: bytes) -> bool:
        if kind == METHOD and payload.startswith((_ACK, _NACK)):
            tag, bits = _tag_and_bits(payload, 4)
            refusal = None if payload.startswith(_ACK) else _REFUSED
            self.confirms.settle(tag, multiple=bool(bits & 1), refusal=refusal)
            return True
        return self._returns.frame(kind, payload)

    def writable(self) -> None:
        self._write()

    def closed(self) -> None:
        self.end()

    def _send(self, message_id: str, frames: Frames) -> "asyncio.Future[None]":
        if self.ended.done():
            raise NotDurable(LOST)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._write)
        return self.confirms.add(message_id, frames)

    def _write(self) -> None:
        """Write all that waits, for as long as the socket takes it."""
        self._is_due = False
        if self._transport.is_blocked:  # it would be kept when the alarm is over, long after we said that it was not
            self.confirms.refuse_unwritten(_ALARM)
        while not self._transport.is_paused and (batch := self.confirms.next_batch()):
            self._transport.write([part for pending in batch for part in pending.frames])
            for pending in batch:
                pending.frames = []  # bodies may be large, and the socket has them now

    def _returned(self, _method: bytes, header: bytes, _body: bytes) -> None:
        try:
            self.confirms.returned(message_id(header))
        except Unreadable:  # whose it is cannot be told, and its confirm comes next
            self.end()


class AiormqPublishChannel:
    """Implements PublishChannel by aiormq's public call, one task for each message."""

    def __init__(self, channel: AbstractChannel, timeout_s: float) -> None:
        self.confirms = Confirms(timeout_s)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._channel = channel
        self._message_ids = _message_ids()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_blocked(self) -> bool:
        return is_blocked(self._channel.connection)

    def send(self, message: Message) -> "asyncio.Future[None]":
        if self.ended.done():
            raise NotDurable(LOST)
        if self.is_blocked:
            raise NotDurable(_ALARM)
        each = next(self._message_ids)
        publish_frames(self._channel.number, message, each, max_content_bytes(self._channel))  # to see that it can be
        confirmed = self.confirms.add(each, [])
        for pending in self.confirms.next_batch():
            task = asyncio.create_task(self._publish(message, pending))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return confirmed

    def send_envelope(self, exchange: str, envelope: Envelope) -> "asyncio.Future[None]":
        headers = to_headers(envelope)
        return self.send(Message(exchange, envelope.routing_key, headers, envelope.content_type, envelope.body))

    def end(self) -> None:
        self.confirms.fail(LOST)
        for task in self._tasks:
            task.cancel()
        if not self.ended.done():
            self.ended.set_result(None)

    async def _publish(self, message: Message, pending: Pending) -> None:
        refusal: str | None = None
        try:
            await self._basic_publish(message, pending.message_id)
        except PublishError:
            refusal = UNROUTABLE
        except DeliveryError:
            refusal = _REFUSED
        except (AMQPError, RuntimeError, OSError, ValueError, asyncio.CancelledError):
            refusal = LOST
        self.confirms.settle(pending.tag, multiple=False, refusal=refusal)

    async def _basic_publish(self, message: Message, message_id: str) -> None:
        await self._channel.basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=properties_of(message, message_id),
            mandatory=True,
        )


def _message_ids() -> Iterator[str]:
    """Each is new, whichever process it is."""
    publishing = uuid4().hex[:12]
    return (f"{publishing}-{number}" for number in count())
