"""What only GME does."""

from typing import Any

import pytest

from hookline.events import (
    RecordingStarted,
)
from hookline.schemas.providers.gme import PROVIDER
from tests.providers.bodies import event_id, normalised

STORY_START_S = 1_700_000_000.0


def notice(**fields: Any) -> Any:
    return PROVIDER.samples[0].body(1, STORY_START_S) | fields


def test_a_task_id_beyond_2_to_the_53_stays_exact() -> None:
    (event,) = normalised(PROVIDER, notice(TaskID=2**53 + 1))
    assert isinstance(event, RecordingStarted)
    assert event.task_id == "9007199254740993"


@pytest.mark.parametrize(
    ("path", "directory", "name"),
    [("a/b/c.mp3", "a/b", "c.mp3"), ("c.mp3", None, "c.mp3"), ("/c.mp3", "", "c.mp3"), ("a/", "a", ""), ("", None, "")],
    ids=repr,
)
def test_the_file_name_is_split_into_directory_and_file(path: str, directory: str | None, name: str) -> None:
    (event,) = normalised(PROVIDER, notice(Detail={"SeqNo": 0, "FileName": path}))
    assert isinstance(event, RecordingStarted)
    assert (event.directory, event.file_name) == (directory, name)


@pytest.mark.parametrize(("mode", "mixed"), [(0, False), (1, True), (2, None), (None, None)], ids=str)
def test_the_record_mode_says_whether_a_recording_is_mixed(mode: int | None, mixed: bool | None) -> None:  # noqa: FBT001  a case
    (event,) = normalised(PROVIDER, notice(RecordMode=mode))
    assert isinstance(event, RecordingStarted)
    assert event.mixed == mixed


@pytest.mark.parametrize(
    "other",
    [{"TaskID": 5}, {"UserID": "1"}, {"BizID": 5}, {"EventType": 2}, {"Detail": {"SeqNo": 1}}, {"Detail": {}}],
    ids=str,
)
def test_recordings_differ_by_each_of_their_facts(other: dict[str, Any]) -> None:
    assert event_id(PROVIDER, notice()) != event_id(PROVIDER, notice(**other))


def test_the_sending_time_is_no_fact_of_an_unknown_type() -> None:
    assert event_id(PROVIDER, notice(EventType=9)) == event_id(PROVIDER, notice(EventType=9, Timestamp=5))
