"""Partitions in which so many events wait behind unwanted ones that others do not get past them.

A process takes a bounded number of messages of a partition. If most of them wait, those of other subjects stand still.
While it has taken fewer, there are no others: it has every message of the partition.
"""

CROWDED_S = 10.0


class BlockedPartitions:
    """Remembers since when each partition has been crowded. Time is an argument, on the monotonic clock.

    `max_taken` is how many messages of a partition a process takes.
    """

    def __init__(self, max_taken: int) -> None:
        self._max_taken = max_taken
        self._since: dict[str, float] = {}

    def must_make_room(self, partition: str, blocked: int, taken: int, now_s: float) -> bool:
        """Whether an unwanted event goes to the end of its partition, so that its subject loses its order.

        Not at once: a process that wants the event may take the partition over.
        """
        if taken < self._max_taken or blocked <= self._max_taken // 2:
            self._since.pop(partition, None)
            return False
        return now_s - self._since.setdefault(partition, now_s) >= CROWDED_S

    def leave(self, partition: str) -> None:
        """The partition is no longer consumed here."""
        self._since.pop(partition, None)
