"""The order of messages to a queue whose channel is still being opened."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiormq.abc import AbstractConnection

from hookline.broker.rabbitmq.publish_channel import PublishChannel
from hookline.broker.rabbitmq.queue_channels import QueueChannels
from hookline.broker.rabbitmq.wire.encode import Message

QUEUE = "hookline.attendance.p00"
WAITING = 5


class Channels(QueueChannels):
    """Opens a channel that confirms at once. While it opens, and just after, more is sent."""

    def __init__(self) -> None:
        connection: Any = SimpleNamespace(require=lambda: None)
        settings: Any = None
        super().__init__(connection, settings)
        self.sent: list[bytes] = []
        self.sending: list[asyncio.Task[None]] = []
        self.all_sent = asyncio.Event()

    def start(self, number: int) -> None:
        self.sending.append(asyncio.create_task(self.send(QUEUE, Message("", QUEUE, {}, "", b"%d" % number))))

    async def _open(self, _: AbstractConnection) -> PublishChannel:
        await asyncio.sleep(0)
        self._start_soon(WAITING)
        channel: Any = SimpleNamespace(send=self._send, ended=asyncio.get_running_loop().create_future())
        return channel  # type: ignore[no-any-return]

    def _start_soon(self, number: int) -> None:
        """Start another in each of the next turns of the event loop."""
        if number < 2 * WAITING:
            self.start(number)
            asyncio.get_running_loop().call_soon(self._start_soon, number + 1)

    async def _send(self, message: Message) -> None:
        self.sent.append(message.body)
        if len(self.sent) == 2 * WAITING:
            self.all_sent.set()


async def test_a_message_overtakes_none_that_waits_for_the_channel() -> None:
    channels = Channels()
    for number in range(WAITING):
        channels.start(number)
    async with asyncio.timeout(20):
        await channels.all_sent.wait()
    assert channels.sent == [b"%d" % number for number in range(2 * WAITING)]
    await asyncio.gather(*channels.sending)
