"""The embedded queue while the disk hangs, and on a small disk that a long reader has filled."""

import asyncio
import sqlite3
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path

import msgspec
import pytest

from hookline.broker.embedded.broker import EmbeddedBroker
from hookline.broker.embedded.publisher import Limits
from hookline.schemas.errors import NotDurable
from hookline.sqlite import disk_space
from hookline.sqlite.database import Database
from tests.contract.installations import envelope

WITHIN_S = 60
MIB = 2**20


@pytest.fixture
async def hanging(tmp_path: Path) -> AsyncIterator[tuple[Database, threading.Event]]:
    """A database whose writer waits, as for a disk that hangs, until the event is set."""
    database = await Database.open(tmp_path / "queue.db")
    begun, released = threading.Event(), threading.Event()

    def hang(_: sqlite3.Connection) -> None:
        begun.set()
        released.wait(WITHIN_S)

    waiting = asyncio.create_task(database.run(hang))
    await asyncio.to_thread(begun.wait, WITHIN_S)
    yield database, released
    released.set()
    await waiting
    await database.close()


async def publish(broker: EmbeddedBroker, size: int) -> bool:
    try:
        await broker.publisher.publish(msgspec.structs.replace(envelope(), body=b"x" * size))
    except NotDurable:
        return False
    return True


def is_ready(broker: EmbeddedBroker) -> bool:
    return broker.publisher.ready


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(Limits(max_in_flight=20, publish_timeout_s=0.01), id="in number"),
        pytest.param(Limits(max_bytes_in_flight=20 * 11_000, publish_timeout_s=0.01), id="in bytes"),
    ],
)
async def test_what_the_writer_still_holds_is_bounded_after_time_outs(
    hanging: tuple[Database, threading.Event], limits: Limits
) -> None:
    database, released = hanging
    broker = EmbeddedBroker(database, limits)
    for _ in range(5):
        assert not any(await asyncio.gather(*(publish(broker, 10_000) for _ in range(10))))
    assert not is_ready(broker)
    assert 15 <= database.unwritten <= 20
    released.set()
    async with asyncio.timeout(WITHIN_S):
        while not is_ready(broker):  # noqa: ASYNC110  the writer's thread tells nobody
            await asyncio.sleep(0.01)
    assert await publish(EmbeddedBroker(database), 10_000)
    assert (database.unwritten, database.unwritten_bytes) == (0, 0)
    await broker.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a small disk, and not in every container")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S603, S607


async def until_refused(broker: EmbeddedBroker) -> int:
    accepted = 0
    while await publish(broker, 100_000):
        accepted += 1
        assert accepted < 1000
    return accepted


async def test_a_disk_that_a_long_reader_filled_empties_again(small_disk: Path) -> None:
    path = small_disk / "queue.db"
    database = await Database.open(path)
    broker = EmbeddedBroker(database)
    assert await publish(broker, 100_000)
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM envelopes").fetchone()
        accepted = await until_refused(broker)
        assert accepted > 10
        for _ in range(20):
            assert not await publish(broker, 100_000)
        assert (small_disk / "queue.db-wal").stat().st_size > 5 * MIB
    async with asyncio.timeout(WITHIN_S):
        while not await publish(broker, 100_000):  # noqa: ASYNC110  nobody tells when the disk has room
            await asyncio.sleep(0.05)
    await broker.close()
    await database.close()
    with closing(sqlite3.connect(path)) as check:
        assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert check.execute("SELECT count(*) FROM envelopes").fetchone() == (accepted + 2,)


async def test_a_log_that_a_long_reader_made_large_shrinks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.sqlite.writer_thread._LOG_BYTES", MIB)
    path = tmp_path / "queue.db"
    database = await Database.open(path)
    broker = EmbeddedBroker(database)
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM envelopes").fetchone()
        for _ in range(60):
            assert await publish(broker, 100_000)
        assert (tmp_path / "queue.db-wal").stat().st_size > 5 * MIB
    async with asyncio.timeout(WITHIN_S):
        while (tmp_path / "queue.db-wal").stat().st_size > 2 * MIB:
            assert await publish(broker, 100_000)
    await broker.close()
    await database.close()


async def test_events_stop_before_outcomes_of_deliveries_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is already queued can still be handled, which makes room."""
    database = await Database.open(tmp_path / "queue.db")
    broker = EmbeddedBroker(database)
    between = (disk_space.SPARE_BYTES + disk_space.SPARE_FOR_MORE_BYTES) // 2
    monkeypatch.setattr(disk_space.DiskSpace, "_spare", lambda *_: between)
    await until_refused(broker)
    assert await database.run(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)
    with suppress(NotDurable):
        await broker.close()
    await database.close()
