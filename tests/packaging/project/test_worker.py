"""The team's own test of its worker."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from worker import FILE, attendance

from hookline.events import ParticipantJoined
from hookline.testing import Done, deliver


async def test_who_joins_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.FILE", str(tmp_path / FILE))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    event = ParticipantJoined(
        id="1",
        provider="krtc",
        source="main",
        occurred_at=now,
        received_at=now,
        provider_type="103",
        room_id="lesson",
        user_id="ann",
    )
    assert await deliver(attendance, event) == Done("handled")
    assert (tmp_path / FILE).read_text() == "ANN joined lesson\n"
