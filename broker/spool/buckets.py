"""Which records wait to be published, by bucket: a hash of the subject. Within a bucket the oldest comes first."""

import heapq
from array import array
from collections.abc import Iterable
from zlib import crc32

from hookline.broker.spool.journal import Waiting
from hookline.schemas.envelope import Envelope

_BUCKETS = 4096
_COMPACT_FROM = 4096


def bucket_of(envelope: Envelope) -> int:
    """The bucket of an event: of its subject, or any one for an event without a subject."""
    return crc32((envelope.subject or envelope.id).encode()) % _BUCKETS


class Taken:
    """A record that is being published. Records of one bucket are taken in the order of their numbers."""

    __slots__ = ("at_s", "bucket", "number", "position")

    def __init__(self, bucket: int, position: int, at_s: float, number: int) -> None:
        self.bucket = bucket
        self.position = position
        self.at_s = at_s
        self.number = number


class _Bucket:
    """Records that wait: `returned` ones, which come first, and those from `first` on in two arrays."""

    __slots__ = ("first", "in_flight", "is_careful", "is_listed", "positions", "resumes_s", "returned", "times")

    def __init__(self) -> None:
        self.positions = array("Q")
        self.times = array("d")
        self.first = 0
        self.returned: list[Taken] = []
        self.in_flight = 0
        self.is_careful = False  # one at a time: the broker has refused one
        self.is_listed = False
        self.resumes_s = 0.0

    @property
    def waiting(self) -> int:
        return len(self.returned) + len(self.positions) - self.first

    @property
    def oldest_s(self) -> float:
        return self.returned[0].at_s if self.returned else self.times[self.first]

    @property
    def may_be_taken(self) -> bool:
        """After a failure the bucket waits until nothing of it is in flight, so that its order is known again."""
        if not self.waiting or self.resumes_s:
            return False
        return not self.in_flight or not (self.is_careful or self.returned)


class Buckets:
    """All records of the spool that are on disk, and those of them that are being published."""

    def __init__(self) -> None:
        self._buckets: dict[int, _Bucket] = {}
        self._listed: list[tuple[float, int]] = []  # a heap of buckets, by the time of their oldest record
        self._paused: list[tuple[float, int]] = []  # a heap of buckets, by the time at which they resume
        self._number = 0
        self._in_flight: dict[int, Taken] = {}
        self.count = 0

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def oldest_s(self) -> float | None:
        """When the oldest record was spooled."""
        waiting = [bucket.oldest_s for bucket in self._buckets.values() if bucket.waiting]
        return min((*waiting, *(taken.at_s for taken in self._in_flight.values())), default=None)

    def add(self, bucket: int, position: int, at_s: float) -> None:
        """Add a record behind all others."""
        found = self._bucket(bucket)
        found.positions.append(position)
        found.times.append(at_s)
        self.count += 1
        self._list(bucket, found)

    def add_before(self, waiting: Waiting) -> int:
        """Add records before all others; how many."""
        added = 0
        for bucket, (positions, times) in waiting.items():
            found = self._bucket(bucket)
            found.positions = positions + found.positions[found.first :]
            found.times = times + found.times[found.first :]
            found.first = 0
            added += len(positions)
            self._list(bucket, found)
        self.count += added
        return added

    def take(self, limit: int, now_s: float) -> list[Taken]:
        """Up to `limit` records, oldest first; none of a bucket that is paused."""
        while self._paused and self._paused[0][0] <= now_s:
            bucket = heapq.heappop(self._paused)[1]
            found = self._buckets.get(bucket)
            if found is not None and found.resumes_s <= now_s:
                found.resumes_s = 0.0
                self._list(bucket, found)
        taken: list[Taken] = []
        while self._listed and len(taken) < limit:
            bucket = self._listed[0][1]
            found = self._buckets.get(bucket)
            if found is None or not found.may_be_taken:
                heapq.heappop(self._listed)
                if found is not None:
                    found.is_listed = False
                continue
            taken.append(self._take(bucket, found))
            if found.may_be_taken:
                heapq.heapreplace(self._listed, (found.oldest_s, bucket))
        return taken

    def resumes_in_s(self, now_s: float) -> float | None:
        """In how many seconds a paused bucket resumes; None if none is paused."""
        return max(self._paused[0][0] - now_s, 0) if self._paused else None

    def is_interrupted(self, taken: Taken) -> bool:
        """Whether a record before this one has to be published again: then this one may not be published now."""
        return bool(self._buckets[taken.bucket].returned)

    def done(self, taken: Taken) -> bool:
        """A record was published, or is given up. Whether nothing is left of its bucket."""
        found = self._leave(taken)
        self.count -= 1
        found.is_careful = found.is_careful and found.waiting > 0
        if not found.waiting and not found.in_flight:
            del self._buckets[taken.bucket]
            return True
        self._list(taken.bucket, found)
        return False

    def put_back(self, taken: Iterable[Taken], resumes_s: float = 0.0, *, is_careful: bool = False) -> None:
        """Records were not published. They wait again, in their order, at least until `resumes_s`."""
        for each in taken:
            found = self._leave(each)
            found.returned.append(each)
            found.returned.sort(key=_number)
            found.is_careful = found.is_careful or is_careful
            if resumes_s > found.resumes_s:
                found.resumes_s = resumes_s
                heapq.heappush(self._paused, (resumes_s, each.bucket))
            self._list(each.bucket, found)

    def _bucket(self, bucket: int) -> _Bucket:
        found = self._buckets.get(bucket)
        if found is None:
            found = self._buckets[bucket] = _Bucket()
        return found

    def _take(self, bucket: int, found: _Bucket) -> Taken:
        if found.returned:
            taken = found.returned.pop(0)
        else:
            self._number += 1
            first = found.first
            taken = Taken(bucket, found.positions[first], found.times[first], self._number)
            found.first = first + 1
            if found.first == len(found.positions) or _COMPACT_FROM < found.first > len(found.positions) // 2:
                found.positions, found.times = found.positions[found.first :], found.times[found.first :]
                found.first = 0
        found.in_flight += 1
        self._in_flight[taken.number] = taken
        return taken

    def _leave(self, taken: Taken) -> _Bucket:
        del self._in_flight[taken.number]
        found = self._buckets[taken.bucket]
        found.in_flight -= 1
        return found

    def _list(self, bucket: int, found: _Bucket) -> None:
        """List the bucket among those to take from, unless it is, or may not be taken from."""
        if not found.is_listed and found.may_be_taken:
            found.is_listed = True
            heapq.heappush(self._listed, (found.oldest_s, bucket))


def _number(taken: Taken) -> int:
    return taken.number
