"""The power is cut, or an operation fails, at every single write, sync, create and remove of a journal's life."""

import errno
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.spool.crashing_files import SURVIVALS, CrashingFiles, PowerCut, Survival
from tests.spool.journals import FOLDER, Life, check

LATER = 1000
"""The numbers of events that come after a crash begin here."""


def live(life: Life) -> None:
    """Append, publish and rotate, so that files get full, are marked, get empty and are deleted."""
    life.adopt()
    life.append(1)
    life.append(3)
    life.publish([1])
    life.append(4)
    life.publish([0, 2, 3])
    life.append(2)
    life.publish([4, 6, 5])
    life.publish([9])
    life.journal.close()


def live_on(life: Life) -> dict[int, list[int]]:
    """What a later process finds; then it appends and publishes, too."""
    left = life.adopt()
    life.append(3)
    life.publish([number for numbers in left.values() for number in numbers[:2]])
    life.append(1)
    return left


def operations(survival: Survival | None = None, crash_at: int = 0) -> int:
    """How many operations a whole life has; or the one that follows a crash."""
    disk = CrashingFiles(crash_at)
    with suppress(PowerCut):
        live(Life(disk))
    if survival is None:
        return len(disk.operations)
    later = disk.after_power_cut(survival)
    live_on(Life(later, LATER))
    return len(later.operations)


def crashed(crash_at: int) -> tuple[CrashingFiles, Life]:
    disk = CrashingFiles(crash_at)
    life = Life(disk)
    with pytest.raises(PowerCut):
        live(life)
    return disk, life


def crash_points() -> Iterator[tuple[int, Survival]]:
    for crash_at in range(1, operations() + 1):
        for survival in SURVIVALS:
            yield crash_at, survival


def test_a_life_has_every_kind_of_operation() -> None:
    disk = CrashingFiles()
    live(Life(disk))
    kinds = {operation.split()[0] for operation in disk.operations}
    assert kinds == {"make", "create", "write", "sync", "remove"}
    assert any(operation == "create .removed" for operation in disk.operations)
    assert sum(operation == "create .segment" for operation in disk.operations) > 2


@pytest.mark.parametrize("survival", SURVIVALS)
def test_a_power_cut_at_any_operation_loses_nothing_acknowledged(survival: Survival) -> None:
    for crash_at in range(1, operations() + 1):
        disk, life = crashed(crash_at)
        later = Life(disk.after_power_cut(survival), LATER)
        check(later.adopt(), life.acknowledged, life.published)


@pytest.mark.parametrize("survival", SURVIVALS)
def test_a_second_power_cut_while_the_next_process_takes_over_loses_nothing_either(survival: Survival) -> None:
    for crash_at in range(1, operations() + 1):
        for second_at in range(1, operations(survival, crash_at) + 1):
            disk, life = crashed(crash_at)
            again = disk.after_power_cut(survival)
            again.crash_at = second_at
            later = Life(again, LATER)
            with pytest.raises(PowerCut):
                live_on(later)
            last = Life(again.after_power_cut(survival), 2 * LATER)
            check(last.adopt(), [*life.acknowledged, *later.acknowledged], life.published | later.published)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_failure_of_any_operation_loses_nothing_acknowledged(number: int) -> None:
    for fail_at in range(1, operations() + 1):
        disk = CrashingFiles()
        disk.fail_at[fail_at] = OSError(number, "injected")
        life = Life(disk)
        with suppress(OSError):
            life.adopt()
        for _ in range(6):
            with suppress(OSError):
                life.append(2)
        life.publish(life.acknowledged[:3])
        assert len(life.acknowledged) >= 10, f"operation {fail_at} stops more than its own group"
        later = Life(disk.after_power_cut("nothing"), LATER)
        check(later.adopt(), life.acknowledged, life.published)


def test_nothing_is_appended_to_a_file_whose_sync_has_failed() -> None:
    disk = CrashingFiles()
    life = Life(disk)
    life.append(1)
    disk.fail_at[len(disk.operations) + 2] = OSError(errno.EIO, "injected")
    with pytest.raises(OSError, match="injected"):
        life.append(1)
    assert disk.operations[-1] == "sync"
    life.append(1)
    assert disk.operations[-5:] == ["create .segment", "write 34", disk.operations[-3], "sync", "sync folder"]
    check(Life(disk.after_power_cut("nothing"), LATER).adopt(), life.acknowledged, set())


def test_two_processes_never_have_the_same_records() -> None:
    disk = CrashingFiles()
    dead = Life(disk)
    dead.append(4)
    disk = disk.after_power_cut("nothing")
    one, other = Life(disk, LATER), Life(disk, 2 * LATER)
    assert one.adopt() == {0: [0, 2], 1: [1, 3]}
    one.append(2)
    assert other.adopt() == {}
    assert one.adopt() == {}
    one.journal.close()
    assert other.adopt() == {0: [0, 2, LATER], 1: [1, 3, LATER + 1]}


def test_what_is_left_beside_a_file_that_somebody_deleted_is_not_taken_over_a_second_time() -> None:
    """Listed twice, records would be counted as removed before they are: their file would be deleted with others."""
    disk = CrashingFiles()
    one, other = Life(disk), Life(disk, LATER)
    one.append(4)
    (folder,) = [FOLDER / name for name in disk.names(FOLDER) if not name.endswith(".lock")]
    one.append(1)
    disk.remove(folder / disk.names(folder)[-1])
    one.append(1)
    assert one.adopt() == other.adopt() == {}
    one.publish(range(4))
    assert disk.names(folder) == []
    one.journal.close()
    assert other.adopt() == {1: [5]}


def test_a_power_cut_while_a_file_is_deleted_brings_nothing_back() -> None:
    """A name that is gone may come back, but not all records of a file whose marks are gone."""
    whole = CrashingFiles()
    live(Life(whole))
    for crash_at, operation in enumerate(whole.operations, 1):
        if operation == "remove .removed":
            disk, life = crashed(crash_at)
            left = Life(disk.after_power_cut("everything"), LATER).adopt()
            assert not life.published & {number for numbers in left.values() for number in numbers} - {4, 5, 6}


def test_a_closed_journal_without_records_leaves_nothing_behind() -> None:
    disk = CrashingFiles()
    life = Life(disk)
    life.append(5)
    life.publish(range(5))
    life.journal.close()
    assert disk.names(life.journal.folder) == []
