"""The file of refused requests: what is found in it again, and how large it can become."""

import asyncio
import logging
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from hookline.audit.reader import RefusalFilter, RefusalReader
from hookline.audit.writer import MAX_WAITING, SqliteRefusalWriter
from hookline.ingress.settings import AuditSettings
from hookline.schemas.errors import Unreachable
from hookline.schemas.refusals import UNKNOWN_PATH, RefusalCount, RefusedRequest
from tests.audit.refused_requests import REFUSED, refused

KEEP = 100 * 365 * 24 * 3600.0  # the requests of these tests are old


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "refused.db"


@asynccontextmanager
async def open_writer(path: Path, **settings: Any) -> AsyncIterator[SqliteRefusalWriter]:
    writer = SqliteRefusalWriter(path, AuditSettings(**{"max_age_s": KEEP, **settings}))
    try:
        yield writer
    finally:
        await writer.close()


async def written(path: Path, *requests: RefusedRequest, **settings: Any) -> RefusalReader:
    for start in range(0, len(requests), MAX_WAITING):
        async with open_writer(path, **settings) as writer:
            for request in requests[start : start + MAX_WAITING]:
                writer.put(request)
        assert writer.dropped == 0
    return RefusalReader(path)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not reached():  # noqa: ASYNC110  the writer tells nobody
            await asyncio.sleep(0.02)


def size_of(path: Path) -> int:
    return path.stat().st_size


async def test_a_refused_request_is_found_again(path: Path) -> None:
    reader = await written(path, REFUSED)
    (stored,) = reader.list().refusals
    assert stored.request == REFUSED
    assert reader.get(stored.id) == stored
    assert reader.get(stored.id + 1) is None


async def test_the_newest_come_first_page_by_page(path: Path) -> None:
    reader = await written(path, *(refused(at_s=float(n)) for n in range(7)))
    times, cursor = [], None
    for _ in range(3):
        page = reader.list(limit=3, cursor=cursor)
        times.append([each.request.at_s for each in page.refusals])
        cursor = page.cursor
    assert times == [[6.0, 5.0, 4.0], [3.0, 2.0, 1.0], [0.0]]
    assert cursor is None


async def test_a_source_and_a_reason_can_be_chosen(path: Path) -> None:
    reader = await written(
        path, REFUSED, refused(source="meetings"), refused(reason="stale_timestamp"), refused(source=UNKNOWN_PATH)
    )
    assert [each.request.source for each in reader.list(RefusalFilter("meetings")).refusals] == ["meetings"]
    assert [each.request.source for each in reader.list(RefusalFilter(UNKNOWN_PATH)).refusals] == [UNKNOWN_PATH]
    assert [each.request.reason for each in reader.list(RefusalFilter("krtc-main", "stale_timestamp")).refusals] == [
        "stale_timestamp"
    ]


def test_no_file_holds_no_refused_requests(path: Path) -> None:
    reader = RefusalReader(path)
    assert (reader.list().refusals, reader.get(1), reader.counts()) == ((), None, ())
    assert not path.exists()


async def test_counts_add_up_across_processes_and_restarts(path: Path) -> None:
    for at_s in (5.0, 3.0):
        async with open_writer(path) as writer:
            writer.count({("krtc-main", "bad_signature"): 2, ("", "unknown_source"): 1}, at_s)
    assert RefusalReader(path).counts() == (
        RefusalCount("", "unknown_source", 2, 5.0),
        RefusalCount("krtc-main", "bad_signature", 4, 5.0),
    )


async def test_only_the_newest_of_each_reason_are_kept(path: Path) -> None:
    rare = refused(reason="stale_timestamp")
    reader = await written(path, rare, *(refused(at_s=float(n)) for n in range(12)), max_records=5)
    assert [each.request.at_s for each in reader.list(RefusalFilter(reason="bad_signature")).refusals] == [
        11.0,
        10.0,
        9.0,
        8.0,
        7.0,
    ]
    assert len(reader.list(RefusalFilter(reason="stale_timestamp")).refusals) == 1


async def test_the_records_of_a_source_take_a_bounded_number_of_bytes(path: Path) -> None:
    large = refused(body="x" * 10_000)
    reader = await written(path, *[large] * 30, refused(source="meetings"), max_bytes_per_source=2**16)
    assert len(reader.list(RefusalFilter("krtc-main")).refusals) == 6
    assert len(reader.list(RefusalFilter("meetings")).refusals) == 1


async def test_old_records_are_forgotten(path: Path) -> None:
    reader = await written(path, REFUSED, refused(at_s=time.time()), max_age_s=3600)
    assert len(reader.list().refusals) == 1


async def test_the_file_never_grows_beyond_its_limit(path: Path) -> None:
    """Many sources, as after years of changed settings: together they would exceed the limit of the whole file."""
    requests = [refused(source=f"s{n}", body="x" * 16_000) for n in range(256)]
    reader = await written(path, *requests, max_bytes=2**20)
    assert size_of(path) <= 2**20
    newest = reader.list(limit=1).refusals[0]
    assert newest.request.source == "s255"


async def test_the_write_ahead_log_is_bounded_while_a_reader_holds_the_file(path: Path) -> None:
    async with open_writer(path, max_bytes=2**20, max_bytes_per_source=2**20) as writer:
        writer.put(REFUSED)
        await until(lambda: bool(RefusalReader(path).list().refusals))
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM refused").fetchone()
            for _ in range(30):
                for n in range(MAX_WAITING // 2):
                    writer.put(refused(source=f"s{n}", body="x" * 2_000))
                await until(lambda: writer.is_idle)
            size = size_of(path.with_name("refused.db-wal"))
            assert writer.dropped > 0
        dropped = writer.dropped
        writer.put(refused(source="after"))
    assert size <= 3 * 2**20
    assert writer.dropped == dropped
    assert RefusalReader(path).list(limit=1).refusals[0].request.source == "after"


async def test_nothing_waits_for_a_file_that_another_process_has_locked(path: Path) -> None:
    await written(path, REFUSED)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with open_writer(path) as writer:
            started = time.monotonic()
            for _ in range(MAX_WAITING * 4):
                writer.put(REFUSED)
            assert time.monotonic() - started < 1
            assert writer.dropped >= MAX_WAITING * 2
            other.execute("ROLLBACK")


def make_foreign(path: Path, kind: str) -> bytes:
    """A file that is not an audit; its bytes."""
    if kind == "text":
        path.write_bytes(b"no database at all, but something else" * 40)
    else:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE theirs (x)")
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["text", "the database of another program"])
async def test_a_foreign_file_is_left_alone_and_said(path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    before = make_foreign(path, kind)
    with caplog.at_level(logging.WARNING, logger="hookline.audit"):
        async with open_writer(path) as writer:
            writer.put(REFUSED)
    assert await asyncio.to_thread(path.read_bytes) == before
    assert writer.dropped == 1
    assert "cannot be written" in caplog.text
    with pytest.raises(Unreachable, match="cannot be read"):
        RefusalReader(path).list()


def delete_all(folder: Path) -> None:
    for each in folder.iterdir():
        each.unlink()


async def test_a_file_that_is_deleted_is_made_again(path: Path) -> None:
    async with open_writer(path) as writer:
        writer.put(REFUSED)
        await until(lambda: len(RefusalReader(path).list().refusals) == 1)
        await asyncio.to_thread(delete_all, path.parent)
        writer.put(refused(source="after"))
        await until(lambda: len(RefusalReader(path).list(RefusalFilter("after")).refusals) == 1)


def modes_in(folder: Path) -> set[int]:
    return {each.stat().st_mode & 0o777 for each in folder.iterdir()}


async def test_only_its_owner_can_read_the_file(path: Path) -> None:
    await written(path, REFUSED)
    assert modes_in(path.parent) == {0o600}


KILLED = """
import asyncio, sys
from pathlib import Path
from hookline.audit.writer import SqliteRefusalWriter
from hookline.audit.reader import RefusalReader
from hookline.ingress.settings import AuditSettings
from tests.audit.refused_requests import REFUSED

path = Path(sys.argv[1])
writer = SqliteRefusalWriter(path, AuditSettings(max_age_s=1e10))
writer.put(REFUSED)
while not RefusalReader(path).list().refusals:
    pass
print("written", flush=True)
while True:
    writer.put(REFUSED)
"""


async def test_what_is_written_survives_a_killed_process(path: Path) -> None:
    command = (sys.executable, "-c", KILLED, str(path))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"written\n"
    process.kill()
    await process.wait()
    assert RefusalReader(path).list().refusals
    reader = await written(path, refused(source="after"))
    assert reader.list(limit=1).refusals[0].request.source == "after"


async def test_two_processes_share_the_file(path: Path) -> None:
    async with open_writer(path) as one, open_writer(path) as other:
        for n in range(20):
            (one if n % 2 else other).put(refused(at_s=float(n)))
    assert sorted(each.request.at_s for each in RefusalReader(path).list().refusals) == [float(n) for n in range(20)]
    assert (one.dropped, other.dropped) == (0, 0)
