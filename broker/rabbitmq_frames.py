"""AMQP frames written by hand, many in one go. Whatever relies on the insides of aiormq is in this module.

`Channel.basic_publish` writes one message, waits for the socket, and formats headers generically: most of the cost of
an event. Here frames are formatted as bytes, and all that is pending goes out in one write. A contract test compares
the bytes with pamqp's and checks the insides; where their shape differs, `Lane.write` uses `basic_publish` instead.
"""

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Any

from aiormq.abc import AbstractChannel, ChannelFrame
from aiormq.exceptions import AMQPError
from pamqp.commands import Basic

from schemas.errors import NotDurable

MAX_SHORT = 255
_END = b"\xce"
_METHOD, _HEADER, _BODY = 1, 2, 3
_BASIC, _PUBLISH, _ACK = 60, 40, 80
_MANDATORY = 1
_FLAGS = 0x8000 | 0x2000 | 0x1000 | 0x0080  # content_type, headers, delivery_mode, message_id
_EXPIRES = 0x0100
_PERSISTENT = b"\x02"
_frame = Struct(">BHI").pack
_method = Struct(">HH").pack
_publish = Struct(">HHH").pack
_ack = Struct(">HHQB").pack
_content = Struct(">HHQH").pack
_long = Struct(">I").pack


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be published. All messages are persistent, and must reach a queue.

    `expiration_ms`: how long it stays there at most.
    """

    exchange: str
    routing_key: str
    headers: Mapping[str, str]
    content_type: str
    body: bytes
    expiration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A message that waits for its confirm.

    `message_id` is new for every attempt: aiormq finds the publish that a returned message belongs to by it, and two
    equal ones in flight would confirm the wrong one.
    """

    message: Message
    message_id: str
    payload: bytes
    confirmed: "asyncio.Future[Any]"


def is_supported(channel: AbstractChannel) -> bool:
    """Whether this aiormq has the insides that writing in one go needs."""
    expected = {
        "number": int,
        "delivery_tag": int,
        "max_content_size": int,
        "confirmations": dict,
        "message_id_delivery_tag": dict,
        "write_queue": asyncio.Queue,
    }
    return all(isinstance(getattr(channel, name, None), kind) for name, kind in expected.items()) and (
        list(inspect.signature(ChannelFrame).parameters) == ["payload", "should_close", "drain_future"]
    )


class Lane:
    """Writes on one confirm channel. Nobody else may publish on it, so that tags are ours to count."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel: Any = channel  # aiormq's own class, of which the abstract one tells less than we need
        self._closed: asyncio.Future[Any] = channel.closing
        self._in_one_go = is_supported(channel)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def unconfirmed(self) -> int:
        """How many were written and are neither confirmed nor refused yet, including those nobody waits for."""
        return len(self._channel.confirmations) if self._in_one_go else len(self._tasks)

    def format(self, message: Message, message_id: str) -> bytes:
        """The message's frames. Raises NotDurable for one that no frame can hold."""
        if not self._in_one_go:
            return b""
        return publish_frames(self._channel.number, message, message_id, self._channel.max_content_size)

    async def write(self, batch: Sequence[Pending]) -> None:
        """Return once the socket has taken the batch, or the channel is closed."""
        if not self._in_one_go:
            self._publish_singly(batch)
            return
        queue = self._channel.write_queue
        while queue.full() and not self._closed.done():  # the socket is slow; a closed connection never drains it
            await asyncio.wait([self._closed], timeout=0.01)
        if not self._closed.done():
            drained = asyncio.get_running_loop().create_future()
            queue.put_nowait(ChannelFrame(self._register(batch), should_close=False, drain_future=drained))
            await asyncio.wait([drained, self._closed], return_when=asyncio.FIRST_COMPLETED)

    def forget(self, message_id: str) -> None:
        """Drop what was kept in case the message came back."""
        if self._in_one_go:
            self._channel.message_id_delivery_tag.pop(message_id, None)

    def fail(self, error: Exception) -> None:
        """Tell everybody who waits for a confirm that none will come."""
        futures = list(self._channel.confirmations.values()) if self._in_one_go else []
        for future in futures:
            if not future.done():
                future.set_exception(error)
                future.exception()  # looked at: a message that came back has a future that nobody waits for
        for task in self._tasks:
            task.cancel()

    def _register(self, batch: Sequence[Pending]) -> bytes:
        channel = self._channel
        for pending in batch:
            channel.delivery_tag += 1
            channel.confirmations[channel.delivery_tag] = pending.confirmed
            channel.message_id_delivery_tag[pending.message_id] = channel.delivery_tag
        return b"".join([pending.payload for pending in batch])

    def _publish_singly(self, batch: Sequence[Pending]) -> None:
        for pending in batch:
            task = asyncio.create_task(self._publish_one(pending))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _publish_one(self, pending: Pending) -> None:
        message = pending.message
        properties = Basic.Properties(
            content_type=message.content_type,
            headers=dict(message.headers),
            delivery_mode=2,
            message_id=pending.message_id,
            expiration=None if message.expiration_ms is None else str(message.expiration_ms),
        )
        try:
            await self._channel.basic_publish(
                message.body,
                exchange=message.exchange,
                routing_key=message.routing_key,
                properties=properties,
                mandatory=True,
            )
        except (AMQPError, RuntimeError, OSError, ValueError, asyncio.CancelledError) as error:
            if not pending.confirmed.done():
                lost = NotDurable("the connection to RabbitMQ was lost")
                pending.confirmed.set_exception(error if isinstance(error, AMQPError) else lost)
        else:
            if not pending.confirmed.done():
                pending.confirmed.set_result(None)


async def write_acks(channel: AbstractChannel, acks: Sequence[tuple[int, bool]]) -> None:
    """Acknowledge delivery tags, each alone or (True) with all below it. Returns once they are queued for the socket.

    May wait for as long as the socket takes nothing: give it a time-out.
    """
    if not is_supported(channel):
        for tag, multiple in acks:
            await channel.basic_ack(tag, multiple, wait=False)
        return
    inside: Any = channel
    payload = b"".join([ack_frame(channel.number, tag, multiple=multiple) for tag, multiple in acks])
    await inside.write_queue.put(ChannelFrame(payload, should_close=False))


def publish_frames(channel: int, message: Message, message_id: str, max_content_size: int) -> bytes:
    """Basic.Publish, the content header and the body, as bytes."""
    parts = [
        _publish_method(channel, message.exchange, message.routing_key),
        _content_header(channel, message, message_id, max_content_size),
    ]
    for start in range(0, len(message.body), max_content_size):
        chunk = message.body[start : start + max_content_size]
        parts += (_frame(_BODY, channel, len(chunk)), chunk, _END)
    return b"".join(parts)


def ack_frame(channel: int, tag: int, *, multiple: bool) -> bytes:
    payload = _ack(_BASIC, _ACK, tag, multiple)
    return _frame(_METHOD, channel, len(payload)) + payload + _END


@lru_cache(maxsize=4096)  # one for each topic and partition that is in use
def _publish_method(channel: int, exchange: str, routing_key: str) -> bytes:
    payload = _publish(_BASIC, _PUBLISH, 0) + _short(exchange) + _short(routing_key) + bytes([_MANDATORY])
    return _frame(_METHOD, channel, len(payload)) + payload + _END


def _content_header(channel: int, message: Message, message_id: str, max_content_size: int) -> bytes:
    table = b"".join([_field(name, value) for name, value in message.headers.items()])
    expires = message.expiration_ms is not None
    payload = b"".join(
        (
            _content(_BASIC, 0, len(message.body), _FLAGS | _EXPIRES if expires else _FLAGS),
            _short(message.content_type),
            _long(len(table)),
            table,
            _PERSISTENT,
            _short(str(message.expiration_ms)) if expires else b"",
            _short(message_id),
        )
    )
    if len(payload) > max_content_size:  # a frame too large would close the connection, and fail everybody on it
        raise NotDurable("the headers are larger than a frame of RabbitMQ")
    return _frame(_HEADER, channel, len(payload)) + payload + _END


def _field(name: str, value: str) -> bytes:
    text = value.encode("utf-8", "replace")
    return b"%b%b%b%b" % (_field_name(name), b"S", _long(len(text)), text)


@lru_cache(maxsize=256)
def _field_name(name: str) -> bytes:
    return _short(name)


def _short(text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if len(raw) > MAX_SHORT:
        raise NotDurable("a name is longer than RabbitMQ allows")
    return bytes([len(raw)]) + raw
