"""Late events, which arrive after a newer one of their subject: marked for the worker, or not handled."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hookline import Backoff, Delivery, Retry, worker
from hookline.events import ParticipantJoined
from hookline.schemas.broker import Again, Done, Parked, Received
from hookline.schemas.envelope import Envelope, to_headers
from hookline.sqlite.database import Database
from hookline.testing import deliver
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import Acquired, MemoryStore, Store
from hookline.workers.stores.sqlite.store import SqliteStore
from hookline.workers.subject_watermark import SubjectWatermark
from hookline.workers.work import Work
from tests.events import make


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    database = await Database.open(tmp_path / "store.db")
    yield SqliteStore(database)
    await database.close()


def joined(event_id: str, *, second: int, room_id: str = "room", source: str = "krtc-main") -> ParticipantJoined:
    return make(ParticipantJoined, event_id, at_s=second, user_id="u", room_id=room_id, source=source)


def keeping(late: list[tuple[str, bool]], **options: Any) -> Any:
    @worker(ParticipantJoined, **options)
    async def attendance(event: ParticipantJoined, delivery: Delivery) -> None:
        late.append((event.id, delivery.late))

    return attendance


async def test_an_event_that_occurred_before_one_that_was_handled_is_late() -> None:
    late: list[tuple[str, bool]] = []
    store, attendance = MemoryStore(), keeping(late)
    for event in (joined("a", second=1), joined("c", second=3), joined("b", second=2)):
        assert await deliver(attendance, event, store=store) == Done()
    assert late == [("a", False), ("c", False), ("b", True)]


async def test_an_event_of_the_same_moment_is_not_late() -> None:
    late: list[tuple[str, bool]] = []
    store, attendance = MemoryStore(), keeping(late)
    for event_id in ("a", "b"):
        await deliver(attendance, joined(event_id, second=1), store=store)
    assert late == [("a", False), ("b", False)]


@pytest.mark.parametrize("transactional", [False, True], ids=["plain", "transactional"])
async def test_an_event_is_late_if_a_newer_one_was_handled_while_it_waited(
    store: SqliteStore, *, transactional: bool
) -> None:
    late: list[tuple[str, bool]] = []
    attendance = keeping(late, concurrency=1, transactional=transactional)
    await work_together(attendance, store, joined("b", second=2), joined("a", second=1))
    assert late == [("b", False), ("a", True)]


async def test_an_event_is_superseded_by_a_newer_one_that_was_handled_while_it_waited(store: SqliteStore) -> None:
    late: list[tuple[str, bool]] = []
    attendance = keeping(late, concurrency=1, latest_only=True)
    works = await work_together(attendance, store, joined("b", second=2), joined("a", second=1))
    assert [work.outcome for work in works] == [Done(), Done("superseded")]
    assert late == [("b", False)]


def test_a_process_remembers_a_limited_number_of_subjects() -> None:
    watermark = SubjectWatermark(2)
    for subject in ("a", "b", "c"):
        watermark.advance(subject, 2.0)
    assert [watermark.is_late(Acquired(), subject, 1.0) for subject in ("a", "b", "c")] == [False, True, True]


def test_the_newer_of_the_stores_and_the_processs_watermark_counts() -> None:
    watermark = SubjectWatermark(1)
    watermark.advance("room", 2.0)
    watermark.advance("room", 1.0)
    assert [watermark.is_late(Acquired(newest_s=newest_s), "room", 1.5) for newest_s in (None, 1.0, 3.0)] == [
        True,
        True,
        True,
    ]
    assert [watermark.is_late(Acquired(newest_s=newest_s), "room", 2.5) for newest_s in (None, 1.0, 3.0)] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("other", [{"room_id": "elsewhere"}, {"source": "krtc-other"}], ids=["room", "source"])
async def test_events_of_other_subjects_are_not_late(other: dict[str, str]) -> None:
    late: list[tuple[str, bool]] = []
    store, attendance = MemoryStore(), keeping(late)
    await deliver(attendance, joined("a", second=2), store=store)
    await deliver(attendance, joined("b", second=1, **other), store=store)
    assert late == [("a", False), ("b", False)]


async def test_an_event_that_failed_makes_no_other_late() -> None:
    late: list[tuple[str, bool]] = []

    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined, delivery: Delivery) -> None:
        late.append((event.id, delivery.late))
        if event.id == "a":
            raise ConnectionError

    store = MemoryStore()
    await deliver(attendance, joined("a", second=2), store=store)
    await deliver(attendance, joined("b", second=1), store=store)
    assert late == [("a", False), ("b", False)]


async def test_a_worker_of_the_latest_only_is_not_called_for_late_events() -> None:
    late: list[tuple[str, bool]] = []
    store, attendance = MemoryStore(), keeping(late, latest_only=True)
    assert await deliver(attendance, joined("b", second=2), store=store) == Done()
    assert await deliver(attendance, joined("a", second=1), store=store) == Done("superseded")
    assert await deliver(attendance, joined("a", second=1), store=store) == Done("duplicate")
    assert late == [("b", False)]


async def test_the_result_of_a_delivery_says_whether_it_was_late() -> None:
    store, attendance = MemoryStore(), keeping([])
    assert not (await work(attendance, joined("b", second=2), store)).late
    assert (await work(attendance, joined("a", second=1), store)).late


async def test_attempts_of_an_ordered_worker_are_counted_in_the_store() -> None:
    attempts: list[int] = []

    @worker(ParticipantJoined, ordered=True, retry=Backoff(attempts=3))
    async def attendance(event: ParticipantJoined, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise ConnectionError

    store = MemoryStore()
    outcomes = [await deliver(attendance, joined("a", second=1), store=store) for _ in range(4)]
    assert attempts == [1, 2, 3]
    assert isinstance(outcomes[1], Again)
    assert outcomes[1].attempt == 3
    assert isinstance(outcomes[2], Parked)
    assert outcomes[2].attempts == 3
    again = outcomes[3]  # by another process: the event stays parked until it is replayed
    assert isinstance(again, Parked)
    assert (again.reason, again.attempts) == (outcomes[2].reason, 3)


async def test_retry_uses_up_no_attempt_of_an_ordered_worker() -> None:
    attempts: list[int] = []

    @worker(ParticipantJoined, ordered=True)
    async def attendance(event: ParticipantJoined, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise Retry(after_s=1)

    store = MemoryStore()
    for _ in range(3):
        await deliver(attendance, joined("a", second=1), store=store)
    assert attempts == [1, 1, 1]


@pytest.mark.parametrize(
    ("error", "reason"), [(ValueError("no"), "failed"), (Retry(after_s=1), "retry")], ids=["failed", "retry"]
)
async def test_an_event_is_parked_after_its_last_attempt_with_the_reason(error: Exception, reason: str) -> None:
    @worker(ParticipantJoined, ordered=True)
    async def attendance(event: ParticipantJoined) -> None:
        raise error

    outcome = (await work(attendance, joined("a", second=1), MemoryStore(), last=True)).outcome
    assert isinstance(outcome, Parked)
    assert (outcome.reason, outcome.attempts) == (reason, 1)
    assert type(error).__name__ in outcome.detail


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"hold_s": 5}, id="hold_s of an unordered worker"),
        pytest.param({"reorder_s": 5}, id="reorder_s of an unordered worker"),
        pytest.param({"ordered": True, "hold_s": 10_000}, id="hold_s too long"),
    ],
)
def test_invalid_options_of_an_ordered_worker_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="hold_s and reorder_s"):
        keeping([], **options)


async def work(attendance: Any, event: ParticipantJoined, store: MemoryStore, *, last: bool = False) -> Work:
    return await Pipeline(attendance, store, normalise=lambda _: (event,)).work(received(event), last=last)


async def work_together(attendance: Any, store: Store, *events: ParticipantJoined) -> list[Work]:
    """Handle the events at once: all are claimed before the first is handled."""
    by_id = {event.id: event for event in events}
    pipeline = Pipeline(attendance, store, normalise=lambda envelope: (by_id[envelope.id],))
    return await asyncio.gather(*(pipeline.work(received(event)) for event in events))


def received(event: ParticipantJoined) -> Received:
    envelope = Envelope(
        id=event.id,
        provider=event.provider,
        source=event.source,
        event_type="participant.joined",
        subject=event.room_id,
        occurred_at=event.occurred_at,
        received_at=event.received_at,
        content_type="application/json",
        body=b"{}",
    )
    return Received(to_headers(envelope), envelope.content_type, b"{}", 1, None)
