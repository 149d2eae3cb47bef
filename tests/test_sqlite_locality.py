"""How many pages of a large SQLite store a group of events writes: those of one time are neighbours in it."""

import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from hookline.schemas.envelope import event_id
from hookline.sqlite.database import Database
from hookline.workers.stores.sqlite.store import SqliteStore

PAGE_BYTES, FRAME_BYTES, HEADER_BYTES = 4096, 24, 32  # https://www.sqlite.org/fileformat2.html#the_write_ahead_log
BEFORE, GROUP = 20_000, 100
FEW = 24  # pages: those of the group's rows, of two indexes, and of a heartbeat
FIRST_MS = 1_795_766_732_000
Event = tuple[str, str | None, float]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    database = await Database.open(tmp_path / "store.db")
    yield SqliteStore(database)
    await database.close()


def timed(number: int) -> Event:
    """An event with a time, ten in a second, and without a subject."""
    return event_id("krtc-main", "room.created", ("demo", FIRST_MS + 100 * number)), None, 0.0


def in_one_room(number: int) -> Event:
    """The same in the first hundred rooms, and then each in a room of its own, whose name is random."""
    event, _, occurred_s = timed(number)
    return event, hashlib.sha256(b"%d" % number).hexdigest(), occurred_s


async def pages_written(store: SqliteStore, path: Path, events: Sequence[Event]) -> int:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    await store.finish_all("queue", events)
    return (path.with_name("store.db-wal").stat().st_size - HEADER_BYTES) // (PAGE_BYTES + FRAME_BYTES)


@pytest.mark.parametrize("event", [timed, in_one_room], ids=["events with a time", "events of the latest rooms"])
async def test_a_group_of_events_writes_few_pages(
    store: SqliteStore, tmp_path: Path, event: Callable[[int], Event]
) -> None:
    events = [event(number) for number in range(BEFORE)]
    for first in range(0, BEFORE, GROUP):
        await store.finish_all("queue", events[first : first + GROUP])
    group = [(timed(BEFORE + number)[0], subject, 1.0) for number, (_, subject, _) in enumerate(events[-GROUP:])]
    assert await pages_written(store, tmp_path / "store.db", group) <= FEW


async def test_events_of_random_ids_write_many_pages(store: SqliteStore, tmp_path: Path) -> None:
    events: list[Event] = [(hashlib.sha256(b"%d" % number).hexdigest()[:32], None, 0.0) for number in range(BEFORE)]
    for first in range(0, BEFORE, GROUP):
        await store.finish_all("queue", events[first : first + GROUP])
    group: list[Event] = [(hashlib.sha256(b"+%d" % number).hexdigest()[:32], None, 0.0) for number in range(GROUP)]
    assert await pages_written(store, tmp_path / "store.db", group) > FEW
