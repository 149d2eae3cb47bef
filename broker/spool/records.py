"""The bytes of the spool's files: records of envelopes, and marks of removed ones. Each has a checksum.

A segment is a header line and records. A record is a marker, the size of its payload, a checksum over all that
follows, the bucket, the time at which it was spooled, and the envelope in MessagePack. After a damaged record the
next marker with a good checksum is found, so that damage costs no record but its own. Checksums begin with the salt in
the segment's header: nobody can send a body that looks like a record.
"""

import re
from collections.abc import Iterable, Iterator
from struct import Struct
from zlib import crc32

import msgspec

from hookline.schemas.envelope import Envelope

HEADER_BYTES = 34
_HEADER = re.compile(rb"hookline spool 1 [0-9a-f]{16}\n")
_MARKER = b"\xf1HkL"
_MAX_PAYLOAD_BYTES = 32 * 2**20  # twice the largest body that the settings allow
_head = Struct(">4sIIHd")  # marker, bytes of the payload, checksum, bucket, time
_checked = Struct(">IHd")
_mark = Struct(">II")  # offset of the record, checksum
HEAD_BYTES = _head.size
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Envelope).decode


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What a record holds: the bucket, when it was spooled (Unix seconds), and the envelope as bytes."""

    bucket: int
    at_s: float
    payload: bytes


class Record(msgspec.Struct, frozen=True, gc=False):
    """Where a whole record begins, its size with its head, its bucket, and when it was spooled."""

    offset: int
    size: int
    bucket: int
    at_s: float


class Damage(msgspec.Struct, frozen=True, gc=False):
    """Bytes that are no whole record."""

    offset: int
    size: int


def header(salt: str) -> bytes:
    """The first bytes of a segment; the salt is 16 hexadecimal digits."""
    return b"hookline spool 1 %s\n" % salt.encode()


def is_header(start: bytes) -> bool:
    """Whether a segment begins with a header that this version can read."""
    return _HEADER.match(start) is not None


def pack(envelope: Envelope) -> bytes:
    """The payload of an envelope's record."""
    try:
        return _encode(envelope)
    except UnicodeEncodeError:  # a header had bytes that are not UTF-8; the broker replaces them, too
        return _encode(_printable(envelope))


def encode(entry: Entry, header: bytes) -> bytes:
    """The record of an entry in the segment with this header."""
    size = len(entry.payload)
    checksum = _checksum(header, size, entry.bucket, entry.at_s, entry.payload)
    return _head.pack(_MARKER, size, checksum, entry.bucket, entry.at_s) + entry.payload


def decode(record: bytes, header: bytes) -> Envelope:
    """The envelope of a record. Raises ValueError for one that is damaged."""
    if not _is_whole(record, 0, header):
        raise ValueError("the checksum is wrong")
    try:
        return _decode(record[HEAD_BYTES:])
    except msgspec.MsgspecError:
        raise ValueError("the record holds no envelope") from None


def size_of(head: bytes) -> int:
    """The size of the record with this head, which may be damaged."""
    return HEAD_BYTES + min(_head.unpack(head)[1], _MAX_PAYLOAD_BYTES) if len(head) == HEAD_BYTES else HEAD_BYTES


def scan(segment: bytes) -> Iterator[Record | Damage]:
    """The records of a segment, in order, and the bytes between them."""
    offset, header = HEADER_BYTES, segment[:HEADER_BYTES]
    while offset < len(segment):
        if _is_whole(segment, offset, header):
            _, size, _, bucket, at_s = _head.unpack_from(segment, offset)
            yield Record(offset, HEAD_BYTES + size, bucket, at_s)
            offset += HEAD_BYTES + size
        else:
            end = _next_whole(segment, offset + 1, header)
            yield Damage(offset, end - offset)
            offset = end


def encode_marks(header: bytes, offsets: Iterable[int]) -> bytes:
    """Marks which say that the records at these offsets of a segment are removed."""
    return b"".join(_mark.pack(offset, _mark_checksum(header, offset)) for offset in offsets)


def decode_marks(header: bytes, marks: bytes) -> set[int]:
    """The offsets that are marked. A mark that is torn or damaged is left out: its record is published again."""
    whole = len(marks) - len(marks) % _mark.size
    return {
        offset for offset, checksum in _mark.iter_unpack(marks[:whole]) if checksum == _mark_checksum(header, offset)
    }


def _mark_checksum(header: bytes, offset: int) -> int:
    return crc32(b"%s %d" % (header, offset))


def _checksum(header: bytes, size: int, bucket: int, at_s: float, payload: bytes | memoryview) -> int:
    return crc32(payload, crc32(_checked.pack(size, bucket, at_s), crc32(header)))


def _is_whole(data: bytes, offset: int, header: bytes) -> bool:
    start = offset + HEAD_BYTES
    if data[offset : offset + len(_MARKER)] != _MARKER or len(data) < start:
        return False
    _, size, checksum, bucket, at_s = _head.unpack_from(data, offset)
    if size > _MAX_PAYLOAD_BYTES or len(data) < start + size:
        return False
    return bool(checksum == _checksum(header, size, bucket, at_s, memoryview(data)[start : start + size]))


def _next_whole(data: bytes, offset: int, header: bytes) -> int:
    """Where the next whole record begins; the end of the data if there is none."""
    while (offset := data.find(_MARKER, offset)) >= 0:
        if _is_whole(data, offset, header):
            return offset
        offset += 1
    return len(data)


def _printable(envelope: Envelope) -> Envelope:
    fields = msgspec.structs.asdict(envelope)
    clean = {name: text.encode("utf-8", "replace").decode() for name, text in fields.items() if isinstance(text, str)}
    return Envelope(**{**fields, **clean})
