"""Writes the audit of refused requests in a thread of its own.

It never blocks or fails the ingress: what does not fit in the queue, or cannot be written, is dropped and counted. The
file is bounded by SQLite itself, and its write-ahead log by a check before each batch.
"""

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import msgspec

from hookline.aio.threads import ended
from hookline.audit import tables
from hookline.ingress.settings import AuditSettings
from hookline.schemas.refusals import RefusedRequest
from hookline.sqlite.faults import said_by

log = logging.getLogger("hookline.audit")

MAX_WAITING = 256
BATCH_S = 0.2
_REPORT_EVERY_S = 60.0
_SHARE_TO_FREE = 10

Counts: TypeAlias = Mapping[tuple[str, str], int]
_Item: TypeAlias = RefusedRequest | tuple[Counts, float]

_INSERT = "INSERT INTO refused (source, reason, at_s, bytes, request) VALUES (?, ?, ?, ?, ?)"
_COUNT = """INSERT INTO counted VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
    SET count = count + excluded.count, last_s = max(last_s, excluded.last_s)"""
_FORGET_OLD = "DELETE FROM refused WHERE at_s < ?"
_KEEP_NEWEST = """DELETE FROM refused WHERE id IN (SELECT id FROM (
    SELECT id, row_number() OVER (PARTITION BY reason ORDER BY id DESC) AS place,
        sum(bytes) OVER (ORDER BY id DESC) AS total FROM refused WHERE source = ?)
    WHERE place > ? OR total > ?)"""
_FREE_SOME = """DELETE FROM refused WHERE id IN (
    SELECT id FROM refused ORDER BY id LIMIT 1 + (SELECT count(*) FROM refused) / ?)"""


class NotReusable(sqlite3.OperationalError):
    """The write-ahead log would grow further, because a reader still needs all of it."""


class SqliteRefusalWriter:
    """A running writer. `dropped` counts records that were not written, `is_idle` whether none waits."""

    def __init__(self, path: Path, settings: AuditSettings) -> None:
        self._path = path
        self._settings = settings
        self._waiting: queue.Queue[_Item | None] = queue.Queue(MAX_WAITING)
        self._closing = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._opened_inode: int | None = None
        self._reported_at_s = -_REPORT_EVERY_S
        self._thread = threading.Thread(target=self._run, name=f"audit {path.name}", daemon=True)
        self.dropped = 0
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        return self._waiting.empty()

    def put(self, request: RefusedRequest) -> None:
        self._offer(request)

    def count(self, counts: Counts, at_s: float) -> None:
        self._offer((counts, at_s))

    async def close(self) -> None:
        """Write what waits, and close the file. It may be cancelled: a disk may hang."""
        self._closing.set()
        with suppress(queue.Full):  # then the thread does not wait for anything
            self._waiting.put_nowait(None)
        await ended(self._thread)

    def _offer(self, item: _Item) -> None:
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            self.dropped += 1

    def _run(self) -> None:
        while not (self._closing.is_set() and self._waiting.empty()):
            first = self._waiting.get()
            self._closing.wait(BATCH_S)  # more of them may come
            self._write([item for item in (first, *self._others()) if item is not None])
        if self._connection is not None:
            self._connection.close()

    def _others(self) -> list[_Item | None]:
        items: list[_Item | None] = []
        with suppress(queue.Empty):
            while True:
                items.append(self._waiting.get_nowait())
        return items

    def _write(self, items: Sequence[_Item]) -> None:
        if not items:
            return
        try:
            self._write_batch(items)
        except (sqlite3.Error, OSError) as error:
            self.dropped += len(items)
            self._forget_connection()
            self._report(error)

    def _write_batch(self, items: Sequence[_Item]) -> None:
        connection = self._opened()
        if not self._fits(connection, items):
            for item in items:
                self._make_fit(connection, item)

    def _fits(self, connection: sqlite3.Connection, items: Sequence[_Item]) -> bool:
        """Whether the items could be written without growing beyond the limit of the file."""
        try:
            self._transaction(connection, items)
        except sqlite3.OperationalError as error:
            if not isinstance(error, NotReusable) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
                return False
            raise
        return True

    def _make_fit(self, connection: sqlite3.Connection, item: _Item) -> None:
        """Write one item, and delete a part of the oldest records until it fits."""
        for _ in range(_SHARE_TO_FREE):
            if self._fits(connection, [item]):
                return
            connection.execute(_FREE_SOME, (_SHARE_TO_FREE,))
        self.dropped += 1

    def _transaction(self, connection: sqlite3.Connection, items: Sequence[_Item]) -> None:
        self._check_log(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            for item in items:
                self._add(connection, item)
            self._keep_bounds(connection, {item.source for item in items if isinstance(item, RefusedRequest)})
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _add(self, connection: sqlite3.Connection, item: _Item) -> None:
        if isinstance(item, RefusedRequest):
            request = msgspec.json.encode(item)
            connection.execute(_INSERT, (item.source, item.reason, item.at_s, len(request), request))
        else:
            counts, at_s = item
            connection.executemany(_COUNT, [(*kind, count, at_s) for kind, count in counts.items()])

    def _keep_bounds(self, connection: sqlite3.Connection, sources: set[str]) -> None:
        settings = self._settings
        for source in sources:
            connection.execute(_KEEP_NEWEST, (source, settings.max_records, settings.max_bytes_per_source))
        connection.execute(_FORGET_OLD, (time.time() - settings.max_age_s,))

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and self._inode() != self._opened_inode:  # deleted, or moved away
            self._forget_connection()
        if self._connection is None:
            self._connection = tables.connect(self._path)
            self._opened_inode = self._inode()
            tables.bound(self._connection, self._settings.max_bytes)
        return self._connection

    def _inode(self) -> int | None:
        try:
            return self._path.stat().st_ino
        except OSError:
            return None

    def _check_log(self, connection: sqlite3.Connection) -> None:
        """Raise sqlite3.OperationalError if the write-ahead log is large and a reader keeps it from being reused."""
        if self._log_bytes() > self._settings.max_bytes:
            _, pages, checkpointed = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if checkpointed < pages:
                raise NotReusable("a reader holds the file")

    def _log_bytes(self) -> int:
        try:
            return self._path.with_name(f"{self._path.name}-wal").stat().st_size
        except OSError:
            return 0

    def _forget_connection(self) -> None:
        """The next batch opens the file anew: it may have been deleted, moved or mended."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _report(self, error: Exception) -> None:
        now_s = time.monotonic()
        if now_s - self._reported_at_s >= _REPORT_EVERY_S:
            self._reported_at_s = now_s
            log.warning(
                "%s cannot be written: %s; refused requests are not recorded (%d so far)",
                self._path,
                said_by(error),
                self.dropped,
            )
