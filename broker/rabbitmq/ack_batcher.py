"""What one channel has handed out and what of it is settled; acknowledgements go out in groups.

Delivery tags mean nothing on any other channel, so a acks lives and ends with its channel.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

_MAX_GROUP = 50
_MAX_WAIT_S = 0.02

Acks: TypeAlias = Sequence[tuple[int, bool]]
"""Delivery tags, each alone or (True) with all below it."""


class Token(msgspec.Struct, frozen=True):
    """Which delivery, on which channel."""

    acks: "AckBatcher"
    tag: int


class AckBatcher:
    """The settled deliveries of one channel that are not acknowledged yet."""

    def __init__(self, acknowledge: Callable[[Acks], None], prefetch: int) -> None:
        self.is_open = True
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._acknowledge = acknowledge
        self._group = max(1, min(_MAX_GROUP, prefetch // 2))  # a server that waits for acks delivers nothing
        self._settled: set[int] = set()
        self._acked: set[int] = set()
        self._next = 1  # the lowest tag that is not settled
        self._timer: asyncio.TimerHandle | None = None

    def done(self, tag: int) -> None:
        """Acknowledge a delivery soon. Nothing happens if the channel is gone: it is delivered again."""
        if not self.is_open or tag < self._next or tag in self._acked:
            return
        self._settled.add(tag)
        if len(self._settled) >= self._group:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(_MAX_WAIT_S, self._flush_late)

    def flush(self) -> None:
        """Acknowledge all that is settled."""
        if self._settled and self.is_open:
            self._acknowledge(self._take_acks())

    def end(self) -> None:
        """Forget everything: the channel is gone, and the server delivers what it has no acknowledgement for."""
        self.is_open = False
        if not self.ended.done():
            self.ended.set_result(None)
        if self._timer is not None:
            self._timer.cancel()

    def _flush_late(self) -> None:
        self._timer = None
        self.flush()

    def _take_acks(self) -> Acks:
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
