"""Acknowledgements of one channel, sent in groups.

Delivery tags are only valid on their channel, so each channel has an AckBatcher of its own.
"""

import asyncio
from bisect import bisect
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

_MAX_GROUP = 50
MAX_WAIT_S = 0.02

Acks: TypeAlias = Sequence[tuple[int, bool]]
"""Delivery tags, each alone or (True) with all below it."""


class Token(msgspec.Struct, frozen=True):
    """Identifies a delivery: its tag, and the batcher of its channel."""

    acks: "AckBatcher"
    tag: int


class AckBatcher:
    """Collects settled deliveries, and acknowledges them when a group is full or after 20 ms."""

    def __init__(self, acknowledge: Callable[[Acks], None], prefetch: int) -> None:
        self.is_open = True
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._acknowledge = acknowledge
        self._group = max(1, min(_MAX_GROUP, prefetch // 2))  # at the prefetch limit the server delivers nothing
        self._settled: set[int] = set()
        self._acked: set[int] = set()
        self._next = 1  # the lowest tag that is not settled
        self.latest = 0
        """The tag of the latest delivery that has arrived: tags count up. The channel sets it."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def unsettled(self) -> int:
        """How many deliveries have arrived and are not settled."""
        if not self.is_open:
            return 0
        return self.latest - (self._next - 1) - len(self._settled) - len(self._acked)

    def done(self, *tags: int) -> None:
        """Acknowledge deliveries soon. Does nothing if the channel is closed: the deliveries come again."""
        if not self.is_open:
            return
        settled = {*tags} - self._acked
        if settled and min(settled) < self._next:  # some are settled twice
            settled = {tag for tag in settled if tag >= self._next}
        self._settled |= settled
        if len(self._settled) >= self._group:
            self.flush()
        elif self._settled and self._timer is None:
            self._timer = self._loop.call_later(MAX_WAIT_S, self._flush_late)

    def flush(self) -> None:
        """Acknowledge all settled deliveries now."""
        if self._settled and self.is_open:
            self._acknowledge(self._take_acks())

    def end(self) -> None:
        """Acknowledge nothing more: the channel is closed, and the server delivers again what it has no ack for."""
        self.is_open = False
        if not self.ended.done():
            self.ended.set_result(None)
        if self._timer is not None:
            self._timer.cancel()

    def _flush_late(self) -> None:
        self._timer = None
        self.flush()

    def _take_acks(self) -> Acks:
        """One multiple acknowledgement up to the first unsettled tag, and one for each settled tag above it.

        A multiple acknowledgement must name a tag that is still unacknowledged, or the server closes the channel.
        """
        highest = max(self._settled)
        if not self._acked and highest - self._next + 1 == len(self._settled):  # mostly nothing is missing in between
            self._settled.clear()
            self._next = highest + 1
            return [(highest, True)]
        unsettled = self._next
        while unsettled in self._settled or unsettled in self._acked:
            unsettled += 1
        self._acked.difference_update(range(self._next, unsettled))
        self._next = unsettled
        tags = sorted(self._settled)
        first_single = bisect(tags, unsettled)
        covered, single = tags[:first_single], tags[first_single:]
        self._acked.update(single)
        self._settled.clear()
        return [(tag, True) for tag in covered[-1:]] + [(tag, False) for tag in single]
