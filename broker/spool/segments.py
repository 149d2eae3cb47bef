"""One process's set of segment files: what is appended, marked as removed, and deleted.

Appends go to the newest file and are on disk, under its name, when `append` returns: a file that was deleted takes
writes for as long as it is open. A file whose write or fsync has failed gets no more records: an fsync that succeeds
after a failed one proves nothing. Marks are not synced: without them, records are
published again, and workers drop the duplicates.
"""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hookline.broker.spool import records
from hookline.broker.spool.files import File, Files, Lock
from hookline.broker.spool.records import Entry

SEGMENT, MARKS, LOCK = ".segment", ".removed", ".lock"


class Segment:
    """A file of records. `left` counts those that are not removed."""

    def __init__(self, path: Path, header: bytes, size: int, left: int) -> None:
        self.path = path
        self.header = header
        self.size = size
        self.left = left

    @property
    def marks(self) -> Path:
        return self.path.with_suffix(MARKS)


class SegmentSet:
    """The folder of one process, which holds its lock. Used by one thread."""

    def __init__(self, folder: Path, files: Files, lock: Lock, segment_bytes: int) -> None:
        self.folder = folder
        self._files = files
        self._lock = lock
        self._segment_bytes = segment_bytes
        self._number = 0
        self._current: Segment | None = None
        self._file: File | None = None
        self._is_named = False  # the name of the current file is on disk

    @property
    def current(self) -> Segment | None:
        """The segment that gets the next records."""
        return self._current

    def append(self, entries: Sequence[Entry]) -> tuple[Segment, list[int]]:
        """Return the segment and the offsets of the records, once they are on disk.

        Raises OSError; FileNotFoundError if somebody has deleted or moved the file or its folder.
        """
        segment, file = self._open()
        offsets, parts, size = [], [], segment.size
        for entry in entries:
            part = records.encode(entry, segment.header)
            offsets.append(size)
            parts.append(part)
            size += len(part)
        try:
            file.write(b"".join(parts))
            file.sync()
            self._sync_name()
            self._files.size(segment.path)
        except BaseException:
            segment.size = size  # at most
            self._abandon()
            raise
        segment.size, segment.left = size, segment.left + len(entries)
        if size >= self._segment_bytes:
            self.finish()
        return segment, offsets

    def finish(self) -> None:
        """Append nothing more to the current file."""
        file, self._file, self._current = self._file, None, None
        if file is not None:
            with suppress(OSError):  # everything that was acknowledged has been synced
                file.close()

    def mark(self, segment: Segment, offsets: Sequence[int]) -> None:
        """Note that records are removed. Raises OSError."""
        file = self._files.append(segment.marks)
        try:
            file.write(records.encode_marks(segment.header, offsets))
        finally:
            file.close()

    def delete(self, segment: Segment) -> None:
        """Delete a file without records that are left. Raises OSError."""
        if segment is self._current:
            self.finish()
        self._files.remove(segment.path)  # first: without its marks all its records would be published again
        with suppress(FileNotFoundError):
            self._files.remove(segment.marks)

    def probe(self) -> None:
        """Make sure that records can be appended, without appending one. Raises OSError."""
        _, file = self._open()
        try:
            file.sync()
            self._sync_name()
        except BaseException:
            self._abandon()
            raise

    def close(self) -> None:
        """Give up the lock, so that another process can take over what is left. Delete an empty set."""
        if self._current is not None and not self._current.left:
            self._abandon()
        self.finish()
        with suppress(OSError):  # it is not empty
            with suppress(FileNotFoundError):
                self._files.remove_folder(self.folder)
            self._files.remove(self.folder.with_suffix(LOCK))
        self.release()

    def release(self) -> None:
        """Give up the lock."""
        with suppress(OSError):
            self._lock.release()

    def _abandon(self) -> None:
        """Append nothing more to the current file, and delete it if it has no record that is acknowledged and left."""
        segment = self._current
        self.finish()
        if segment is not None and not segment.left:
            with suppress(OSError):
                self._files.remove(segment.path)

    def _sync_name(self) -> None:
        if not self._is_named:
            self._files.sync_folder(self.folder)
            self._is_named = True

    def _open(self) -> tuple[Segment, File]:
        """The current segment, or a new one."""
        if self._current is not None and self._file is not None:
            return self._current, self._file
        self._number += 1
        path = self.folder / f"{self._number:08}{SEGMENT}"
        header = records.header(secrets.token_hex(8))
        file = self._files.create(path)
        try:
            file.write(header)
        except BaseException:
            with suppress(OSError):
                file.close()
            with suppress(OSError):
                self._files.remove(path)
            raise
        self._current, self._file, self._is_named = Segment(path, header, len(header), 0), file, False
        return self._current, file
