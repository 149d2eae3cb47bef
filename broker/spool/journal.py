"""The folder of the spool: this process's set of files, and those that it took over from processes that ended.

All methods block, so they run in threads: `read` in one, all others in another. A position is a number that stands for
one record for as long as this process runs.
"""

import logging
import os
import re
import secrets
import time
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from typing import TypeAlias

from hookline.broker.spool import records
from hookline.broker.spool.damage import Damaged
from hookline.broker.spool.files import Files, Lock, Readable
from hookline.broker.spool.records import Damage, Entry
from hookline.broker.spool.segments import LOCK, MARKS, SEGMENT, Segment, SegmentSet
from hookline.schemas.envelope import Envelope

log = logging.getLogger("hookline.spool")

SEGMENT_BYTES = 8 * 2**20
_OFFSET_BITS = 32
_OFFSET = 2**_OFFSET_BITS - 1
_SET_NAME = re.compile(r"\d{20}-\d+-[0-9a-f]{8}")

Waiting: TypeAlias = Mapping[int, tuple["array[int]", "array[float]"]]
"""For each bucket the positions of its records, and when they were spooled, oldest first."""


@dataclass
class Adopted:
    """What was taken over: the records that are left, how many others were damaged, and whether that is all."""

    waiting: Waiting
    damaged: int
    is_complete: bool


def file_of(position: int) -> int:
    """The number of the file in which a record is."""
    return position >> _OFFSET_BITS


class Journal:
    """The records of one process on disk."""

    def __init__(self, folder: Path, files: Files, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self._files = files
        self._segment_bytes = segment_bytes
        self._damaged = Damaged(folder / "damaged", files)
        self._own: SegmentSet | None = None
        self._adopted: list[SegmentSet] = []
        self._segments: dict[int, tuple[SegmentSet, Segment]] = {}
        self._numbers: dict[Path, int] = {}
        self._number = 0
        self._is_closed = False
        self._said: set[str] = set()

    @property
    def size(self) -> int:
        """The bytes of all files with records, at most."""
        return sum(segment.size for _, segment in list(self._segments.values()))

    def check(self) -> None:
        """Make sure that records can be appended: make a set, or a file, that is missing. Raises OSError."""
        try:
            if self._own is not None:
                self._files.names(self._own.folder)
        except FileNotFoundError:
            self._leave_own()
        self._own_set().probe()

    def append(self, entries: Sequence[Entry]) -> list[int]:
        """The positions of new records, once they are on disk. Raises OSError; some may be on disk then."""
        if self._is_closed:
            raise OSError("the spool is closed")
        try:
            segment, offsets = self._own_set().append(entries)
        except FileNotFoundError:
            self._leave_own()
            segment, offsets = self._own_set().append(entries)
        number = self._number_of(self._own_set(), segment)
        return [number << _OFFSET_BITS | offset for offset in offsets]

    def read(self, positions: Sequence[int]) -> list[Envelope | ValueError | OSError]:
        """The envelopes of records; an error for each that is damaged or cannot be read."""
        found: list[Envelope | ValueError | OSError] = []
        files: dict[int, Readable] = {}
        try:
            for position in positions:
                try:
                    found.append(self._read(position, files))
                except (ValueError, OSError) as error:
                    found.append(error)
        finally:
            for file in files.values():
                file.close()
        return found

    def remove(self, positions: Sequence[int]) -> None:
        """Remove records, and delete files of which no record is left. Raises nothing: at worst they come again."""
        by_segment: dict[int, list[int]] = {}
        for position in positions:
            by_segment.setdefault(position >> _OFFSET_BITS, []).append(position & _OFFSET)
        for number, offsets in by_segment.items():
            owner, segment = self._segments[number]
            segment.left -= len(offsets)
            try:
                if segment.left:
                    owner.mark(segment, offsets)
                else:
                    self._delete(number)
            except OSError as error:
                self._say(f"removed records cannot be marked, and may be published again after a restart: {error}")
        self._close_drained()

    def set_aside(self, position: int) -> None:
        """Keep a copy of a damaged record, and remove it. Raises nothing."""
        _, segment = self._segments[position >> _OFFSET_BITS]
        offset = position & _OFFSET
        with suppress(OSError):
            file = self._files.open(segment.path)
            try:
                size = records.size_of(file.read(offset, records.HEAD_BYTES))
                self._damaged.keep(segment.path, offset, file.read(offset, size))
            finally:
                file.close()
        self.remove([position])

    def adopt(self) -> Adopted:
        """Take over the sets of processes that have ended. A set that cannot be read now is left for the next call."""
        found, damaged, is_complete = [], 0, True
        for name in self._lock_names():
            folder = self.folder / name.removesuffix(LOCK)
            if any(folder == each.folder for each in (*self._adopted, *filter(None, [self._own]))):
                continue
            lock = self._lock(folder)
            if lock is None:
                continue
            taken = SegmentSet(folder, self._files, lock, self._segment_bytes)
            try:
                waiting, unreadable = self._load(taken)
            except OSError as error:
                self._say(f"{folder} cannot be taken over now: {error}")
                self._forget(taken)
                is_complete = False
                continue
            self._adopted.append(taken)
            found.append(waiting)
            damaged += unreadable
        self._close_drained()
        return Adopted(_merged(found), damaged, is_complete)

    def _lock_names(self) -> list[str]:
        """The names of the locks of all sets. None in a folder that was deleted: the next record makes it anew."""
        try:
            names = self._files.names(self.folder)
        except FileNotFoundError:
            return []
        for name in names:
            if _SET_NAME.fullmatch(name) and name + LOCK not in names:
                self._say(f"{self.folder / name} has no {LOCK} file, so nobody takes it over; make an empty one")
        return [name for name in names if name.endswith(LOCK)]

    def close(self) -> None:
        """Leave what is left to the next process."""
        for each in (*self._adopted, *filter(None, [self._own])):
            each.close()
        self._own, self._adopted, self._is_closed = None, [], True

    def _own_set(self) -> SegmentSet:
        if self._own is None:
            self._own = self._new_set()
        return self._own

    def _leave_own(self) -> None:
        """Begin another set with the next record: somebody has deleted or moved this one, or a file of it.

        Its lock is kept until nothing is left of it. Without that, its other files would be taken over a second time.
        """
        own, self._own = self._own, None
        if own is not None:
            log.error("%s was deleted or moved: what was in it is lost to this process; the spool goes on", own.folder)
            own.finish()
            self._adopted.append(own)

    def _new_set(self) -> SegmentSet:
        self._files.make_folder(self.folder)
        while True:
            folder = self.folder / f"{time.time_ns():020}-{os.getpid()}-{secrets.token_hex(4)}"
            lock = self._lock(folder)
            if lock is not None:  # a process that just adopts may have locked it between its creation and our lock
                break
        self._files.make_folder(folder)
        return SegmentSet(folder, self._files, lock, self._segment_bytes)

    def _lock(self, folder: Path) -> Lock | None:
        return self._files.lock(folder.with_name(folder.name + LOCK))

    def _load(self, taken: SegmentSet) -> tuple[Waiting, int]:
        """The records of a set that are left, and how many parts of it were damaged."""
        waiting: dict[int, tuple[array[int], array[float]]] = {}
        damaged = 0
        try:
            names = self._files.names(taken.folder)
        except FileNotFoundError:  # it died before it had made the folder
            return {}, 0
        for name in names:
            path = taken.folder / name
            if name.endswith(SEGMENT):
                damaged += self._load_segment(taken, path, names, waiting)
            elif name.endswith(MARKS) and path.with_suffix(SEGMENT).name not in names:
                self._files.remove(path)
        return waiting, damaged

    def _load_segment(
        self,
        taken: SegmentSet,
        path: Path,
        names: Sequence[str],
        waiting: dict[int, tuple["array[int]", "array[float]"]],
    ) -> int:
        data = self._contents(path)
        header = data[: records.HEADER_BYTES]
        if not records.is_header(header):
            if len(data) > records.HEADER_BYTES:  # damaged, or of a newer version
                log.error("%s is no file that this version can read: it is kept in %s", path, self._damaged.folder)
                self._damaged.move(path)
                return 1
            self._files.remove(path)  # its first write was not finished, so nothing in it was acknowledged
            return 0
        segment = Segment(path, header, len(data), 0)
        number = self._number_of(taken, segment)
        removed = self._removed(segment, names)
        damaged = 0
        for each in records.scan(data):
            if isinstance(each, Damage):
                damaged += 1
                log.error("%s: %d bytes at %d are no whole record: set aside", path, each.size, each.offset)
                self._damaged.keep(path, each.offset, data[each.offset : each.offset + each.size])
            elif each.offset not in removed:
                segment.left += 1
                positions, times = waiting.setdefault(each.bucket, (array("Q"), array("d")))
                positions.append(number << _OFFSET_BITS | each.offset)
                times.append(each.at_s)
        if not segment.left:
            self._delete(number)
        return damaged

    def _removed(self, segment: Segment, names: Sequence[str]) -> set[int]:
        marks = self._contents(segment.marks) if segment.marks.name in names else b""
        return records.decode_marks(segment.header, marks)

    def _contents(self, path: Path) -> bytes:
        file = self._files.open(path)
        try:
            return file.read(0, self._files.size(path))
        finally:
            file.close()

    def _read(self, position: int, files: dict[int, Readable]) -> Envelope:
        number, offset = position >> _OFFSET_BITS, position & _OFFSET
        _, segment = self._segments[number]
        if number not in files:
            files[number] = self._files.open(segment.path)
        file = files[number]
        start = file.read(offset, _READ_BYTES)
        size = records.size_of(start[: records.HEAD_BYTES])
        rest = file.read(offset + len(start), size - len(start)) if size > len(start) else b""
        return records.decode((start + rest)[:size], segment.header)

    def _delete(self, number: int) -> None:
        owner, segment = self._segments.pop(number)
        del self._numbers[segment.path]
        owner.delete(segment)

    def _close_drained(self) -> None:
        """Give up the sets of others of which nothing is left."""
        used = {id(owner) for owner, _ in self._segments.values()}
        for each in [each for each in self._adopted if id(each) not in used]:
            self._adopted.remove(each)
            each.close()

    def _forget(self, taken: SegmentSet) -> None:
        for number in [number for number, (owner, _) in self._segments.items() if owner is taken]:
            del self._numbers[self._segments.pop(number)[1].path]
        taken.release()

    def _number_of(self, owner: SegmentSet, segment: Segment) -> int:
        if segment.path not in self._numbers:
            self._number += 1
            self._numbers[segment.path] = self._number
            self._segments[self._number] = owner, segment
        return self._numbers[segment.path]

    def _say(self, text: str) -> None:
        """Log a failure once."""
        if text not in self._said:
            self._said.add(text)
            log.error("the spool: %s", text)


def _merged(found: Sequence[Waiting]) -> Waiting:
    """The records of several processes of one time, in the order in which they were spooled."""
    if len(found) < 2:
        return found[0] if found else {}
    merged: dict[int, tuple[array[int], array[float]]] = {}
    for bucket in set().union(*found):
        sequences = [
            zip(times, positions, strict=True)
            for positions, times in (each[bucket] for each in found if bucket in each)
        ]
        ordered = list(merge(*sequences, key=_time))
        merged[bucket] = array("Q", [position for _, position in ordered]), array("d", [at_s for at_s, _ in ordered])
    return merged


def _time(item: tuple[float, int]) -> float:
    return item[0]


_READ_BYTES = 4096  # most records are smaller, so that one call reads them
