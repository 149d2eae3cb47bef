"""What can be seen of queues from outside, without taking anything from them."""

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

UNTOUCHED_S = 10.0


class QueueState(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's queue now. None stands for what the broker does not show.

    `waiting` counts the messages that a worker may take, `in_flight` those that one has taken, and `retrying` those
    that wait for their next attempt. For an ordered worker, all partitions are added up. `oldest_s` is the age of the
    oldest waiting message since its receipt.
    """

    queue: str
    waiting: int
    in_flight: int | None
    retrying: int | None
    dead: int
    consumers: int | None
    oldest_s: float | None

    @property
    def is_untouched(self) -> bool:
        """Whether events wait and no process seems to take them, where the broker knows no consumers."""
        is_old = self.oldest_s is not None and self.oldest_s >= UNTOUCHED_S
        return self.consumers is None and self.waiting > 0 and self.in_flight == 0 and is_old


class QueueStates(Protocol):
    """Looks at queues. Takes nothing, declares nothing."""

    async def names(self) -> Sequence[str]:
        """The names of all workers' queues, sorted. Raises Unreachable, or SettingsError if that is not allowed."""

    async def states(self, queues: Collection[str], *, retrying: bool = False) -> Sequence[QueueState]:
        """The queues of these names that exist. With `retrying`, count what waits to be tried again, if that is costly.

        Raises Unreachable.
        """

    async def unrouted(self) -> int:
        """How many unrouted events there are. Raises Unreachable."""
