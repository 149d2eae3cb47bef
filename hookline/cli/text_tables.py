"""Tables and views for a person's terminal."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from hookline.runtime.logs import printable
from hookline.schemas.events import EVENT_TYPES, CanonicalEvent
from hookline.schemas.provider import Provider
from hookline.workers.rooms import RecordingView, RoomView, Session

_SHARED_FIELDS = frozenset(field.name for field in msgspec.structs.fields(CanonicalEvent))


def topics(providers: Mapping[str, Provider[Any]]) -> list[dict[str, Any]]:
    """The canonical events: topic, fields, and which providers send them under which of their own types."""
    return [
        {
            "topic": topic,
            "event": event.__name__,
            "fields": [field.name for field in msgspec.structs.fields(event) if field.name not in _SHARED_FIELDS],
            "sent_by": {} if topic == "unknown" else _senders(topic, providers),
        }
        for topic, event in EVENT_TYPES.items()
    ]


def _senders(topic: str, providers: Mapping[str, Provider[Any]]) -> dict[str, list[str]]:
    sent = {
        provider.name: [theirs for theirs, ours in provider.types.items() if ours == topic]
        for provider in providers.values()
    }
    return {name: types for name, types in sent.items() if types}


def topics_text(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for row in rows:
        senders = "; ".join(f"{name} {', '.join(types)}" for name, types in row["sent_by"].items())
        lines += [
            f"{row['topic']}  ({row['event']})",
            f"    fields   {', '.join(row['fields'])}",
            f"    sent by  {senders or 'any provider: what we do not know yet, under unknown.<their type>'}",
        ]
    shared = ", ".join(field.name for field in msgspec.structs.fields(CanonicalEvent))
    return "\n".join([*lines, "", f"All events also carry {shared}."])


def rooms_text(rooms: Iterable[RoomView]) -> str:
    return "\n\n".join(_room(room) for room in rooms) or "No rooms yet. `hookline send SOURCE` sends sample callbacks."


def _room(room: RoomView) -> str:
    name = f" ({printable(room.name)})" if room.name else ""
    lines = [f"{room.source}  {printable(room.room_id)}{name}: {_state(room)}"]
    lines += [f"  inside     {_session(session)}" for session in room.inside]
    lines += [f"  past       {_session(session)}" for session in room.sessions]
    lines += [f"  seat {seat.index:<5} {printable(seat.user_id or 'nobody')}" for seat in room.seats]
    lines += [f"  recording  {_recording(recording)}" for recording in room.recordings]
    return "\n".join(lines)


def _state(room: RoomView) -> str:
    if room.open:
        return f"open since {_at(room.created_at)}" if room.created_at else "open"
    return f"ended {_at(room.ended_at)}" if room.ended_at else "known from recordings only"


def _session(session: Session) -> str:
    words = [f"{printable(session.user_id):<16}", session.role, session.platform]
    words.append(f"since {_at(session.joined_at)}" if session.joined_at else "since before we knew")
    if session.left_at is not None:
        lasted = f" after {session.duration_s:g} s" if session.duration_s is not None else ""
        words.append(f"until {_at(session.left_at)}{lasted} ({session.reason})")
    return _joined(words)


def _recording(recording: RecordingView) -> str:
    place = "/".join(part.rstrip("/") for part in (recording.directory, recording.file_name) if part is not None)
    task = f"task {recording.task_id}" if recording.task_id else None
    return _joined([f"{recording.state:<10}", task, printable(place)])


def _joined(words: Sequence[str | None]) -> str:
    return "  ".join(word for word in words if word)


def _at(time: datetime | None) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time else "?"
