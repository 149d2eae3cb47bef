"""How many pages of a large SQLite store a group of events writes: those of today's rooms are neighbours in it."""

import hashlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from hookline.sqlite.database import Database
from hookline.workers.stores.sqlite.store import SqliteStore

PAGE_BYTES, FRAME_BYTES, HEADER_BYTES = 4096, 24, 32  # https://www.sqlite.org/fileformat2.html#the_write_ahead_log
BEFORE, GROUP = 20_000, 100
FEW = 24  # pages: those of the group's rows, of two indexes, and of a heartbeat
Event = tuple[str, str | None, float]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    database = await Database.open(tmp_path / "store.db")
    yield SqliteStore(database)
    await database.close()


def in_a_new_room(number: int) -> Event:
    """An event in a room of its own, whose name is random. Ids are in order, so that their pages are few."""
    return f"{number:032x}", hashlib.sha256(b"%d" % number).hexdigest(), 0.0


async def test_a_group_of_events_of_the_latest_rooms_writes_few_pages(store: SqliteStore, tmp_path: Path) -> None:
    events = [in_a_new_room(number) for number in range(BEFORE)]
    for first in range(0, BEFORE, GROUP):
        await store.finish_all("queue", events[first : first + GROUP])
    group = [(f"{BEFORE + number:032x}", subject, 1.0) for number, (_, subject, _) in enumerate(events[-GROUP:])]
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    await store.finish_all("queue", group)
    written = ((tmp_path / "store.db-wal").stat().st_size - HEADER_BYTES) // (PAGE_BYTES + FRAME_BYTES)
    assert written <= FEW
