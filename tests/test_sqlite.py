"""The writer thread: groups, failures that harm no other step, and leases that end with their process."""

import asyncio
import errno
import re
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from hookline.aio.disk import sync
from hookline.schemas.errors import Locked, SettingsError, Unreachable
from hookline.schemas.leases import LEASE_S
from hookline.sqlite import writer_thread
from hookline.sqlite.database import Database

Step = Callable[[sqlite3.Connection], None]
WITHIN_S = 60


def create(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)")


def add(number: int) -> Step:
    def step(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))

    return step


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [number for (number,) in connection.execute("SELECT n FROM numbers ORDER BY n")]


async def test_what_was_run_is_there_for_another_connection(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    await database.run(add(1))
    with sqlite3.connect(tmp_path / "x.db") as other:
        assert numbers(other) == [1]
    other.close()
    await database.close()


async def test_opening_a_file_twice_keeps_the_locks_of_the_first(tmp_path: Path) -> None:
    """As the inspector of `hookline run` does. Without its locks, another process would delete the log in use."""
    path = tmp_path / "x.db"
    database = await Database.open(path)
    await database.run(create)
    again = await Database.open(path)
    await again.close()
    await _write_in_another_process(path, 1)
    await database.run(add(2))
    with closing(sqlite3.connect(path)) as other:
        assert numbers(other) == [1, 2]
    await database.close()


async def _write_in_another_process(path: Path, number: int) -> None:
    """SQLite deletes the log when the last connection to a file is closed."""
    program = (
        "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "connection.execute('INSERT INTO numbers VALUES (?)', (int(sys.argv[2]),)); connection.close()"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(path), str(number))
    assert await process.wait() == 0


async def test_steps_that_wait_together_share_a_transaction(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    go = threading.Event()
    held_up = asyncio.create_task(database.run(lambda _: go.wait()))
    waiting = [asyncio.create_task(database.run(add(n))) for n in range(50)]
    await asyncio.sleep(0)  # all are in the writer's queue
    go.set()
    await asyncio.gather(held_up, *waiting)
    commits = _wal_commits(tmp_path / "x.db-wal")
    assert commits <= 5  # the tables, the lease, and the two groups; fifty would be one each
    await database.close()


def _wal_commits(path: Path) -> int:
    """How many transactions the log holds: the last frame of each carries the database's size (SQLite, WAL format)."""
    log = path.read_bytes()
    page = int.from_bytes(log[8:12], "big")
    frames = range(32, len(log), 24 + page)
    return sum(1 for frame in frames if log[frame + 4 : frame + 8] != bytes(4))


async def test_a_step_that_fails_harms_no_other_in_its_group(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    results = await asyncio.gather(*(database.run(add(n)) for n in (1, 2, 2, 3)), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), type(None), Unreachable, type(None)]
    assert await database.run(numbers) == [1, 2, 3]
    await database.close()


async def test_a_step_that_failed_has_written_nothing(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)

    def half(connection: sqlite3.Connection) -> None:
        add(1)(connection)
        raise ValueError("after the first half")

    with pytest.raises(ValueError, match="first half"):
        await database.run(half)
    assert await database.run(numbers) == []
    await database.close()


def add_all(connection: sqlite3.Connection, added: Sequence[int]) -> list[int | Exception]:
    """Refuses negative numbers. Each answer is the number of items in the call."""
    connection.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in added if number >= 0])
    return [len(added) if number >= 0 else ValueError(f"{number} is negative") for number in added]


async def test_items_that_wait_for_the_same_step_run_as_one(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    assert await asyncio.gather(*(database.share(add_all, n) for n in range(50))) == [50] * 50
    assert await database.run(numbers) == list(range(50))
    await database.close()


async def test_an_item_at_which_a_shared_step_fails_harms_no_other(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    await database.run(add(2))
    results = await asyncio.gather(
        *(database.share(add_all, n) for n in (1, 2, 3)), database.run(add(4)), return_exceptions=True
    )
    assert [type(result) for result in results] == [int, Unreachable, int, type(None)]
    assert await database.run(numbers) == [1, 2, 3, 4]
    await database.close()


async def test_an_item_that_a_shared_step_refuses_is_refused_alone(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    results = await asyncio.gather(*(database.share(add_all, n) for n in (1, -2, 3)), return_exceptions=True)
    assert [type(result) for result in results] == [int, ValueError, int]
    assert await database.run(numbers) == [1, 3]
    await database.close()


class Disk:
    """Stands for the sync of the log: counts, waits while it hangs, and fails while there is a fault."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.fault: OSError | None = None
        self.works = threading.Event()
        self.works.set()
        self.begun = threading.Event()
        monkeypatch.setattr("hookline.sqlite.log.sync", self)

    def __call__(self, descriptor: int) -> None:
        self.count += 1
        fault = self.fault
        self.begun.set()
        assert self.works.wait(WITHIN_S)
        if fault is not None:
            raise fault
        sync(descriptor)

    async def hang(self) -> None:
        """Return once a sync hangs."""
        self.works.clear()
        self.begun.clear()
        await asyncio.to_thread(self.begun.wait, WITHIN_S)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


async def test_an_answer_waits_for_the_disk_if_anything_of_its_step_is_durable(tmp_path: Path, disk: Disk) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    for number, durable in enumerate((True, False, False, True, False, True)):
        before = disk.count
        await database.run(add(number), durable=durable)
        assert (disk.count > before) == durable
    before = disk.count
    await asyncio.gather(database.run(add(10), durable=False), database.run(add(11)))
    assert disk.count > before
    await database.close()


async def test_an_answer_does_not_wait_for_the_disk_because_another_step_of_its_group_does(
    tmp_path: Path, disk: Disk
) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    disk.works.clear()
    durable = asyncio.create_task(database.run(add(1)))
    await asyncio.sleep(0)
    async with asyncio.timeout(WITHIN_S):
        await database.share(add_all, 2, durable=False)
    assert not durable.done()
    disk.works.set()
    await durable
    await database.close()


async def test_a_large_group_is_written_while_the_disk_is_waited_for(tmp_path: Path, disk: Disk) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    waiting = asyncio.create_task(database.run(add(0)))
    await disk.hang()
    await asyncio.gather(*(database.run(add(n), durable=False) for n in range(1, 100)))
    assert not waiting.done()
    disk.works.set()
    await waiting
    await database.close()


async def test_small_groups_that_come_while_the_disk_is_waited_for_are_written_as_one(
    tmp_path: Path, disk: Disk
) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    waiting = [asyncio.create_task(database.run(add(0)))]
    await disk.hang()
    commits = _wal_commits(tmp_path / "x.db-wal")
    for number in range(1, 30):
        waiting.append(asyncio.create_task(database.run(add(number))))
        await asyncio.sleep(0)
    disk.works.set()
    await asyncio.gather(*waiting)
    assert _wal_commits(tmp_path / "x.db-wal") - commits <= 5  # with heartbeats; thirty would be one each
    await database.close()


async def test_heartbeats_go_on_while_single_steps_come_and_the_disk_hangs(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.sqlite.database.BEAT_S", 0.05)
    database = await Database.open(tmp_path / "x.db", monotonic=(clock := Clock()))
    await database.run(create)
    has_beaten = threading.Event()
    database.on_heartbeat(lambda *_: has_beaten.set())
    waiting = [asyncio.create_task(database.run(add(0)))]
    await disk.hang()
    clock.now_s += 2
    for number in range(1, 60):  # fewer than begin a group
        waiting.append(asyncio.create_task(database.run(add(number))))
        await asyncio.sleep(0.01)
    assert has_beaten.is_set()
    disk.works.set()
    await asyncio.gather(*waiting)
    await database.close()


async def test_after_a_sync_that_failed_nothing_before_is_called_durable(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system reports an error once: a later sync of the same pages succeeds."""
    monkeypatch.setattr("hookline.sqlite.database._ENOUGH", 1)
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    disk.fault = OSError(errno.EIO, "Input/output error")
    first = asyncio.create_task(database.run(add(1)))
    await disk.hang()
    disk.fault = None
    is_added = threading.Event()

    def add_later(connection: sqlite3.Connection) -> None:
        add(2)(connection)
        is_added.set()

    second = asyncio.create_task(database.run(add_later))
    await asyncio.to_thread(is_added.wait, WITHIN_S)
    assert await database.run(numbers, durable=False) == [1, 2]
    disk.works.set()
    for each in (first, second):
        with pytest.raises(Unreachable, match=r"x\.db cannot be used: .*Input/output error"):
            await each
    await database.close()


async def test_after_a_sync_that_failed_the_next_step_is_written_also_beside_a_reader(
    tmp_path: Path, disk: Disk
) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    disk.fault = OSError(errno.EIO, "Input/output error")
    for number in (1, 2):
        with pytest.raises(Unreachable):
            await database.run(add(number))
    disk.fault = None
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert numbers(reader) == [1]
        await database.run(add(3))
    assert await database.run(numbers) == [1, 3]
    await database.close()


async def test_a_log_that_could_not_be_synced_is_renewed_under_the_write_lock(tmp_path: Path, disk: Disk) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    disk.fault = OSError(errno.EIO, "Input/output error")
    with pytest.raises(Unreachable):
        await database.run(add(1))
    disk.fault = None
    count = disk.count
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(database.run(add(2)))
        assert await asyncio.wait([waiting], timeout=0.05) == (set(), {waiting})
        assert disk.count == count
        other.execute("COMMIT")
        await waiting
    await database.close()


@pytest.mark.parametrize("name", ["x.db", "x.db-wal", "x.db-shm"], ids=["the file", "its log", "its locks"])
async def test_nothing_is_called_durable_in_a_file_that_was_moved_until_it_is_back(tmp_path: Path, name: str) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    (tmp_path / name).rename(tmp_path / "elsewhere")
    for number in (1, 2):
        with pytest.raises(Unreachable, match=r"x\.db cannot be used"):
            await database.run(add(number))
    (tmp_path / "elsewhere").rename(tmp_path / name)
    await database.run(add(3))
    with closing(sqlite3.connect(tmp_path / "x.db")) as found:
        assert 3 in numbers(found)
    await database.close()


@pytest.mark.parametrize("name", ["x.db", "x.db-wal", "x.db-shm"], ids=["the file", "its log", "its locks"])
async def test_what_has_taken_the_name_of_the_file_is_left_alone(tmp_path: Path, name: str) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    (tmp_path / "new").write_bytes(b"")
    (tmp_path / "new").replace(tmp_path / name)
    for number in (1, 2):
        with pytest.raises(Unreachable, match="it was replaced while it is in use"):
            await database.run(add(number))
    assert not (tmp_path / name).stat().st_size
    await database.close()


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[sqlite3.Connection]:
    """A connection of another process."""
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    await database.close()
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as connection:
        yield connection


async def test_a_step_waits_for_the_write_lock(tmp_path: Path, other: sqlite3.Connection) -> None:
    database = await Database.open(tmp_path / "x.db")
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(database.run(add(1)))
    assert await asyncio.wait([waiting], timeout=0.05) == (set(), {waiting})
    other.execute("COMMIT")
    await waiting
    assert numbers(other) == [1]
    await database.close()


async def test_the_wait_for_the_write_lock_has_an_end(
    tmp_path: Path, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await Database.open(tmp_path / "x.db")
    monkeypatch.setattr(writer_thread, "_BUSY_S", 0.05)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Locked, match=r"x\.db cannot be used: another process has locked it"):
        await database.run(add(1))
    other.execute("COMMIT")
    await database.run(add(2))
    assert numbers(other) == [2]
    await database.close()


async def test_a_transaction_that_sqlite_rolled_back_itself_harms_no_other(tmp_path: Path) -> None:
    """SQLite does so when the disk is full or cannot be read."""

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    failing, adding = asyncio.create_task(database.run(fail)), asyncio.create_task(database.run(add(1)))
    with pytest.raises(Unreachable):
        await asyncio.wait_for(failing, 10)
    await asyncio.wait_for(adding, 10)
    assert await asyncio.wait_for(database.run(numbers), 10) == [1]
    await database.close()


async def test_a_failed_rollback_harms_no_later_step(tmp_path: Path) -> None:
    """The connection is then in a transaction that it cannot leave."""

    def deny(action: int, *_: str | None) -> int:
        return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK

    def fail(connection: sqlite3.Connection) -> None:
        add(1)(connection)
        connection.set_authorizer(deny)
        raise ValueError("denied")

    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    with pytest.raises(ValueError, match="denied"):
        await asyncio.wait_for(database.run(fail), 10)
    await asyncio.wait_for(database.run(add(2)), 10)
    assert await asyncio.wait_for(database.run(numbers), 10) == [2]
    assert await alive(database) == {database.owner}
    await database.close()


async def test_a_heartbeat_that_fails_does_not_end_the_writer(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "x.db", monotonic=(clock := Clock()))

    def fail(_: sqlite3.Connection, __: float) -> None:
        raise ValueError("a bug")

    database.on_heartbeat(fail)
    await asyncio.wait_for(beat(database, clock, 3), 10)
    await database.close()


async def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "x.db")
    assert stat.S_IMODE((tmp_path / "x.db").stat().st_mode) == 0o600
    await database.close()


async def test_a_link_may_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "x.db").symlink_to(tmp_path / "data" / "y.db")
    database = await Database.open(tmp_path / "x.db")
    await database.run(create)
    await database.run(add(1))
    assert (tmp_path / "data" / "y.db-wal").stat().st_size
    await database.close()
    with closing(sqlite3.connect(tmp_path / "data" / "y.db")) as found:
        assert numbers(found) == [1]


async def test_a_file_that_cannot_be_opened_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"cannot be opened: there is no folder .*no such folder; make it"):
        await Database.open(tmp_path / "no such folder" / "x.db")


async def test_a_file_that_is_no_database_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(Unreachable, match="cannot be opened"):
        await Database.open(tmp_path / "x.db")


async def test_a_damaged_file_is_unreachable_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    await (await Database.open(path)).close()
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes(len(content) - 100))
    with pytest.raises(Unreachable, match=r"x\.db cannot be opened: it is damaged \(.*\): stop its processes"):
        await Database.open(path)


async def test_a_file_whose_threads_cannot_be_started_is_unreachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "sync x.db":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(Unreachable, match=r"x\.db cannot be opened: can't start new thread"):
        await Database.open(tmp_path / "x.db")
    with closing(sqlite3.connect(tmp_path / "x.db")) as found:
        assert found.execute("SELECT * FROM owners").fetchall() == []


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be opened: it is a folder; name a file in it"):
        await Database.open(tmp_path)


async def test_a_closed_database_is_unreachable(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "x.db")
    await database.close()
    with pytest.raises(Unreachable, match="is closed"):
        await database.run(numbers)


class Clock:
    """A monotonic clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


async def beat(database: Database, clock: Clock, count: int) -> None:
    """Send a heartbeat every two seconds."""
    for _ in range(count):
        clock.now_s += 2
        await database.run(lambda _: None)


async def alive(database: Database) -> set[str]:
    found = await database.run(lambda connection: connection.execute("SELECT owner FROM alive").fetchall())
    return {owner for (owner,) in found}


@pytest.mark.parametrize(
    ("beats", "is_alive"),
    [
        pytest.param(round(LEASE_S) // 2, True, id="at the end of the lease"),
        pytest.param(round(LEASE_S) // 2 + 1, False, id="after the end of the lease"),
    ],
)
async def test_a_lease_ends_after_the_last_heartbeat(tmp_path: Path, beats: int, *, is_alive: bool) -> None:
    silent = await Database.open(tmp_path / "x.db", monotonic=Clock())
    beating = await Database.open(tmp_path / "x.db", monotonic=(clock := Clock()))
    await beat(beating, clock, beats)
    assert (silent.owner in await alive(beating)) == is_alive
    await silent.close()
    await beating.close()


async def test_a_process_that_was_frozen_for_longer_than_its_lease_is_alive_for_itself(tmp_path: Path) -> None:
    frozen = await Database.open(tmp_path / "x.db", monotonic=Clock())
    beating = await Database.open(tmp_path / "x.db", monotonic=(clock := Clock()))
    await beat(beating, clock, round(LEASE_S))
    assert await alive(frozen) == {frozen.owner, beating.owner}
    await frozen.close()
    await beating.close()


async def test_a_process_that_was_frozen_renews_its_lease_before_anything_else(tmp_path: Path) -> None:
    frozen = await Database.open(tmp_path / "x.db", monotonic=(its_clock := Clock()))
    beating = await Database.open(tmp_path / "x.db", monotonic=(clock := Clock()))
    await beat(beating, clock, round(LEASE_S))
    its_clock.now_s = clock.now_s
    owners = await frozen.run(lambda connection: connection.execute("SELECT owner FROM owners").fetchall())
    assert (frozen.owner,) in owners
    await frozen.close()
    await beating.close()


async def test_neither_the_wall_clock_nor_a_pause_of_the_machine_ends_a_lease(tmp_path: Path) -> None:
    wall, first_clock, second_clock = Clock(), Clock(), Clock()
    first = await Database.open(tmp_path / "x.db", wall, first_clock)
    second = await Database.open(tmp_path / "x.db", wall, second_clock)
    for later_s in (9, 3600, -7200):
        wall.now_s += later_s
        second_clock.now_s += max(later_s, 0)
        assert await alive(second) == {first.owner, second.owner}
        first_clock.now_s = second_clock.now_s
        await first.run(lambda _: None)
    await first.close()
    await second.close()


async def test_a_stop_while_the_file_is_opened_is_no_error(tmp_path: Path) -> None:
    """As when a signal ends a process that has just started."""
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    for _ in range(20):
        opening = asyncio.create_task(Database.open(tmp_path / "events.db"))
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
    until_s = time.monotonic() + 10
    while any(thread.name == "sqlite events.db" for thread in threading.enumerate()):
        assert time.monotonic() < until_s
        await asyncio.sleep(0.01)
    assert not errors


def test_no_statement_has_numbered_placeholders() -> None:
    """Python 3.12.0 to 3.12.3 warn of those that get a sequence."""
    root = Path(__file__).parents[1]
    folders = ("broker/embedded", "hookline/sqlite", "hookline/audit", "workers/stores/sqlite")
    modules = [path for folder in folders for path in (root / folder).rglob("*.py")]
    assert modules
    assert [path.name for path in modules if re.search(r"\?\d", path.read_text())] == []
