"""Files that were damaged while nobody looked: a bit, a tail, a whole file, a version that is too new."""

from hookline.broker.spool import records
from hookline.schemas.envelope import Envelope
from tests.contract.installations import envelope
from tests.spool.crashing_files import Change, CrashingFiles
from tests.spool.journals import FOLDER, Life, check, entry

RECORDS = 4


def written() -> tuple[CrashingFiles, bytes]:
    """A disk with a segment of four records, and the bytes of the segment."""
    disk = CrashingFiles()
    life = Life(disk)
    life.append(RECORDS)
    left = disk.after_power_cut("nothing")
    return left, left.contents(".segment")[0]


def left_after(change: Change) -> tuple[dict[int, list[int]], int, CrashingFiles]:
    """What another process finds after a change of the segment, and how much it set aside."""
    disk, _ = written()
    disk.damage(".segment", change)
    life = Life(disk, 100)
    left = life.adopt()
    return left, life.damaged, disk


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def record_at(data: bytes, offset: int) -> int | None:
    """The number of the record that has this byte; None for the header."""
    for number, each in enumerate(records.scan(data)):
        if each.offset <= offset < each.offset + each.size:
            return number
    return None


def test_a_flipped_bit_anywhere_costs_its_own_record_only() -> None:
    _, data = written()
    for bit in range(records.HEADER_BYTES * 8, len(data) * 8, 11):
        left, damaged, _ = left_after(lambda data, bit=bit: flipped(data, bit))  # type: ignore[misc]  # a loop's value
        number = record_at(data, bit // 8)
        assert {each for numbers in left.values() for each in numbers} == set(range(RECORDS)) - {number}
        assert damaged == 1


def test_a_file_cut_off_anywhere_keeps_every_whole_record() -> None:
    _, data = written()
    ends = [each.offset + each.size for each in records.scan(data)]
    for size in range(len(data)):
        left, _, _ = left_after(lambda data, size=size: data[:size])  # type: ignore[misc]  # a loop's value
        whole = sum(end <= size for end in ends)
        assert sorted(each for numbers in left.values() for each in numbers) == list(range(whole))


def test_damage_is_kept_for_a_person_and_never_met_again() -> None:
    left, damaged, disk = left_after(lambda data: flipped(data, len(data) * 8 - 1))
    assert damaged == 1
    assert len(disk.names(FOLDER / "damaged")) == 1
    check(left, range(RECORDS - 1), set())
    again = Life(disk.after_power_cut("everything"), 200)
    assert again.adopt() == left
    assert len(disk.names(FOLDER / "damaged")) == 1


def test_a_segment_of_a_newer_version_is_kept_as_it_is() -> None:
    left, damaged, disk = left_after(lambda data: data.replace(b"spool 1", b"spool 2"))
    assert (left, damaged) == ({}, 1)
    (kept,) = disk.names(FOLDER / "damaged")
    file = disk.open(FOLDER / "damaged" / kept)
    assert file.read(0, 15) == b"hookline spool "


def test_a_damaged_mark_removes_no_record() -> None:
    other = records.HEADER_BYTES.to_bytes(4, "big")  # where the first record is
    changes = [lambda data, bit=bit: flipped(data, bit) for bit in range(64)]
    for change in (*changes, lambda data: other + data[4:], lambda data: data[:-1]):
        disk = CrashingFiles()
        life = Life(disk)
        life.append(3)
        life.publish([1])
        later = disk.after_power_cut("everything")
        assert later.damage(".removed", change) == 1
        left = Life(later, 100).adopt()
        assert {number for numbers in left.values() for number in numbers} == {0, 1, 2}


def test_a_record_that_is_damaged_after_the_start_is_an_error_of_its_own() -> None:
    disk = CrashingFiles()
    life = Life(disk)
    life.append(3)
    disk.damage(".segment", lambda data: flipped(data, records.HEADER_BYTES * 8 + 400))
    found = life.journal.read(life.positions([0, 1, 2]))
    assert [isinstance(each, Envelope) for each in found] == [False, True, True]
    life.journal.set_aside(life.positions([0])[0])
    assert len(disk.names(FOLDER / "damaged")) == 1


def test_a_body_that_looks_like_a_record_is_none() -> None:
    """A signed body may hold any bytes, also those of a record of another segment."""
    header = records.header("0123456789abcdef")
    forged = records.encode(entry(7), records.header("fedcba9876543210"))
    holder = records.Entry(0, 0.0, records.pack(envelope(number=1, body=forged)))
    data = header + records.encode(holder, header)
    damaged = flipped(data, (records.HEADER_BYTES + records.HEAD_BYTES) * 8)
    assert [type(each) for each in records.scan(damaged)] == [records.Damage]


def test_text_that_is_not_utf8_is_replaced_as_the_broker_does() -> None:
    odd = envelope(number=1)
    odd = type(odd)(**{**{name: getattr(odd, name) for name in odd.__struct_fields__}, "content_type": "text/\udce9"})
    header = records.header("0123456789abcdef")
    record = records.encode(records.Entry(0, 0.0, records.pack(odd)), header)
    assert records.decode(record, header).content_type == "text/?"
