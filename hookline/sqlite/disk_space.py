"""Keeps back the disk space that a checkpoint needs, so that a full disk empties again by itself.

A long reader keeps the write-ahead log from being copied into the file, so the log grows. Copying it later makes the
file grow by as much as was added. If the log took the last of the disk, that could never happen.
"""

import errno
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

SPARE_BYTES = 2**20
"""What stays free in addition. Heartbeats and outcomes of deliveries stop there."""
SPARE_FOR_MORE_BYTES = 4 * 2**20
"""What stays free when events are added."""
_CHECKED_EVERY_S = 0.1
_CHECKED_EVERY_BYTES = 2**20


class DiskSpace:
    """Belongs to the writer's thread."""

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._due_s = 0.0
        self._added_bytes = 0
        self._spare_bytes = 0

    def check(self, connection: sqlite3.Connection, added_bytes: int) -> None:
        """Raise OSError if there is no room to add so much. Looks at the disk ten times a second at most."""
        self._added_bytes += added_bytes
        now_s = self._monotonic()
        if now_s >= self._due_s or self._added_bytes >= _CHECKED_EVERY_BYTES:
            self._due_s, self._added_bytes = now_s + _CHECKED_EVERY_S, added_bytes
            self._spare_bytes = self._spare(connection)
            if self._spare_bytes < self._needed(added_bytes):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                self._spare_bytes = self._spare(connection)
        if self._spare_bytes < self._needed(added_bytes):
            raise OSError(errno.ENOSPC, "the disk is full, except for what a checkpoint of the log needs")

    def _needed(self, added_bytes: int) -> int:
        return SPARE_FOR_MORE_BYTES + 2 * added_bytes if added_bytes else SPARE_BYTES

    def _spare(self, connection: sqlite3.Connection) -> int:
        """What is free beyond what the next checkpoint adds to the file."""
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        disk = os.statvfs(self._path)
        growth = max(0, pages * page_bytes - self._path.stat().st_size)
        return int(disk.f_bavail * disk.f_frsize - growth)
