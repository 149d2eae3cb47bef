"""One confirm channel to publish on. All messages of one turn of the event loop go out in one write."""

import asyncio
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Protocol
from uuid import uuid4

from aiormq.abc import AbstractChannel
from aiormq.exceptions import AMQPError, ChannelClosed, DeliveryError, PublishError

from hookline.broker.rabbitmq.confirms import CLOSED, REFUSED, UNROUTABLE, Confirms, Content, Pending
from hookline.broker.rabbitmq.wire.connection_state import (
    close_error,
    is_blocked,
    max_content_bytes,
    refuses_a_message,
)
from hookline.broker.rabbitmq.wire.decode import Assembly, message_id
from hookline.broker.rabbitmq.wire.encode import (
    Frames,
    Message,
    envelope_frames,
    message_surely_fits,
    publish_frames,
    surely_fits,
    template_of,
)
from hookline.broker.rabbitmq.wire.frame_transport import END, METHOD, FrameTransport
from hookline.broker.rabbitmq.wire.properties import properties_of
from hookline.schemas.envelope import Envelope, to_headers
from hookline.schemas.errors import NotDurable, Unreadable

LOST = "the connection to RabbitMQ was lost"
_ALARM = "RabbitMQ takes nothing now (memory or disk alarm)"
_RETURN = b"\0\x3c\0\x32"
_REFUSALS = {0x003C_0050: None, 0x003C_0078: REFUSED}
"""By the method of a confirm: Basic.Ack and Basic.Nack."""
_CONFIRM = Struct(">3sIIQBB")
_CONFIRM_BYTES = 13  # without its head and its end
_METHOD_HEAD = Struct(">BH")


class PublishChannel(Protocol):
    """Publishes on a channel that nothing else publishes on, since it counts the delivery tags. Implemented twice."""

    confirms: Confirms
    ended: "asyncio.Future[None]"

    @property
    def is_blocked(self) -> bool:
        """Whether the server has blocked the connection (a memory or disk alarm)."""

    def send(self, message: Message) -> Pending:
        """Publish; the message ends with its confirm, or with NotDurable. Raises NotDurable if it cannot be sent."""

    def send_envelope(self, exchange: str, envelope: Envelope) -> Pending:
        """The same for the message of an envelope."""

    def end(self, error: BaseException | None = None) -> None:
        """Fail all messages in flight: the channel is closed. `error` is why, if the server has said so."""


def open_publish_channel(
    channel: AbstractChannel, transport: FrameTransport | None, confirms: Confirms
) -> PublishChannel:
    """The raw publish channel if there is a frame transport; otherwise the one of public calls."""
    publishing = (
        AiormqPublishChannel(channel, confirms)
        if transport is None
        else RawPublishChannel(channel, transport, confirms)
    )
    channel.closing.add_done_callback(lambda closing: publishing.end(close_error(closing)))
    return publishing


class RawPublishChannel:
    """Implements PublishChannel and Listener: writes frames to the socket and reads the confirms from it."""

    def __init__(self, channel: AbstractChannel, transport: FrameTransport, confirms: Confirms) -> None:
        self.confirms = confirms
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._transport = transport
        self._number = channel.number
        self._head = _METHOD_HEAD.pack(METHOD, channel.number)
        self._max_content_bytes = max_content_bytes(channel)
        self._returns = Assembly(channel.number, _RETURN, self._returned)
        self._message_ids = MessageIds()
        self._is_due = False
        transport.listen(channel.number, self)

    @property
    def is_blocked(self) -> bool:
        return self._transport.is_blocked

    def send(self, message: Message) -> Pending:
        if not message_surely_fits(message):  # only for its errors
            publish_frames(self._number, message, self._message_ids.longest, self._max_content_bytes)
        return self._send(message, len(message.body))

    def send_envelope(self, exchange: str, envelope: Envelope) -> Pending:
        """The frames are made when they are written: to make many at a time costs half as much."""
        template = template_of(self._number, exchange, envelope)
        if not surely_fits(template, envelope):  # only for its errors
            envelope_frames(template, envelope, self._message_ids.longest, self._max_content_bytes)
        return self._send((template, envelope), len(envelope.body))

    def end(self, error: BaseException | None = None) -> None:
        self.confirms.fail(_why_ended(error))
        if not self.ended.done():
            self.ended.set_result(None)

    def whole_messages(self, data: bytes, at: int) -> int:
        """Take the confirms, which are nearly all that the server sends."""
        last = len(data) - _CONFIRM.size
        while at <= last:
            head, size, method, tag, bits, end = _CONFIRM.unpack_from(data, at)
            if method not in _REFUSALS or head != self._head or size != _CONFIRM_BYTES or end != END:
                break
            self.confirms.settle(tag, multiple=bool(bits & 1), refusal=_REFUSALS[method])
            at += _CONFIRM.size
        if self.confirms.unwritten and not self._is_due:
            self._write_soon()
        return at

    def frame(self, kind: int, payload: bytes) -> bool:
        return self._returns.frame(kind, payload)

    def writable(self) -> None:
        self._write()

    def closed(self, error: ChannelClosed | None) -> None:
        self.end(error)

    def _send(self, content: Content, body_bytes: int) -> Pending:
        pending = self.confirms.add(content, body_bytes)
        if not self._is_due:
            self._write_soon()
        return pending

    def _write_soon(self) -> None:
        self._is_due = True
        self._loop.call_soon(self._write)

    def _write(self) -> None:
        """Write the waiting messages until the socket pauses."""
        self._is_due = False
        transport, confirms = self._transport, self.confirms
        if transport.is_blocked:  # after the alarm the server would keep what was already answered as not kept
            confirms.refuse_unwritten(_ALARM)
        while confirms.unwritten and not transport.is_paused and (batch := confirms.next_batch()):
            transport.write(self._frames(batch))

    def _frames(self, batch: Sequence[tuple[int, Content]]) -> Frames:
        frames: Frames = []
        number, max_bytes, id_of = self._number, self._max_content_bytes, self._message_ids.of
        for tag, content in batch:
            if isinstance(content, tuple):
                template, envelope = content
                frames += envelope_frames(template, envelope, id_of(tag), max_bytes)
            else:
                frames += publish_frames(number, content, id_of(tag), max_bytes)
        return frames

    def _returned(self, _method: bytes, header: bytes, _body: bytes) -> None:
        try:
            self.confirms.returned(self._message_ids.tag(message_id(header)))
        except Unreadable:  # its message is unknown, and the next confirm would confirm the wrong one
            self.end()


class AiormqPublishChannel:
    """Implements PublishChannel with aiormq's public call, in one task per message."""

    def __init__(self, channel: AbstractChannel, confirms: Confirms) -> None:
        self.confirms = confirms
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._channel = channel
        self._message_ids = MessageIds()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_blocked(self) -> bool:
        return is_blocked(self._channel.connection)

    def send(self, message: Message) -> Pending:
        if self.ended.done():
            raise NotDurable(LOST)
        if self.is_blocked:
            raise NotDurable(_ALARM)
        longest, max_bytes = self._message_ids.longest, max_content_bytes(self._channel)
        publish_frames(self._channel.number, message, longest, max_bytes)  # only for its errors
        confirmed = self.confirms.add(message, len(message.body))
        self._publish_next()
        return confirmed

    def send_envelope(self, exchange: str, envelope: Envelope) -> Pending:
        headers = to_headers(envelope)
        return self.send(Message(exchange, envelope.routing_key, headers, envelope.content_type, envelope.body))

    def end(self, error: BaseException | None = None) -> None:
        self.confirms.fail(_why_ended(error))
        for task in self._tasks:
            task.cancel()
        if not self.ended.done():
            self.ended.set_result(None)

    def _publish_next(self) -> None:
        """Publish the waiting messages, each in a task."""
        for tag, content in self.confirms.next_batch():
            if isinstance(content, Message):
                task = asyncio.create_task(self._publish(content, tag))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _publish(self, message: Message, tag: int) -> None:
        refusal: str | None = None
        try:
            await self._basic_publish(message, self._message_ids.of(tag).decode())
        except PublishError:
            refusal = UNROUTABLE
        except DeliveryError:
            refusal = REFUSED
        except (AMQPError, RuntimeError, OSError, ValueError, asyncio.CancelledError) as error:
            refusal = _why_ended(error)
        self.confirms.settle(tag, multiple=False, refusal=refusal)
        if self.confirms.unwritten and not self.ended.done():
            self._publish_next()

    async def _basic_publish(self, message: Message, message_id: str) -> None:
        await self._channel.basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=properties_of(message, message_id),
            mandatory=True,
        )


def _why_ended(error: BaseException | None) -> str:
    """What a message in flight ends with. The server does not say because of which one it closed the channel."""
    return CLOSED if refuses_a_message(error) else LOST


class MessageIds:
    """Message ids that no other channel or process uses. Each holds the delivery tag of its message."""

    def __init__(self) -> None:
        self._prefix = f"{uuid4().hex[:12]}-"
        self.of: Callable[[int], bytes] = f"{self._prefix}%d".encode().__mod__
        """The id of the message with a delivery tag."""
        self.longest = self.of(2**64 - 1)

    def tag(self, message_id: str) -> int:
        """The delivery tag of a message; 0, which no message has, for an id of others."""
        prefix, tag = message_id[: len(self._prefix)], message_id[len(self._prefix) :]
        return int(tag) if prefix == self._prefix and tag.isdecimal() and tag.isascii() else 0
