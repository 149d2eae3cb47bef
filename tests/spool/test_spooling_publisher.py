"""What a publisher with a spool does, on a real disk, with a broker that the test controls."""

import asyncio
import errno
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hookline.broker.spool import spool as spool_module
from hookline.broker.spool.journal import Journal
from hookline.broker.spool.opening import SpoolSettings, spooling_publisher
from hookline.broker.spool.publisher import SpoolingPublisher
from hookline.broker.spool.spool import SpoolLimits
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable, SettingsError
from tests.contract.installations import envelope
from tests.spool.primaries import WITHIN_S, FaultyFiles, Primary, drained, opened

LONG_S = 50.0
"""Longer than a test waits: what takes less did not wait for it."""


def events(count: int, subject: str = "room-1") -> list[Envelope]:
    return [envelope(subject=subject) for _ in range(count)]


def ids(published: Sequence[Envelope]) -> list[str]:
    return [each.id for each in published]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110  it changes in another thread
            await asyncio.sleep(0.02)


async def refused(publisher: SpoolingPublisher, event: Envelope) -> bool:
    try:
        async with asyncio.timeout(WITHIN_S):
            await publisher.publish(event)
    except NotDurable:
        return True
    return False


async def test_what_the_broker_confirms_never_reaches_the_disk(tmp_path: Path) -> None:
    primary = Primary()
    async with opened(tmp_path / "spool", primary) as (publisher, spool):
        for event in events(5):
            await publisher.publish(event)
        assert (len(primary.confirmed), spool.counts.spooled, spool.status.bytes) == (5, 0, 0)


async def test_while_the_broker_is_away_events_are_kept_and_then_published_in_their_order(tmp_path: Path) -> None:
    primary, sent = Primary(), events(20)
    primary.is_away = True
    async with opened(tmp_path / "spool", primary) as (publisher, spool):
        for event in sent:
            await publisher.publish(event)
        assert publisher.ready
        assert spool.events == 20
        primary.is_away = False
        await drained(spool)
    assert primary.confirmed == ids(sent)
    assert (spool.counts.spooled, spool.counts.drained) == (20, 20)


async def test_one_overdue_confirm_sends_the_next_events_to_the_spool_at_once(tmp_path: Path) -> None:
    primary, sent = Primary(), events(4, "room-1")
    primary.is_silent = True
    async with opened(tmp_path / "spool", primary, after_s=0.2) as (publisher, spool):
        await publisher.publish(sent[0])
        others = [envelope(subject=f"other-{number}") for number in range(50)]
        await asyncio.gather(*map(publisher.publish, others))
        assert not set(ids(others)) & set(primary.begun)
        assert spool.counts.spooled == 51
        primary.speak()
        await drained(spool)
        await until(lambda: not publisher.is_broken)
        await publisher.publish(sent[1])
        assert spool.counts.spooled == 51
    assert set(ids(others)) <= set(primary.confirmed)


async def test_the_log_has_the_brokers_words_for_what_it_refuses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    primary, sent = Primary(), events(3)
    primary.refused = set(ids(sent))
    async with opened(tmp_path / "spool", primary) as (publisher, spool):
        for event in sent:
            await publisher.publish(event)
        await until(lambda: "events stay in the spool" in caplog.text)
        primary.refused.clear()
        await drained(spool)
    assert caplog.text.count("events stay in the spool: a queue is full; trying again") == 1


async def test_an_event_that_the_broker_does_not_take_now_stays_in_the_spool_and_holds_up_no_other(
    tmp_path: Path,
) -> None:
    primary, (large,), others = Primary(), events(1), [envelope(subject=f"room {number}") for number in range(50)]
    primary.is_away, primary.too_large = True, {large.id}
    async with opened(tmp_path / "spool", primary) as (publisher, spool):
        for event in (large, *others):
            await publisher.publish(event)
        primary.is_away = False
        await until(lambda: spool.events == 1)
        assert set(primary.confirmed) == set(ids(others))
        primary.too_large.clear()
        await drained(spool)
    assert primary.confirmed[-1] == large.id


async def test_the_spool_is_drained_also_after_an_error_that_nobody_expected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    primary, sent = Primary(), events(20)
    primary.is_away = True
    async with opened(tmp_path / "spool", primary) as (publisher, spool):
        for event in sent:
            await publisher.publish(event)
        primary.broken = {sent[0].id, sent[10].id}
        primary.is_away = False
        await drained(spool)
    assert primary.confirmed == ids(sent)
    assert caplog.text.count("the spool: publishing failed by TypeError in ") == 2
    assert "s3cret" not in caplog.text


async def test_an_event_behind_a_spooled_one_of_its_subject_waits_for_it(tmp_path: Path) -> None:
    primary, sent = Primary(), events(3)
    primary.refused = {sent[0].id}
    async with opened(tmp_path / "spool", primary) as (publisher, spool):
        for event in sent:
            await publisher.publish(event)
        await publisher.publish(other := envelope(subject="another room"))
        assert primary.confirmed == [other.id]
        primary.refused.clear()
        await drained(spool)
    assert primary.confirmed == [other.id, *ids(sent)]


async def test_events_at_the_broker_go_to_the_spool_before_a_later_one_of_their_subject(tmp_path: Path) -> None:
    """The first is not confirmed, and not overdue, when the broker refuses the second."""
    primary, sent = Primary(), events(3)
    primary.is_silent = True
    async with opened(tmp_path / "spool", primary, after_s=LONG_S) as (publisher, spool):
        first = asyncio.create_task(publisher.publish(sent[0]))
        await asyncio.sleep(0)
        primary.is_away = True
        await publisher.publish(sent[1])
        await first
        await publisher.publish(sent[2])
        primary.pending.clear()
        primary.is_away = primary.is_silent = False
        await drained(spool)
    assert primary.confirmed == ids(sent)


async def test_an_event_goes_to_the_spool_before_a_later_one_though_one_between_them_is_confirmed(
    tmp_path: Path,
) -> None:
    """Events of one subject may go to different queues, which confirm in any order."""
    primary, sent = Primary(), events(3)
    primary.is_silent = True
    async with opened(tmp_path / "spool", primary, after_s=LONG_S) as (publisher, spool):
        before = [publisher.begin(event) for event in sent[:2]]
        primary.pending.pop()[1].end(None)
        await before[1]
        primary.is_away = True
        await publisher.publish(sent[2])
        assert spool.counts.spooled == 2
        primary.pending.clear()
        primary.is_away = primary.is_silent = False
        await drained(spool)
    assert primary.confirmed == [sent[0].id, sent[2].id]


async def test_a_late_confirm_makes_a_repeat_with_the_same_id_and_nothing_else(tmp_path: Path) -> None:
    primary, (event,) = Primary(), events(1)
    primary.is_silent = True
    async with opened(tmp_path / "spool", primary, after_s=0.1) as (publisher, spool):
        await publisher.publish(event)
        primary.speak()
        await drained(spool)
    assert set(primary.confirmed) == {event.id}
    assert len(primary.confirmed) >= 2


async def test_what_no_broker_can_take_is_refused_and_never_kept(tmp_path: Path) -> None:
    primary, (event,) = Primary(), events(1)
    primary.impossible = {event.id}
    async with opened(tmp_path / "spool", primary) as (publisher, spool):
        assert await refused(publisher, event)
        assert spool.counts.spooled == 0


async def test_what_turns_out_to_be_impossible_is_set_aside_and_stops_nothing(tmp_path: Path) -> None:
    primary, sent = Primary(), events(3)
    primary.is_away, primary.impossible = True, {sent[1].id}
    async with opened(tmp_path / "spool", primary) as (publisher, spool):
        for event in sent:
            await publisher.publish(event)
        primary.is_away = False
        await drained(spool)
        assert spool.counts.set_aside == 1
        await until((tmp_path / "spool" / "damaged").exists)
    assert primary.confirmed == [sent[0].id, sent[2].id]


async def test_a_full_spool_refuses_and_takes_again_when_it_has_drained(tmp_path: Path) -> None:
    primary = Primary()
    primary.is_away = True
    async with opened(tmp_path / "spool", primary, limits=SpoolLimits(max_bytes=4000)) as (publisher, spool):
        kept = 0
        while not await refused(publisher, envelope(body=b"x" * 200)):
            kept += 1
        assert 4 < kept < 20
        assert not publisher.ready
        assert spool.status.fault == "it is full (spool.max_bytes)"
        primary.is_away = False
        await drained(spool)
        assert len(primary.confirmed) == kept
        primary.is_away = True
        assert not await refused(publisher, envelope())


async def test_a_spool_with_an_event_that_is_too_old_refuses_new_ones_and_keeps_the_old(tmp_path: Path) -> None:
    primary, (event,) = Primary(), events(1)
    primary.is_away = True
    async with opened(tmp_path / "spool", primary, limits=SpoolLimits(max_age_s=0.1)) as (publisher, spool):
        await publisher.publish(event)
        await until(lambda: spool.fault is not None)
        assert await refused(publisher, envelope())
        assert spool.counts.refused == 1
        primary.is_away = False
        await drained(spool)
        await until(lambda: spool.fault is None)
    assert primary.confirmed == [event.id]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
async def test_a_disk_that_fails_makes_refusals_until_it_works_again(tmp_path: Path, number: int) -> None:
    primary, files = Primary(), FaultyFiles()
    primary.is_away = True
    async with opened(tmp_path / "spool", primary, files=files) as (publisher, spool):
        before, after = events(2)
        await publisher.publish(before)
        files.error = OSError(number, "injected")
        assert await refused(publisher, envelope())
        assert not publisher.ready
        files.error = None
        await until(lambda: publisher.ready)
        await publisher.publish(after)
        assert spool.events == 2
        primary.is_away = False
        await drained(spool)
    assert primary.confirmed == [before.id, after.id]


async def test_a_broker_that_works_needs_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "_LOAD_S", LONG_S)
    monkeypatch.setattr(spool_module, "_FAILING_S", 0.5)
    primary, files = Primary(), FaultyFiles()
    files.error = OSError(errno.EIO, "injected")
    async with opened(tmp_path / "spool", primary, files=files) as (publisher, _):
        await publisher.publish(envelope())
        assert publisher.ready
        primary.is_away = True
        assert not publisher.ready


async def test_a_disk_that_hangs_stops_neither_the_event_loop_nor_the_answers(tmp_path: Path) -> None:
    primary, files = Primary(), FaultyFiles()
    primary.is_away = True
    async with opened(tmp_path / "spool", primary, files=files) as (publisher, spool):
        files.hangs = True
        sent = events(3)
        assert await asyncio.gather(*(refused(publisher, event) for event in sent)) == [True] * 3
        assert not publisher.ready
        began = asyncio.get_running_loop().time()
        assert await refused(publisher, envelope())  # at once: others wait already
        assert asyncio.get_running_loop().time() - began < 0.5
        files.hangs = False
        await until(lambda: publisher.ready and spool.events == 3)
        primary.is_away = False
        await drained(spool)  # they were refused, and are there all the same: their sender may ask again
    assert primary.confirmed == ids(sent)


async def test_a_record_that_cannot_be_read_is_set_aside_after_some_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.broker.spool.drain._READ_AGAIN_S", 0.01)
    primary, files = Primary(), FaultyFiles()
    primary.is_away = True
    async with opened(tmp_path / "spool", primary, files=files) as (publisher, spool):
        files.read_error = OSError(errno.EIO, "injected")
        await publisher.publish(envelope())
        primary.is_away = False
        await drained(spool)
        assert spool.counts.set_aside == 1


async def test_the_next_process_publishes_what_a_stopped_one_has_left_before_its_own(tmp_path: Path) -> None:
    primary, sent = Primary(), events(6)
    primary.is_away = True
    async with opened(tmp_path / "spool", primary) as (publisher, _):
        for event in sent[:3]:
            await publisher.publish(event)
    async with opened(tmp_path / "spool", primary) as (publisher, spool):
        for event in sent[3:]:
            await publisher.publish(event)
        primary.is_away = False
        await drained(spool)
    assert primary.confirmed == ids(sent)
    assert [path for path in (tmp_path / "spool").rglob("*") if path.is_file()] == []


async def test_what_cannot_be_read_at_the_start_is_published_once_it_can_be_after_newer_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_LOAD_S", LONG_S)
    monkeypatch.setattr(spool_module, "_FAILING_S", 0.1)
    monkeypatch.setattr(spool_module, "_LOOK_EVERY_S", 0.1)
    primary, files = Primary(), FaultyFiles()
    primary.is_away = True
    before, after = events(2)
    async with opened(tmp_path / "spool", primary) as (publisher, _):
        await publisher.publish(before)
    primary.is_away = False
    files.read_error = OSError(errno.EIO, "injected")
    async with opened(tmp_path / "spool", primary, files=files) as (publisher, spool):
        await publisher.publish(after)
        files.read_error = None
        await until(lambda: before.id in primary.confirmed)
        await drained(spool)
    assert primary.confirmed == [after.id, before.id]


async def test_a_running_process_takes_over_from_one_that_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_ADOPT_EVERY_S", 0.1)
    primary, away = Primary(), Primary()
    away.is_away = True
    (event,) = events(1)
    async with opened(tmp_path / "spool", primary) as (_, spool):
        async with opened(tmp_path / "spool", away) as (publisher, other):
            await publisher.publish(event)
            assert (spool.events, other.events) == (0, 1)
        await until(lambda: primary.confirmed == [event.id])


async def test_a_stop_in_the_middle_of_draining_loses_nothing(tmp_path: Path) -> None:
    primary = Primary()
    primary.is_away = True
    sent = [envelope(subject=f"room-{number % 7}") for number in range(500)]
    async with opened(tmp_path / "spool", primary) as (publisher, spool):
        await asyncio.gather(*map(publisher.publish, sent))
        primary.is_away = False
        await until(lambda: spool.counts.drained > 0)
    first = len(primary.confirmed)
    async with opened(tmp_path / "spool", primary) as (_, spool):
        await drained(spool)
    assert sorted(set(primary.confirmed)) == sorted(ids(sent))
    assert len(primary.confirmed) < len(sent) + first  # not everything twice


async def test_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    primary = Primary()
    primary.is_away = True
    async with opened(tmp_path / "a" / "spool", primary) as (publisher, _):
        await publisher.publish(envelope())
        paths = [tmp_path / "a" / "spool", *(tmp_path / "a" / "spool").rglob("*")]
        assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {0o700}
        assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {0o600}


@pytest.mark.parametrize("is_file_full", [False, True], ids=["within a file", "between two files"])
async def test_an_event_after_the_folder_was_deleted_is_kept_in_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_file_full: bool
) -> None:
    """A deleted file takes writes for as long as it is open: they would all be gone, although each was answered 2xx."""
    monkeypatch.setattr("hookline.broker.spool.drain._READ_AGAIN_S", 0.01)
    primary = Primary()
    primary.is_away = True
    async with opened(tmp_path / "spool", primary) as (publisher, spool):
        await publisher.publish(envelope())
        await asyncio.to_thread(shutil.rmtree, tmp_path / "spool")
        if is_file_full:
            spool._journal._own.finish()  # type: ignore[union-attr]  # noqa: SLF001  the next event begins a file
        later = events(3)
        for each in later:
            assert not await refused(publisher, each)
        primary.is_away = False
        await drained(spool)
    assert primary.confirmed == ids(later)
    assert spool.counts.set_aside == 1  # the one that was deleted


async def test_a_folder_that_was_moved_away_is_left_and_found_again_once_it_is_back(tmp_path: Path) -> None:
    primary = Primary()
    primary.is_away = True
    first, second = events(2)
    async with opened(tmp_path / "spool", primary) as (publisher, _):
        await publisher.publish(first)
        await asyncio.to_thread((tmp_path / "spool").rename, tmp_path / "moved")
        await publisher.publish(second)
    (moved,) = [path for path in (tmp_path / "moved").iterdir() if path.is_dir()]
    await asyncio.to_thread(moved.rename, tmp_path / "spool" / moved.name)
    (tmp_path / "spool" / f"{moved.name}.lock").touch()
    primary.is_away = False
    async with opened(tmp_path / "spool", primary) as (_, spool):
        await drained(spool)
    assert list(dict.fromkeys(primary.confirmed)) == ids([first, second])


async def test_many_records_of_a_file_that_is_gone_hold_up_their_subject_for_a_few_tries_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.broker.spool.drain._READ_AGAIN_S", 0.2)
    primary = Primary()
    primary.is_away = True
    async with opened(tmp_path / "spool", primary) as (publisher, spool):
        for each in events(50):
            await publisher.publish(each)
        await asyncio.to_thread(shutil.rmtree, tmp_path / "spool")
        primary.is_away = False
        await drained(spool)  # with a few tries for each of them: 50 s
        assert spool.counts.set_aside == 50
    assert sum("is set aside" in record.getMessage() for record in caplog.records) == 1


async def test_a_set_without_its_lock_file_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody took it for left over. Nobody may take the set over: its process may live."""
    primary = Primary()
    primary.is_away = True
    async with opened(tmp_path / "spool", primary) as (publisher, _):
        await publisher.publish(envelope())
    (lock,) = (tmp_path / "spool").glob("*.lock")
    lock.unlink()
    async with opened(tmp_path / "spool", primary):
        assert f"{lock.with_suffix('')} has no .lock file" in caplog.text


def watched_looks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Have the spool look after its disk often. Gets an element with each look."""
    looks: list[None] = []
    check = Journal.check

    def counted(journal: Journal) -> None:
        looks.append(None)
        check(journal)

    monkeypatch.setattr(Journal, "check", counted)
    monkeypatch.setattr(spool_module, "_LOOK_EVERY_S", 0.01)
    return looks


async def test_a_path_that_is_no_folder_is_said_and_used_once_it_is_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_LOAD_S", 0.5)
    looks = watched_looks(monkeypatch)
    primary = Primary()
    (tmp_path / "spool").write_text("")
    async with opened(tmp_path / "spool", primary) as (publisher, _):
        await publisher.publish(envelope())
        primary.is_away = True
        assert await refused(publisher, envelope())
        await until(lambda: len(looks) > 3)
        assert caplog.text.count("takes no events: its disk cannot be used: Not a directory") == 1
        (tmp_path / "spool").unlink()
        await until(lambda: publisher.ready)
        await publisher.publish(envelope())


async def test_a_folder_that_everybody_may_write_to_stops_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    folder.chmod(0o777)
    settings = SpoolSettings(folder, after_s=1, max_bytes=2**30, max_age_s=3600, max_draining=1)
    with pytest.raises(SettingsError, match=r"^spool\.path: everybody may write"):
        spooling_publisher(Primary(), settings)


async def test_a_caller_that_stops_waiting_harms_nobody(tmp_path: Path) -> None:
    primary, sent = Primary(), events(2)
    primary.is_silent = True
    async with opened(tmp_path / "spool", primary, after_s=0.3) as (publisher, spool):
        waiting = [asyncio.create_task(publisher.publish(event)) for event in sent]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait(waiting)
        assert waiting[0].cancelled()
        primary.speak()
        await drained(spool)
    assert sent[1].id in primary.confirmed


async def test_a_journal_says_what_it_holds(tmp_path: Path) -> None:
    primary = Primary()
    primary.is_away = True
    async with opened(tmp_path / "spool", primary) as (publisher, spool):
        assert spool.status.events == spool.status.bytes == spool.status.oldest_age_s == 0
        await publisher.publish(envelope())
        await asyncio.sleep(0.05)
        status = spool.status
        assert (status.events, status.fault) == (1, None)
        assert status.bytes == sum(path.stat().st_size for path in (tmp_path / "spool").rglob("*.segment"))
        assert 0.04 < status.oldest_age_s < WITHIN_S
