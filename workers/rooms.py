"""The built-in room view: who is where, since when and as what, past sessions, and recordings.

The worker only stores the events of each room. The view is computed from the set of events when it is read. A set has
neither order nor repetition, so any order and any repeats of the same events give the same view. A provider that sends
no event time (GME) gives each re-send another time; the earliest counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal

import msgspec

from hookline.schemas.events import (
    EVENT_TYPES,
    CanonicalEvent,
    LeaveReason,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantRoleChanged,
    Recording,
    Role,
    RoomCreated,
    RoomEnded,
    RoomUpdated,
    Seat,
    SeatsChanged,
    Unknown,
    event_topic,
)
from hookline.workers.api import Worker
from hookline.workers.declare import worker
from hookline.workers.room_log import RoomEvent, RoomLog

RecordingState = Literal["started", "completed", "uploaded"]
EndReason = LeaveReason | Literal["room_ended"]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One stay of one user. `joined_at` is None if no join event arrived, `left_at` while the session lasts."""

    user_id: str
    joined_at: datetime | None
    left_at: datetime | None = None
    role: Role | None = None
    platform: str | None = None
    reason: EndReason | None = None
    duration_s: float | None = None


class RecordingView(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a recording. `state` is the furthest state reported, in whatever order the events arrived."""

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


class RoomView(msgspec.Struct, frozen=True, kw_only=True):
    """One room. `inside` and `sessions`, the past ones, are in order of joining."""

    provider: str
    source: str
    room_id: str
    open: bool
    name: str | None = None
    owner_id: str | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None
    inside: tuple[Session, ...] = ()
    sessions: tuple[Session, ...] = ()
    seats: tuple[Seat, ...] = ()
    recordings: tuple[RecordingView, ...] = ()


def rooms_worker(log: RoomLog) -> Worker[Any]:
    """The worker that keeps the room view up to date."""

    @worker(*_KNOWN, queue="rooms")
    async def rooms(event: CanonicalEvent) -> None:
        if isinstance(event, RoomEvent) and event.room_id is not None:  # others only come so as not to stay unrouted
            await log.add(event)

    return replace(rooms, sees_repeats=True)


_KNOWN = tuple(event for event in EVENT_TYPES.values() if event is not Unknown)


def view(events: Iterable[RoomEvent]) -> list[RoomView]:
    """The rooms in these events, ordered by provider, source and room id."""
    place = attrgetter("provider", "source", "room_id")
    latest_first = sorted(events, key=attrgetter("occurred_at"), reverse=True)
    distinct = {event.id: event for event in latest_first}.values()  # the earliest version of each event
    ordered = sorted(distinct, key=lambda event: (place(event), event.occurred_at, event.id))
    return [_room(list(group)) for _, group in groupby(ordered, key=place)]


def _room(events: Sequence[RoomEvent]) -> RoomView:
    """One room, computed from its events in order of time."""
    first = events[0]
    room = _Room()
    for _, simultaneous in groupby(events, key=attrgetter("occurred_at")):
        room.apply(list(simultaneous))
    return RoomView(
        provider=first.provider,
        source=first.source,
        room_id=first.room_id or "",  # the log holds no event without a room
        open=room.open,
        name=room.name,
        owner_id=room.owner_id,
        created_at=room.created_at,
        ended_at=room.ended_at,
        inside=tuple(sorted(room.inside.values(), key=_joining)),
        sessions=tuple(sorted(room.sessions, key=_joining)),
        seats=tuple(seat for _, seat in sorted(room.seats.items())),
        recordings=_recordings([event for event in events if isinstance(event, Recording)]),
    )


def _joining(session: Session) -> tuple[float, float, str]:
    return (_unix(session.joined_at), _unix(session.left_at), session.user_id)


def _unix(time: datetime | None) -> float:
    return time.timestamp() if time else 0.0


class _Room:
    """The state of a room while its events are applied.

    Several providers count time in seconds, so that several events have the same time. Their order follows from the
    state before: a user who was inside left and came back, and a user who was not inside came and left. The same holds
    for the room itself.
    """

    def __init__(self) -> None:
        self.open = False
        self.name: str | None = None
        self.owner_id: str | None = None
        self.created_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.inside: dict[str, Session] = {}
        self.sessions: list[Session] = []
        self.seats: dict[int, Seat] = {}

    def apply(self, simultaneous: Sequence[RoomEvent]) -> None:
        """Apply all events of one time."""
        was_open, were_inside = self.open, set(self.inside)
        recreated = was_open and any(isinstance(event, RoomCreated) for event in simultaneous)

        def rank(event: RoomEvent) -> int:
            match event:
                case RoomEnded():
                    return 2 if recreated else 9
                case RoomCreated() | RoomUpdated():
                    return 3
                case ParticipantLeft(user_id=user):
                    return 1 if user in were_inside else 6
                case ParticipantJoined():
                    return 4
                case ParticipantRoleChanged():
                    return 5
                case _:
                    return 7

        for event in sorted(simultaneous, key=rank):  # stable: ties stay in order of ids
            self._apply_one(event)

    def _apply_one(self, event: RoomEvent) -> None:
        match event:
            case RoomCreated():
                self._describe(event)
                self.open, self.created_at, self.ended_at = True, event.occurred_at, None
            case RoomUpdated():
                self._describe(event)
            case RoomEnded():
                self._end(event)
            case ParticipantJoined():
                self._join(event)
            case ParticipantLeft():
                self._leave(event)
            case ParticipantRoleChanged():
                self._change_role(event)
            case SeatsChanged():
                self.seats.update({seat.index: seat for seat in event.seats})
            case _:
                pass  # recordings do not say who is inside

    def _describe(self, event: RoomCreated | RoomUpdated) -> None:
        self.name = event.name if event.name is not None else self.name
        self.owner_id = event.owner_id if event.owner_id is not None else self.owner_id

    def _end(self, event: RoomEnded) -> None:
        for session in list(self.inside.values()):
            self._close(session, event.occurred_at, "room_ended")
        self.seats.clear()
        self.open, self.ended_at = False, event.occurred_at

    def _join(self, event: ParticipantJoined) -> None:
        self.open, self.ended_at = True, None
        session = self.inside.get(event.user_id) or Session(user_id=event.user_id, joined_at=event.occurred_at)
        self.inside[event.user_id] = msgspec.structs.replace(
            session, role=event.role or session.role, platform=event.platform or session.platform
        )

    def _leave(self, event: ParticipantLeft) -> None:
        session = self.inside.get(event.user_id)
        if session is None:
            joined_at = None if event.duration_s is None else _before(event.occurred_at, event.duration_s)
            session = Session(user_id=event.user_id, joined_at=joined_at)
        session = msgspec.structs.replace(session, role=event.role or session.role)
        self._close(session, event.occurred_at, event.reason)

    def _change_role(self, event: ParticipantRoleChanged) -> None:
        session = self.inside.get(event.user_id)
        if session is not None:
            self.inside[event.user_id] = msgspec.structs.replace(session, role=event.role or session.role)

    def _close(self, session: Session, at: datetime, reason: EndReason) -> None:
        self.inside.pop(session.user_id, None)
        duration_s = None if session.joined_at is None else (at - session.joined_at).total_seconds()
        self.sessions.append(msgspec.structs.replace(session, left_at=at, reason=reason, duration_s=duration_s))


def _before(at: datetime, seconds: float) -> datetime | None:
    try:
        return at - timedelta(seconds=seconds)
    except OverflowError:  # the duration is the sender's, and may be any number
        return None


def _recordings(events: Sequence[Recording]) -> tuple[RecordingView, ...]:
    """One view for each file, from its events in order of time."""
    files: dict[tuple[str, ...], list[Recording]] = {}
    for event in events:
        files.setdefault(_file(event), []).append(event)
    return tuple(_recording(of_file) for _, of_file in sorted(files.items()))


def _file(event: Recording) -> tuple[str, ...]:
    """The key of a file: its task, user and segment, or its name where there is no task."""
    if event.task_id is None:
        return ("", event.directory or "", event.file_name or "")
    return (event.task_id, event.user_id or "", "" if event.segment is None else f"{event.segment:012}")


def _recording(events: Sequence[Recording]) -> RecordingView:
    states: tuple[RecordingState, ...] = ("started", "completed", "uploaded")
    times: dict[str, datetime] = {}
    known: dict[str, Any] = {}
    for event in events:
        times.setdefault(event_topic(event).removeprefix("recording."), event.occurred_at)
        for name in ("task_id", "user_id", "segment", "directory", "file_name", "mixed"):
            value = getattr(event, name)
            known[name] = known.get(name) if value is None else value
    known.update({f"{state}_at": times.get(state) for state in states})
    return RecordingView(state=[state for state in states if state in times][-1], **known)
