"""SQLite's write-ahead log, synced beside the transactions: SQLite would sync in a commit, and hold its write lock.

A frame of the log has a checksum. A power cut leaves all frames before the first that is not whole. So a sync makes all
earlier commits durable, those of other processes too (https://www.sqlite.org/walformat.html). With `synchronous=NORMAL`
SQLite still syncs the name and the header of the log. It also syncs the log before it copies it into the file.
"""

import errno
import os
from pathlib import Path
from weakref import finalize

from hookline.aio.disk import sync

_PART_BYTES = 2**20


class WriteAheadLog:
    """The log of an open connection. Raises OSError if there is none."""

    def __init__(self, path: Path, inodes: tuple[int, ...] | None = None) -> None:
        file = os.path.realpath(path)  # SQLite names the others after the file, and not after a link to it
        self._path = path
        self._log_path = f"{file}-wal"
        self._names = path, self._log_path, f"{file}-shm"
        self._descriptor = os.open(self._log_path, os.O_RDWR)
        finalize(self, os.close, self._descriptor)  # those that still sync it have it open
        self._inodes = inodes or self._named()
        self.fault: OSError | None = None
        """Why a sync failed. A later one proves nothing of what was written before, so all of them fail."""

    def sync(self) -> None:
        """Return once all that was committed before is on disk, under the names of the file and its log.

        Raises OSError, also if somebody has deleted or replaced one of them, or the file of the locks: SQLite does not
        notice, and writes on.
        """
        if self.fault is not None:
            raise self.fault
        try:
            sync(self._descriptor)
            self._check_names()
        except OSError as error:
            self.fault = error
            raise

    def renewed(self) -> "WriteAheadLog":
        """The log without its fault, once all that is in it is written again and on disk. Raises OSError.

        Needs SQLite's write lock. After a sync that failed, the system takes for written what is not on disk. A power
        cut during a checkpoint of such a log would leave a file that nothing can mend.
        """
        log = WriteAheadLog(self._path, self._inodes)
        log._check_names()
        log._write_again()
        log.sync()
        return log

    def _write_again(self) -> None:
        offset = 0
        while part := os.pread(self._descriptor, _PART_BYTES, offset):
            offset += os.pwrite(self._descriptor, part, offset)

    def _check_names(self) -> None:
        if self._named() != self._inodes:
            raise FileNotFoundError(
                errno.ENOENT, "it was replaced while it is in use: put it back, or start its processes again"
            )

    def _named(self) -> tuple[int, ...]:
        """The numbers of what the names of the file, its log and its locks stand for.

        A process that does not find the file of the locks makes another one, and then both write to the log at once.
        """
        return tuple(os.stat(name).st_ino for name in self._names)  # noqa: PTH116  for each sync
