"""The built-in room view: who is where, since when and as what, past sessions, and recordings.

The worker only appends events to the event log. The view of a room is computed from the set of its events when it is
read. A set has neither order nor repetition, so any order and any repeats of the same events give the same view.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal, TypeAlias

import msgspec

from hookline.schemas.events import (
    EVENT_TYPES,
    CanonicalEvent,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantRoleChanged,
    Recording,
    RecordingCompleted,
    RecordingStarted,
    RecordingUploaded,
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
from hookline.workers.event_log import EventLog, Place, version
from hookline.workers.sessions import LATE, Session, Sessions

RoomEvent: TypeAlias = (
    RoomCreated
    | RoomUpdated
    | RoomEnded
    | ParticipantJoined
    | ParticipantLeft
    | ParticipantRoleChanged
    | SeatsChanged
    | RecordingStarted
    | RecordingCompleted
    | RecordingUploaded
)
"""The events from which the view is computed."""
RecordingState = Literal["started", "completed", "uploaded"]

_JOINED_BEFORE_CREATION = timedelta(seconds=10)
"""How much earlier than the creation of a room its first join may be stamped."""
_LOGGED = tuple(event for event in EVENT_TYPES.values() if event is not Unknown)
"""Callbacks of unknown types stay unrouted, with their exact bytes, for a later version that knows them."""


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


def rooms_worker(log: EventLog) -> Worker[Any]:
    """The worker that keeps the event log."""

    @worker(*_LOGGED, queue="rooms")
    async def rooms(event: CanonicalEvent) -> None:
        await log.append(event)

    return replace(rooms, sees_repeats=True)


async def rooms_named(log: EventLog, room_id: str) -> list[RoomView]:
    """The rooms with this id, of all sources. The cost is that of their events. Raises Unreachable."""
    return await _views(log, await log.places(room_id))


async def latest_rooms(log: EventLog, limit: int) -> list[RoomView]:
    """The rooms with the latest deliveries, the latest first. The cost is that of their events. Raises Unreachable."""
    return await _views(log, (await log.rooms(limit=limit)).places)


async def _views(log: EventLog, places: Sequence[Place]) -> list[RoomView]:
    """A room whose events were all deleted just now has no view."""
    return [room for place in places for room in view(await log.room(place))]


def view(events: Iterable[CanonicalEvent]) -> list[RoomView]:
    """The rooms in these events, ordered by provider, source and room id."""
    place = attrgetter("provider", "source", "room_id")
    of_rooms = (event for event in _earliest_versions(events) if isinstance(event, RoomEvent) and event.room_id)
    ordered = sorted(of_rooms, key=lambda event: (place(event), event.occurred_at, event.id))
    return [_room(list(group)) for _, group in groupby(ordered, key=place)]


def _earliest_versions(events: Iterable[CanonicalEvent]) -> Iterable[CanonicalEvent]:
    """Each event once."""
    earliest: dict[str, CanonicalEvent] = {}
    for event in events:
        kept = earliest.setdefault(event.id, event)
        if kept is not event and version(event) < version(kept):
            earliest[event.id] = event
    return earliest.values()


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
        inside=tuple(sorted(room.people.inside(), key=_joining)),
        sessions=tuple(sorted(room.people.past, key=_joining)),
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
        self.people = Sessions()
        self.seats: dict[int, Seat] = {}
        self._opened_at: datetime | None = None
        self._is_created = False  # since it was opened

    def apply(self, simultaneous: Sequence[RoomEvent]) -> None:
        """Apply all events of one time."""
        recreated = self.open and any(isinstance(event, RoomCreated) for event in simultaneous)
        joining = {event.user_id for event in simultaneous if isinstance(event, ParticipantJoined)}
        ranks = {event.id: self._rank(event, joining, recreated=recreated) for event in simultaneous}
        for event in sorted(simultaneous, key=lambda event: ranks[event.id]):  # stable: ties stay in order of ids
            self._apply_one(event)

    def _rank(self, event: RoomEvent, joining: Collection[str], *, recreated: bool) -> int:
        match event:
            case RoomEnded():
                return 2 if recreated else 9
            case RoomCreated() | RoomUpdated():
                return 3
            case ParticipantLeft():
                return 1 if self.people.leaves_before_joins(event, joins_now=event.user_id in joining) else 6
            case ParticipantJoined():
                return 4
            case ParticipantRoleChanged():
                return 5
            case _:
                return 7

    def _apply_one(self, event: RoomEvent) -> None:
        match event:
            case RoomCreated():
                self._create(event)
            case RoomUpdated():
                self._describe(event)
            case RoomEnded():
                self._end(event)
            case ParticipantJoined():
                self._open(event.occurred_at)
                self.people.join(event)
            case ParticipantLeft():
                self.people.leave(event)
            case ParticipantRoleChanged():
                self._see(event.user_id, event.occurred_at)
                self.people.change_role(event)
            case SeatsChanged():
                self._seat(event)
            case _:
                pass  # recordings do not say who is inside

    def _create(self, event: RoomCreated) -> None:
        """Open the room. Where its end never came, everyone who was inside has left by now."""
        if self._is_new_start(event.occurred_at):
            self.people.close_all(event.occurred_at, "room_recreated")
            self.seats.clear()
            self.open = False
        self._open(event.occurred_at)
        self._describe(event)
        self.created_at, self._is_created = event.occurred_at, True

    def _is_new_start(self, at: datetime) -> bool:
        """Whether an open room was opened before, and not just now by someone who was faster than its creation."""
        if not self.open or self._opened_at is None:
            return False
        return self._is_created or at - self._opened_at > _JOINED_BEFORE_CREATION

    def _open(self, at: datetime) -> None:
        if not self.open:
            self.open, self.ended_at, self._opened_at, self._is_created = True, None, at, False

    def _describe(self, event: RoomCreated | RoomUpdated) -> None:
        self.name = event.name if event.name is not None else self.name
        self.owner_id = event.owner_id if event.owner_id is not None else self.owner_id

    def _end(self, event: RoomEnded) -> None:
        self.people.close_all(event.occurred_at, "room_ended")
        self.seats.clear()
        if self.open or self.ended_at is None:
            self.open, self.ended_at = False, event.occurred_at

    def _seat(self, event: SeatsChanged) -> None:
        self.seats.update({seat.index: seat for seat in event.seats})
        for seat in event.seats:
            if seat.user_id is not None:
                self._see(seat.user_id, event.occurred_at)

    def _see(self, user_id: str, at: datetime) -> None:
        """Someone with a seat or a role is inside, even if no join arrived. What comes just after an end is late."""
        if self.ended_at is not None and at - self.ended_at <= LATE:
            return
        if self.people.see(user_id, at):
            self._open(at)


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
