"""Which records wait to be published, by bucket: a hash of the subject. Within a bucket the oldest comes first.

One record of a bucket is published at a time, since the broker may refuse one and accept the next.
"""

import heapq
from array import array
from zlib import crc32

from hookline.broker.spool.journal import Waiting
from hookline.schemas.envelope import Envelope

BUCKETS = 4096
_COMPACT_FROM = 4096


def bucket_of(envelope: Envelope) -> int:
    """The bucket of an event: of its subject, or any one for an event without a subject."""
    return crc32((envelope.subject or envelope.id).encode()) % BUCKETS


class Taken:
    """A record that is being published."""

    __slots__ = ("at_s", "bucket", "position")

    def __init__(self, bucket: int, position: int, at_s: float) -> None:
        self.bucket = bucket
        self.position = position
        self.at_s = at_s


class _Bucket:
    """The records of a bucket, from `first` on in two arrays: where they are, and when they were spooled."""

    __slots__ = ("first", "is_listed", "positions", "resumes_s", "taken", "times")

    def __init__(self) -> None:
        self.positions = array("Q")
        self.times = array("d")
        self.first = 0
        self.taken: Taken | None = None
        self.is_listed = False
        self.resumes_s = 0.0  # 0 if the bucket is not paused

    @property
    def count(self) -> int:
        return len(self.positions) - self.first

    @property
    def oldest_s(self) -> float:
        return self.times[self.first]

    @property
    def may_be_taken(self) -> bool:
        return self.taken is None and not self.resumes_s and self.count > 0


class Buckets:
    """All records of the spool that are on disk, and those of them that are being published."""

    def __init__(self) -> None:
        self._buckets: dict[int, _Bucket] = {}
        self._listed: list[tuple[float, int]] = []  # a heap of buckets to take from, by the time of their oldest record
        self._paused: list[tuple[float, int]] = []  # a heap of buckets, by the time at which they resume
        self.count = 0
        self.in_flight = 0

    def oldest_s(self) -> float | None:
        """When the oldest record was spooled."""
        return min((bucket.oldest_s for bucket in self._buckets.values()), default=None)

    def add(self, bucket: int, position: int, at_s: float) -> None:
        """Add a record behind all others."""
        found = self._bucket(bucket)
        found.positions.append(position)
        found.times.append(at_s)
        self.count += 1
        self._list(bucket, found)

    def add_before(self, waiting: Waiting) -> int:
        """Add records before all others, but for the one that is being published; how many."""
        added = 0
        for bucket, (positions, times) in waiting.items():
            found = self._bucket(bucket)
            split = found.first + (found.taken is not None)
            found.positions = found.positions[found.first : split] + positions + found.positions[split:]
            found.times = found.times[found.first : split] + times + found.times[split:]
            found.first = 0
            added += len(positions)
            self._list(bucket, found)
        self.count += added
        return added

    def take(self, limit: int, now_s: float) -> list[Taken]:
        """Up to `limit` records, oldest first: one of each bucket that is not paused and has none in flight."""
        while self._paused and self._paused[0][0] <= now_s:
            bucket = heapq.heappop(self._paused)[1]
            found = self._buckets.get(bucket)
            if found is not None and found.resumes_s <= now_s:
                found.resumes_s = 0.0
                self._list(bucket, found)
        taken: list[Taken] = []
        while self._listed and len(taken) < limit:
            bucket = heapq.heappop(self._listed)[1]
            found = self._buckets.get(bucket)
            if found is None:
                continue
            found.is_listed = False
            if found.may_be_taken:
                found.taken = Taken(bucket, found.positions[found.first], found.oldest_s)
                taken.append(found.taken)
        self.in_flight += len(taken)
        return taken

    def resumes_in_s(self, now_s: float) -> float | None:
        """In how many seconds a paused bucket resumes; None if none is paused."""
        return max(self._paused[0][0] - now_s, 0) if self._paused else None

    def done(self, taken: Taken) -> None:
        """A record was published, or is given up."""
        found = self._release(taken)
        found.first += 1
        self.count -= 1
        if not found.count:
            del self._buckets[taken.bucket]
            return
        if _COMPACT_FROM < found.first > len(found.positions) // 2:
            found.positions, found.times = found.positions[found.first :], found.times[found.first :]
            found.first = 0
        self._list(taken.bucket, found)

    def put_back(self, taken: Taken, resumes_s: float = 0.0) -> None:
        """A record was not published. Its bucket waits at least until `resumes_s`."""
        found = self._release(taken)
        if resumes_s:
            found.resumes_s = resumes_s
            heapq.heappush(self._paused, (resumes_s, taken.bucket))
        self._list(taken.bucket, found)

    def _bucket(self, bucket: int) -> _Bucket:
        found = self._buckets.get(bucket)
        if found is None:
            found = self._buckets[bucket] = _Bucket()
        return found

    def _release(self, taken: Taken) -> _Bucket:
        found = self._buckets[taken.bucket]
        found.taken = None
        self.in_flight -= 1
        return found

    def _list(self, bucket: int, found: _Bucket) -> None:
        """List the bucket among those to take from, unless it is, or may not be taken from."""
        if not found.is_listed and found.may_be_taken:
            found.is_listed = True
            heapq.heappush(self._listed, (found.oldest_s, bucket))
