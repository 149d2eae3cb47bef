"""One channel to consume on: turns its deliveries into `Received` and sends their acknowledgements."""

import asyncio
from collections.abc import Callable

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelClosed

from hookline.broker.rabbitmq.ack_batcher import AckBatcher, Acks, Token
from hookline.broker.rabbitmq.connection import bounded
from hookline.broker.rabbitmq.headers import read, read_texts
from hookline.broker.rabbitmq.wire.decode import Assembly, delivery
from hookline.broker.rabbitmq.wire.encode import ack_frames
from hookline.broker.rabbitmq.wire.frame_transport import FrameTransport
from hookline.schemas.broker import Received
from hookline.schemas.errors import Unreachable

_DELIVER = b"\0\x3c\0\x3c"
_ACKNOWLEDGE_S = 5.0


class ConsumeChannel:
    """Calls `arrived` for each delivery. Implements `Listener`; without a frame transport aiormq calls `delivered`."""

    def __init__(
        self,
        channel: AbstractChannel,
        transport: FrameTransport | None,
        prefetch: int,
        arrived: Callable[[Received], None],
    ) -> None:
        self.acks = AckBatcher(self._acknowledge, prefetch)
        self.is_cancelled = False
        self.channel = channel
        self._transport = transport
        self._arrived = arrived
        self._acknowledging: set[asyncio.Task[None]] = set()
        assembly = Assembly(channel.number, _DELIVER, self._taken)
        self.whole_messages, self.frame = assembly.whole_messages, assembly.frame
        channel.closing.add_done_callback(lambda _: self.acks.end())
        if transport is not None:
            transport.listen(channel.number, self)

    async def delivered(self, message: DeliveredMessage) -> None:
        """For aiormq to call with each delivery that the frame transport did not take."""
        properties = message.header.properties
        headers, attempt = read(properties.headers)
        self.acks.latest = tag = message.delivery_tag or 0
        self._arrived(Received(headers, properties.content_type or "", message.body, attempt, Token(self.acks, tag)))

    def writable(self) -> None:
        """Nothing to do: acknowledgements do not wait for the socket. They are small, and bounded by the prefetch."""

    def closed(self, error: ChannelClosed | None) -> None:  # noqa: ARG002  the consumer asks for it when it logs
        self.acks.end()

    def cancelled(self) -> None:
        """The server has cancelled the consumer. Its channel stays open."""
        self.is_cancelled = True
        self.acks.end()

    async def acknowledged(self) -> None:
        """Return once the acknowledgements of all settled deliveries are written."""
        self.acks.flush()
        if self._acknowledging:
            await asyncio.wait(self._acknowledging)

    def _taken(self, method: bytes, header: bytes, body: bytes) -> None:
        """A message that cannot be read has no headers, so a worker parks it. Requeued, it would come again."""
        tag, content_type, found, is_plain = delivery(method, header)
        headers, attempt = read_texts(found) if is_plain else read(found)
        self.acks.latest = tag
        self._arrived(Received(headers, content_type, body, attempt, Token(self.acks, tag)))

    def _acknowledge(self, acks: Acks) -> None:
        if self._transport is not None:
            self._transport.write(ack_frames(self.channel.number, acks))
            return
        task = asyncio.create_task(self._basic_ack(acks))
        self._acknowledging.add(task)
        task.add_done_callback(self._acknowledging.discard)

    async def _basic_ack(self, acks: Acks) -> None:
        try:
            async with bounded(_ACKNOWLEDGE_S, "acknowledging"):
                for tag, multiple in acks:
                    await self.channel.basic_ack(tag, multiple, wait=False)
        except Unreachable:
            self.acks.end()
