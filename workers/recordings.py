"""The recordings of one room, from start to file, computed from the room's events in order of time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from hookline.schemas.events import Recording, event_topic

RecordingState: TypeAlias = Literal["started", "paused", "resumed", "completed", "failed", "uploaded"]
Key: TypeAlias = tuple[str, ...]

_STATES: tuple[RecordingState, ...] = get_args(RecordingState)
_LASTING: tuple[RecordingState, ...] = ("started", "completed", "failed", "uploaded")
_FIELDS = (
    *("task_id", "user_id", "segment", "directory", "file_name", "mixed", "recording_id", "session_id", "format"),
    *("size_bytes", "duration_s", "error"),
)


class RecordingView(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a recording, or a recording of which no file is known yet.

    `state` is the furthest state reported, in whatever order the events arrived; of a pause and what ends it, the later
    one. What is told of the task as a whole counts for each of its files.
    """

    state: RecordingState
    task_id: str | None = None
    user_id: str | None = None
    segment: int | None = None
    directory: str | None = None
    file_name: str | None = None
    mixed: bool | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    uploaded_at: datetime | None = None
    recording_id: str | None = None
    session_id: str | None = None
    format: str | None = None
    size_bytes: int | None = None
    duration_s: int | None = None
    failed_at: datetime | None = None
    error: str | None = None


def recordings(events: Sequence[Recording]) -> tuple[RecordingView, ...]:
    """One view for each file, from its events in order of time."""
    tasks: dict[Key, list[Recording]] = {}
    for event in events:
        tasks.setdefault(_task(event), []).append(event)
    whole_session = {key: tasks.pop(key) for key in list(tasks) if _has_files_elsewhere(key, tasks)}
    views: dict[Key, RecordingView] = {}
    for task, of_task in tasks.items():
        shared = whole_session.get(("session", of_task[0].session_id or ""), []) if task[0] != "task" else []
        for file, of_file in _files(shared, of_task).items():
            views[*task, *file] = _view(of_file)
    return tuple(view for _, view in sorted(views.items()))


def _task(event: Recording) -> Key:
    """What the events of one recording share: a task, or else a recording, a file, or one life of the room."""
    if event.task_id is not None:
        return ("task", event.task_id)
    if event.recording_id is not None:
        return ("recording", event.recording_id, event.session_id or "")
    if event.file_name is not None:
        return ("file", event.directory or "", event.file_name, event.session_id or "")
    return ("session", event.session_id or "")


def _has_files_elsewhere(key: Key, tasks: dict[Key, list[Recording]]) -> bool:
    """Whether events without any id belong to recordings that have one, in the same life of the room."""
    return key[0] == "session" and any(other[0] in ("recording", "file") and other[-1] == key[-1] for other in tasks)


def _files(shared: Sequence[Recording], of_task: Sequence[Recording]) -> dict[Key, list[Recording]]:
    """The events of each file of a task, with those of the task; those alone where no file is known."""
    whole = [event for event in of_task if _file(event) is None]
    files: dict[Key, list[Recording]] = {}
    for event in of_task:
        file = _file(event)
        if file is not None:
            files.setdefault(file, []).append(event)
    if not files:
        return {("", ""): [*shared, *whole]}
    views = {
        file: [*shared, *(event for event in whole if _is_of(event, file)), *of_file] for file, of_file in files.items()
    }
    for event in whole:
        if not any(_is_of(event, file) for file in files):
            views.setdefault((event.user_id or "", ""), []).append(event)
    return views


def _is_of(event: Recording, file: Key) -> bool:
    """Whether what is told of a whole task, or of one user in it, counts for a file."""
    return event.user_id is None or file[0] in ("", event.user_id)


def _file(event: Recording) -> Key | None:
    """The key of a file within its task: its user, and its segment or its name."""
    if event.segment is not None:
        return (event.user_id or "", f"{event.segment:012}")
    return None if event.file_name is None else (event.user_id or "", f"{event.directory or ''}/{event.file_name}")


def _view(events: Sequence[Recording]) -> RecordingView:
    times: dict[str, datetime] = {}
    known: dict[str, Any] = {}
    latest_pause: str | None = None
    for event in sorted(events, key=lambda event: (event.occurred_at, event.id)):
        state = event_topic(event).removeprefix("recording.")
        latest_pause = state if state in ("paused", "resumed") else latest_pause
        times.setdefault(state, event.occurred_at)
        for name in _FIELDS:
            value = getattr(event, name)
            known[name] = known.get(name) if value is None else value
        if event.started_at is not None:
            known.setdefault("started_at", event.started_at)
    reached = [state for state in _STATES if state in times and state in (latest_pause, *_LASTING)]
    known.update({f"{state}_at": times[state] for state in _LASTING if state in times})
    return RecordingView(state=reached[-1], **known)
