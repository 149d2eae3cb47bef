"""A journal's life in a test: what it acknowledged, what was published from it, and what another start finds."""

from collections.abc import Sequence
from pathlib import Path

from hookline.broker.spool import records
from hookline.broker.spool.files import Files
from hookline.broker.spool.journal import Journal
from hookline.broker.spool.records import Entry
from hookline.schemas.envelope import Envelope
from tests.contract.installations import envelope

FOLDER = Path("/spool")
SEGMENT_BYTES = 700  # four records


def entry(number: int) -> Entry:
    """The event of a number, in one of two buckets."""
    return Entry(number % 2, 1000.0 + number, records.pack(envelope(number=number, subject=f"room-{number % 2}")))


def number_of(found: Envelope | ValueError | OSError) -> int:
    if not isinstance(found, Envelope):
        raise found
    return int(found.id, 16)


class Life:
    """One process: appends groups of events, publishes some, and ends."""

    def __init__(self, files: Files, first: int = 0) -> None:
        self.acknowledged: list[int] = []
        self.published: set[int] = set()
        self.damaged = 0
        self.journal = Journal(FOLDER, files, SEGMENT_BYTES)
        self._next = first
        self._positions: dict[int, int] = {}

    def append(self, count: int) -> None:
        """Raises OSError; then nothing of the group is acknowledged."""
        numbers = range(self._next, self._next + count)
        self._next += count
        positions = self.journal.append([entry(number) for number in numbers])
        self._positions.update(zip(numbers, positions, strict=True))
        self.acknowledged += numbers

    def publish(self, numbers: Sequence[int]) -> None:
        """The broker has confirmed these events."""
        assert [number_of(found) for found in self.journal.read([self._positions[n] for n in numbers])] == list(numbers)
        self.published.update(numbers)
        self.journal.remove([self._positions[number] for number in numbers])

    def positions(self, numbers: Sequence[int]) -> list[int]:
        return [self._positions[number] for number in numbers]

    def adopt(self) -> dict[int, list[int]]:
        """What earlier processes have left, by bucket."""
        self.journal.check()
        found = {}
        adopted = self.journal.adopt()
        self.damaged += adopted.damaged
        for bucket, (positions, _) in adopted.waiting.items():
            found[bucket] = [number_of(each) for each in self.journal.read(positions)]
            self._positions.update(zip(found[bucket], positions, strict=True))
        return found


def check(left: dict[int, list[int]], acknowledged: Sequence[int], published: set[int]) -> None:
    """Everything acknowledged is there or was published, in its order, and nothing is there twice."""
    for bucket, numbers in left.items():
        assert numbers == sorted(set(numbers)), f"bucket {bucket} is out of order: {numbers}"
    found = {number for numbers in left.values() for number in numbers}
    missing = set(acknowledged) - published - found
    assert not missing, f"acknowledged and gone: {sorted(missing)}"
