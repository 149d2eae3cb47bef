"""The connection of the thread that writes to a SQLite file. Each group of steps is one transaction."""

import logging
import math
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias

from hookline.schemas.leases import LEASE_S, MAX_STEP_S
from hookline.sqlite import schema
from hookline.sqlite.batch import Batch
from hookline.sqlite.disk_space import DiskSpace
from hookline.sqlite.faults import not_used
from hookline.sqlite.log import WriteAheadLog
from hookline.sqlite.private_file import create_private

log = logging.getLogger("hookline.sqlite")

Clock: TypeAlias = Callable[[], float]
Renewal: TypeAlias = Callable[[sqlite3.Connection, float], None]
"""Runs in the transaction of each heartbeat. The number is the lease clock's value at this owner's heartbeat before."""

BEAT_S = 1.0
_BUSY_S = 5.0
_RETRY_S = 0.0005
_CACHED_STATEMENTS = 512
_CACHE_KIB = 16 * 1024  # events have random ids: with SQLite's 2 MB, most steps read a page again
_LOG_PAGES = 2000  # twice SQLite's default: a page that is written twice until then is copied once
_LOG_BYTES = 16 * 2**20  # a log that a long reader has made larger shrinks again to this


class SqliteWriterThread:
    """Belongs to one thread. Raises OSError or sqlite3.Error if the file cannot be used, or SettingsError."""

    def __init__(
        self, path: Path, owner: str, clock: Clock, monotonic: Clock, renewals: Sequence[Renewal] = ()
    ) -> None:
        self._path = path
        self._owner = owner
        self._clock = clock
        self._monotonic = monotonic
        self._renewals = renewals
        self._renewed_at = 0.0
        self._beat_due_s = -math.inf
        self._is_beat_failing = False
        self._space = DiskSpace(path)
        self._open()
        try:
            self._beat()
        except BaseException:
            self._connection.close()
            raise

    def _open(self) -> None:
        self._connection = _connect(self._path)
        self._is_open = True
        try:
            _prepare(self._connection, self._path, self._owner, self._clock, self._monotonic)
            self.log = WriteAheadLog(self._path)
        except BaseException:
            self._is_open = False
            self._connection.close()
            raise

    def run(self, group: Sequence[Batch]) -> None:
        """Answer all. If the group fails, each step gets its own transaction; if that fails too, each item does."""
        if not group or self._in_transaction(group):
            return
        for batch in group:
            if not self._in_transaction([batch]):
                for single in (singly := batch.singly()):
                    self._in_transaction([single])
                batch.answers = [answer for single in singly for answer in single.answers]

    def beat_if_due(self) -> None:
        """Send the owner's heartbeat every second, and delete owners that died. Raises nothing."""
        if self._monotonic() < self._beat_due_s:
            return
        try:
            self._beat()
        except (sqlite3.Error, OSError):  # locked or full: retried at once, long before the lease ends
            pass
        except Exception:
            self._beat_due_s = self._monotonic() + BEAT_S
            if not self._is_beat_failing:
                log.exception("the heartbeat failed")
            self._is_beat_failing = True
        else:
            self._is_beat_failing = False

    def close(self) -> None:
        """End the owner's lease."""
        with suppress(sqlite3.Error, OSError):  # then it ends by itself
            self._do(lambda connection: connection.execute("DELETE FROM owners WHERE owner = ?", (self._owner,)))
        self._connection.close()

    def _beat(self) -> None:
        now_s = self._monotonic()
        self._do(partial(self._renew, now_s=now_s))
        self._beat_due_s = now_s + BEAT_S

    def _renew(self, connection: sqlite3.Connection, *, now_s: float) -> None:
        connection.execute(_ADVANCE, (now_s, now_s))
        connection.execute("UPDATE retry_clock SET at = monotonic(), wall = now()")
        connection.execute("INSERT OR REPLACE INTO owners SELECT ?, value FROM lease_clock", (self._owner,))
        connection.execute("DELETE FROM owners WHERE owner NOT IN (SELECT owner FROM alive)")
        for renewal in self._renewals:
            renewal(connection, self._renewed_at)
        (self._renewed_at,) = connection.execute("SELECT value FROM lease_clock").fetchone()

    def _do(self, step: Callable[[sqlite3.Connection], object]) -> None:
        """Run a step that need not be on disk: after a power cut no process is alive."""
        self._ensure_open()
        self._space.check(self._connection, 0)
        self._begin()
        try:
            step(self._connection)
            self._connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _begin(self) -> None:
        """Wait for the write lock, and try often.

        SQLite itself sleeps for up to a tenth of a second between two tries. A process that writes much would get the
        lock each time.
        """
        until_s = time.monotonic() + _BUSY_S
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until_s:
                    raise
                time.sleep(_RETRY_S)
            else:
                return

    def _in_transaction(self, group: Sequence[Batch]) -> bool:
        """Whether the group has its answers. If not, a step failed and nothing was written."""
        try:
            self._ensure_open()
            self._space.check(self._connection, sum(sum(share.sizes) for batch in group for share in batch.shares))
            self._begin()
        except (sqlite3.Error, OSError) as error:
            return self._fail(group, error)
        try:
            for batch in group:
                _answer(self._connection, batch)
        except Exception as error:  # noqa: BLE001  the caller gets it, whatever it is
            self._roll_back()
            return sum(batch.count for batch in group) == 1 and self._fail(group, error)
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            return self._fail(group, error)
        return True

    def _fail(self, group: Sequence[Batch], error: Exception) -> bool:
        for batch in group:
            batch.answers = [not_used(self._path, error) for _ in range(batch.count)]
        return True

    def _roll_back(self) -> None:
        """Roll back, unless SQLite has done so itself, as after some errors such as a full disk.

        If that fails, closing the connection undoes the transaction, and the next one opens another.
        """
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._is_open = False
            self._connection.close()

    def _ensure_open(self) -> None:
        if not self._is_open:
            fault = self.log.fault
            self._open()
            self.log.fault = fault
        if self.log.fault is not None:
            self._renew_log()

    def _renew_log(self) -> None:
        """Write and sync the log again after a failed sync. What waits for the old log's sync fails with its error."""
        self._begin()  # nobody else writes to the log meanwhile
        try:
            self.log = self.log.renewed()
        finally:
            self._roll_back()


def _connect(path: Path) -> sqlite3.Connection:
    create_private(path)
    return sqlite3.connect(
        path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=_CACHED_STATEMENTS
    )


def _prepare(connection: sqlite3.Connection, path: Path, owner: str, clock: Clock, monotonic: Clock) -> None:
    schema.version(connection, path)  # refuse a file before anything is written to it
    connection.create_function("now", 0, clock)
    connection.create_function("monotonic", 0, monotonic)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
    connection.execute("PRAGMA synchronous = NORMAL")  # a commit does not wait for the disk: see WriteAheadLog
    connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the platter there
    schema.bring_forward(connection, path)
    _start_retry_clock(connection)
    connection.execute(_ALIVE.format(owner=owner))
    connection.execute("PRAGMA busy_timeout = 0")  # from now on `_begin` waits


def _start_retry_clock(connection: sqlite3.Connection) -> None:
    """Have delays go on after a restart of the machine, with which the monotonic clock begins again.

    Only the wall clock knows how long the machine was off.
    """
    found = connection.execute("SELECT at > monotonic() FROM retry_clock").fetchone()
    if found == (False,):
        return
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_CARRY_ON)
    connection.execute(_FIRST_TIME)
    connection.execute("COMMIT")


_CARRY_ON = """UPDATE retry_clock SET offset = offset + at - monotonic() + max(now() - wall, 0), at = monotonic(),
    wall = now() WHERE at > monotonic()"""
_FIRST_TIME = """INSERT INTO retry_clock SELECT now() - monotonic(), monotonic(), now()
    WHERE NOT EXISTS (SELECT 1 FROM retry_clock)"""

# The lease clock advances with each heartbeat, by a few seconds at most: while no process runs, no lease ends. A
# monotonic clock has no other jumps than that of a restart of the machine, which the clock ignores.
_ADVANCE = f"UPDATE lease_clock SET value = value + min(max(? - at, 0), {MAX_STEP_S:g}), at = ?"  # noqa: S608  of constants
LIVING = f"""SELECT owner FROM owners
    WHERE seen BETWEEN (SELECT value FROM lease_clock) - {LEASE_S:g} AND (SELECT value FROM lease_clock)"""  # noqa: S608  of constants
"""The owners whose lease has not ended."""
# A process is alive for itself, also when it has been frozen for longer than its lease.
_ALIVE = f"CREATE TEMP VIEW alive AS {LIVING} UNION ALL SELECT '{{owner}}'"  # of our own hexadecimal digits


def _answer(connection: sqlite3.Connection, batch: Batch) -> None:
    items = batch.items
    batch.answers = batch.step(connection, items)
    if len(batch.answers) != len(items):
        raise ValueError("a step answers each of its items")
