"""`hookline rooms`: the room view."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click
import msgspec

from hookline.age import time_text
from hookline.cli import tables
from hookline.cli.options import config_option
from hookline.cli.output import leave, shortened
from hookline.runtime.event_loop import run_to_end
from hookline.runtime.installation import Installation
from hookline.settings import load
from hookline.workers.event_log import MAX_LIMIT
from hookline.workers.recordings import RecordingView
from hookline.workers.rooms import RoomView, latest_rooms, rooms_named
from hookline.workers.sessions import Session
from hookline.workers.waiting_room import Waiting

COLUMNS = (("source", "room"), ("entry", "of"), ("from", "until", "detail"))


@click.command(
    epilog="""\b
    Examples:
      hookline rooms
      hookline rooms --limit 100
      hookline rooms demo-1 --json
    """
)
@click.argument("room", required=False)
@click.option(
    "--limit", type=click.IntRange(1, MAX_LIMIT), default=20, show_default=True, help="How many rooms to show at most."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of rooms.")
@config_option
def rooms(room: str | None, limit: int, config: Path, *, as_json: bool) -> None:
    """Show the room view.

    It says who is in which room since when, and lists past sessions, who waits, seats and recordings. ROOM is the id
    of one room. Without it, the rooms with the latest callbacks are shown, the latest first. The worker `rooms` must
    run: it keeps the events that this view is made of.
    """
    settings = load(config, with_sources=False)

    async def read() -> list[RoomView]:
        async with Installation(settings) as installation:
            log = await installation.event_log()
            return await (latest_rooms(log, limit) if room is None else rooms_named(log, room))

    found = run_to_end(read())
    if room is not None and not found:
        leave(f"there are no events of a room {shortened(room)}: `hookline rooms` shows the latest ones")
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    elif found:
        tables.show(COLUMNS, [row for each in found for row in _rows(each)])
    else:
        click.echo("No rooms yet. `hookline send SOURCE` sends sample callbacks.")
    if room is None and len(found) == limit:
        click.echo(f"The latest {limit} are shown; --limit shows more.", err=True)


def _rows(room: RoomView) -> Iterator[tuple[str, ...]]:
    """A row for the room, and one for each thing in it."""
    place = (room.source, room.room_id)
    yield (*place, "room", room.name or "", _at(room.created_at), _at(room.ended_at), _state(room))
    for session in (*room.inside, *room.sessions):
        entry = "inside" if session.left_at is None else "past"
        times = _at(session.joined_at), _at(session.left_at)
        yield (*place, entry, session.user_id, *times, _session(session))
    for waiting in room.waiting:
        yield (*place, "waiting", _name(waiting), _at(waiting.since), "", "")
    for seat in room.seats:
        yield (*place, f"seat {seat.index}", seat.user_id or "", "", "", "" if seat.user_id else "empty")
    for recording in room.recordings:
        times = _at(recording.started_at), _at(recording.completed_at)
        yield (*place, "recording", _file(recording), *times, _recording(recording))


def _state(room: RoomView) -> str:
    if room.open:
        return "open"
    return "ended" if room.ended_at else "nobody is known to have been inside"


def _name(waiting: Waiting) -> str:
    return waiting.user_id or waiting.display_name or waiting.connection_id or ""


def _session(session: Session) -> str:
    duration = f"{session.duration_s:g} s" if session.duration_s is not None else None
    kind = None if session.kind == "person" else session.kind
    role = session.role or session.role_name
    return _joined(kind, role, session.platform, duration, f"reason {session.reason}" if session.reason else None)


def _file(recording: RecordingView) -> str:
    parts = [part.rstrip("/") for part in (recording.directory, recording.file_name) if part is not None]
    return "/".join(parts) or recording.user_id or ""


def _recording(recording: RecordingView) -> str:
    error = f"error {recording.error}" if recording.error else None
    return _joined(recording.state, error, f"task {recording.task_id}" if recording.task_id else None)


def _joined(*words: str | None) -> str:
    return ", ".join(word for word in words if word)


def _at(time: datetime | None) -> str:
    return time_text(time) if time else ""
