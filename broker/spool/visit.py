"""Looks at a spool from outside, while its processes use it: nothing is locked or changed."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from hookline.broker.spool import records
from hookline.broker.spool.records import Record
from hookline.broker.spool.segments import MARKS, SEGMENT


class SpoolContents(msgspec.Struct, frozen=True):
    """What all processes of a machine have spooled. `oldest_at_s` is when the oldest event was, in Unix seconds."""

    events: int
    bytes: int
    oldest_at_s: float | None


def contents(folder: Path) -> SpoolContents:
    """Reads every segment, so it takes about a second for each gibibyte. Blocks. Raises OSError."""
    left = [record for path in sorted(folder.glob(f"*/*{SEGMENT}")) for record in _left(path)]
    oldest_at_s = min((record.at_s for record in left), default=None)
    return SpoolContents(len(left), sum(record.size for record in left), oldest_at_s)


def _left(path: Path) -> Iterator[Record]:
    """The records of a segment that are not removed. One that was deleted meanwhile has none."""
    marks = b""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    with suppress(FileNotFoundError):
        marks = path.with_suffix(MARKS).read_bytes()
    header = data[: records.HEADER_BYTES]
    if not records.is_header(header):
        return
    removed = records.decode_marks(header, marks)
    for record in records.scan(data):
        if isinstance(record, Record) and record.offset not in removed:
            yield record
