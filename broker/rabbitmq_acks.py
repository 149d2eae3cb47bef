"""What one channel has handed out and what of it is settled; acknowledgements go out in groups.

Delivery tags mean nothing on any other channel, so a ledger lives and ends with its channel.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from aiormq.abc import AbstractChannel

from broker.rabbitmq_frames import write_acks
from broker.rabbitmq_link import bounded
from schemas.errors import Unreachable

_MAX_GROUP = 50
_MAX_WAIT_S = 0.02
_WRITE_S = 5.0


@dataclass(frozen=True, slots=True)
class Token:
    """Which delivery, on which channel."""

    ledger: "Ledger"
    tag: int


class Ledger:
    """The settled deliveries of one channel that are not acknowledged yet."""

    def __init__(self, channel: AbstractChannel, prefetch: int) -> None:
        self.ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._channel = channel
        self._group = max(1, min(_MAX_GROUP, prefetch // 2))  # a server that waits for acks delivers nothing
        self._settled: set[int] = set()
        self._acked: set[int] = set()
        self._next = 1  # the lowest tag that is not settled
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._writer = asyncio.create_task(self._write())
        channel.closing.add_done_callback(lambda _: self.end())

    @property
    def is_open(self) -> bool:
        return not self.ended.done()

    def done(self, tag: int) -> None:
        """Acknowledge a delivery soon. Nothing happens if the channel is gone: it is delivered again."""
        if not self.is_open or tag < self._next or tag in self._acked:
            return
        self._settled.add(tag)
        if len(self._settled) >= self._group:
            self._due.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_MAX_WAIT_S, self._due.set)

    async def flush(self) -> None:
        """Write every acknowledgement that is due. Raises Unreachable."""
        acks = self._take_acks()
        if acks:
            async with bounded(_WRITE_S, "acknowledging"):
                await write_acks(self._channel, acks)

    def end(self) -> None:
        """Forget everything: the channel is gone, and the server delivers what it has no acknowledgement for."""
        if self.is_open:
            self.ended.set_result(None)
        self._writer.cancel()
        if self._timer is not None:
            self._timer.cancel()

    async def _write(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            try:
                await self.flush()
            except Unreachable:
                self.end()

    def _take_acks(self) -> list[tuple[int, bool]]:
        """One acknowledgement for all tags up to the first unsettled one, and one for each settled tag above it.

        A multiple one must name a tag that is still unacknowledged, or the server closes the channel.
        """
        covered = 0
        while self._next in self._settled or self._next in self._acked:
            if self._next in self._settled:
                covered = self._next
            self._settled.discard(self._next)
            self._acked.discard(self._next)
            self._next += 1
        single = sorted(self._settled)
        self._acked.update(single)
        self._settled.clear()
        return [(covered, True)] * (covered > 0) + [(tag, False) for tag in single]
