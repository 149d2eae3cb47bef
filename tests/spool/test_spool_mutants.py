# ruff: noqa: ARG005, SLF001  a mistake replaces private methods
"""Mistakes that a spool may have, each switched on in turn: the other tests and the simulation must notice."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from hookline.broker.spool import records
from hookline.broker.spool.breaker import Breaker
from hookline.broker.spool.buckets import Taken
from hookline.broker.spool.drain import Drain
from hookline.broker.spool.files import Lock
from hookline.broker.spool.publisher import SpoolingPublisher, _Flight
from hookline.broker.spool.segments import Segment, SegmentSet
from hookline.broker.spool.spool import Spool
from tests.simulation.ingress_schedules import run
from tests.spool import test_spool_crash_points as crash_points
from tests.spool import test_spool_damage as damage
from tests.spool.crashing_files import CrashingFiles, _File

MOST_SCHEDULES = 1500


def simulation() -> None:
    """Raises AssertionError with the first schedule that notices."""
    for seed in range(MOST_SCHEDULES):
        run(seed)


def power_cuts() -> None:
    crash_points.test_a_power_cut_at_any_operation_loses_nothing_acknowledged("nothing")


def failures() -> None:
    crash_points.test_nothing_is_appended_to_a_file_whose_sync_has_failed()


def answer_before_fsync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_File, "sync", lambda self: None)


def leave_out_the_folders_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SegmentSet, "_sync_name", lambda self: None)


def go_on_with_a_file_whose_fsync_failed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SegmentSet, "_abandon", lambda self: None)


def remove_before_the_confirm(patch: pytest.MonkeyPatch) -> None:
    begin = Drain._begin

    def too_early(self: Drain, each: Taken, envelope: Any) -> bool:
        _ = self._spool._writer.run(lambda: self._spool._journal.remove([each.position]))
        return begin(self, each, envelope)

    patch.setattr(Drain, "_begin", too_early)
    patch.setattr(Spool, "_remove", lambda self: self._removed.clear())


def leave_out_the_bucket_check(patch: pytest.MonkeyPatch) -> None:
    class Nothing(dict[int, int]):
        def __contains__(self, key: object) -> bool:
            return False

    init = SpoolingPublisher.__init__

    def blind(self: SpoolingPublisher, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **options)
        self._held = Nothing()

    patch.setattr(SpoolingPublisher, "__init__", blind)


def take_back_only_what_is_overdue(patch: pytest.MonkeyPatch) -> None:
    def only_one(self: SpoolingPublisher, flight: _Flight) -> None:
        self._breaker.open()
        self._take_back(flight)

    def only_the_last(self: SpoolingPublisher, bucket: int) -> None:
        self._take_back([flight for flight in self._in_flight.running if flight.bucket == bucket][-1])

    patch.setattr(SpoolingPublisher, "_overdue", only_one)
    patch.setattr(SpoolingPublisher, "_take_back_all", only_the_last)


def publish_what_was_put_back_last(patch: pytest.MonkeyPatch) -> None:
    def behind(self: Spool, taken: Sequence[Taken], after_s: float = 0.0) -> None:
        for each in taken:
            self._buckets.add(each.bucket, each.position, each.at_s)
            self._buckets.done(each)

    patch.setattr(Spool, "put_back", behind)


def never_close_the_breaker(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "close", lambda self: None)


def never_open_the_breaker_in_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SpoolingPublisher, "_overdue", lambda self, flight: None)


def adopt_without_a_lock(patch: pytest.MonkeyPatch) -> None:
    class NoLock:
        def release(self) -> None:
            pass

    def lock(self: CrashingFiles, path: Path) -> Lock:
        self.append(path)
        return NoLock()

    patch.setattr(CrashingFiles, "lock", lock)


def ignore_the_checksum(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(records, "_checksum", lambda *_: 0)


def ignore_the_marks_checksum(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(records, "_mark_checksum", lambda *_: 0)


def delete_the_marks_first(patch: pytest.MonkeyPatch) -> None:
    def delete(self: SegmentSet, segment: Segment) -> None:
        if segment is self._current:
            self.finish()
        if segment.marks.name in self._files.names(self.folder):
            self._files.remove(segment.marks)
        self._files.remove(segment.path)

    patch.setattr(SegmentSet, "delete", delete)


Mutant = Callable[[pytest.MonkeyPatch], None]
MUTANTS: Sequence[tuple[Mutant, Callable[[], None]]] = (
    (answer_before_fsync, power_cuts),
    (leave_out_the_folders_sync, power_cuts),
    (go_on_with_a_file_whose_fsync_failed, failures),
    (remove_before_the_confirm, simulation),
    (leave_out_the_bucket_check, simulation),
    (take_back_only_what_is_overdue, simulation),
    (publish_what_was_put_back_last, simulation),
    (never_close_the_breaker, simulation),
    (never_open_the_breaker_in_time, simulation),
    (adopt_without_a_lock, crash_points.test_two_processes_never_have_the_same_records),
    (ignore_the_checksum, damage.test_a_flipped_bit_anywhere_costs_its_own_record_only),
    (ignore_the_marks_checksum, damage.test_a_damaged_mark_removes_no_record),
    (delete_the_marks_first, crash_points.test_a_power_cut_while_a_file_is_deleted_brings_nothing_back),
)


@pytest.mark.parametrize(("mutant", "notices"), MUTANTS, ids=[mutant.__name__ for mutant, _ in MUTANTS])
def test_a_mistake_is_noticed(mutant: Mutant, notices: Callable[[], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        with pytest.raises((AssertionError, pytest.fail.Exception, LookupError, ValueError)):
            notices()
