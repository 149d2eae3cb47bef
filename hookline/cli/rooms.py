"""`hookline rooms`: the room view."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from hookline.cli.options import config_option
from hookline.runtime.event_loop import run_to_end
from hookline.runtime.installation import Installation
from hookline.runtime.logs import printable
from hookline.settings import load
from hookline.workers.rooms import RecordingView, RoomView, Session, view


@click.command(
    epilog="""\b
    Examples:
      hookline rooms
      hookline rooms demo-1 --json
    """
)
@click.argument("room", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON: an array of rooms.")
@config_option
def rooms(room: str | None, config: Path, *, as_json: bool) -> None:
    """The room view: who is where since when, past sessions, recordings. ROOM is one room's id."""
    settings = load(config, with_sources=False)

    async def events() -> Any:
        async with Installation(settings) as installation:
            return await (await installation.room_log()).events()

    seen = [each for each in view(run_to_end(events())) if room in (None, each.room_id)]
    click.echo(msgspec.json.encode(seen).decode() if as_json else _text(seen))


def _text(rooms: Iterable[RoomView]) -> str:
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
