"""SQLite's write-ahead log, synced beside the transactions: SQLite would sync in a commit, and hold its write lock.

A frame of the log has a checksum. A power cut leaves all frames before the first that is not whole. So a sync makes all
earlier commits durable, those of other processes too (https://www.sqlite.org/walformat.html). With `synchronous=NORMAL`
SQLite still syncs the name and the header of the log. It also syncs the log before it copies it into the file.
"""

import os
from pathlib import Path
from weakref import finalize

from hookline.aio.disk import sync


class WriteAheadLog:
    """The log of an open connection. Raises OSError if there is none."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(f"{path}-wal", os.O_RDONLY)
        finalize(self, os.close, self._descriptor)  # those that still sync it have it open
        self.fault: OSError | None = None
        """Why a sync failed. A later one proves nothing of what was written before, so all of them fail."""

    def sync(self) -> None:
        """Return once all that was committed before is on disk, or raise OSError."""
        if self.fault is not None:
            raise self.fault
        try:
            sync(self._descriptor)
        except OSError as error:
            self.fault = error
            raise
