"""How to test workers: through the real pipeline, in memory. Run it with pytest."""

import json
from datetime import UTC, datetime
from pathlib import Path

import attendance
import pytest

from hookline.events import ParticipantJoined
from hookline.testing import Again, Done, MemoryStore, Parked, deliver

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
JOINED = ParticipantJoined(
    id="1",
    provider="krtc",
    source="krtc-main",
    provider_type="103",
    occurred_at=NOON,
    received_at=NOON,
    room_id="lesson",
    user_id="学生",
)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(attendance, "FILE", tmp_path / "attendance.jsonl")
    return attendance.FILE


async def test_a_participant_who_joins_is_written_to_the_file(file: Path) -> None:
    assert await deliver(attendance.attendance, JOINED) == Done()
    (line,) = file.read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {
        "id": "1",
        "at": "2026-01-01T12:00:00+00:00",
        "room": "lesson",
        "user": "学生",
        "joined": True,
    }


async def test_a_repeat_is_written_once(file: Path) -> None:
    store = MemoryStore()  # what the queue has finished
    await deliver(attendance.attendance, JOINED, store=store)
    assert await deliver(attendance.attendance, JOINED, store=store) == Done("duplicate")
    assert len(file.read_text(encoding="utf-8").splitlines()) == 1


async def test_an_event_is_tried_again_while_the_file_cannot_be_written(file: Path) -> None:
    file.mkdir()  # so that nothing can be written to it
    outcome = await deliver(attendance.attendance, JOINED)
    assert isinstance(outcome, Again)
    assert (outcome.reason, outcome.attempt) == ("failed", 2)


async def test_an_event_is_parked_after_the_last_attempt(file: Path) -> None:
    file.mkdir()
    outcome = await deliver(attendance.attendance, JOINED, attempt=10)
    assert isinstance(outcome, Parked)
    assert "IsADirectoryError" in outcome.detail
