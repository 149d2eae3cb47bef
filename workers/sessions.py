"""The sessions of the people in one room, while the room's events are applied in order of time."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from hookline.schemas.events import (
    LeaveReason,
    ParticipantJoined,
    ParticipantKind,
    ParticipantLeft,
    ParticipantRoleChanged,
    Role,
)

RoomReason: TypeAlias = Literal["room_ended", "room_recreated"]
EndReason: TypeAlias = LeaveReason | RoomReason

LATE = timedelta(seconds=5)
"""What says so soon after an end that someone is inside, or has left, is older than its time."""
_ROUNDING = timedelta(seconds=1)
"""Providers round times and durations to seconds. What is no further apart counts as the same time."""
_REMEMBERED = 32
"""How many open stays, and how many past ones, of one user are compared with a leave."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One stay of one user. `joined_at` is None if no join event arrived, `left_at` while the session lasts.

    The reason `room_ended` means that the room's end ended it. With `room_recreated` the room was created again while
    the user was inside, and no end had arrived: the user left at `left_at` at the latest.

    `connection_id` is that of the latest connection of the stay, and `session_id` the life of the room it belongs to.
    `kind` tells recorders, robots and telephones from people, where the provider does.
    """

    user_id: str
    joined_at: datetime | None
    left_at: datetime | None = None
    role: Role | None = None
    platform: str | None = None
    reason: EndReason | None = None
    duration_s: float | None = None
    kind: ParticipantKind | None = None
    display_name: str | None = None
    role_name: str | None = None
    connection_id: str | None = None
    session_id: str | None = None


class _Person:
    """One user: the stays that last, by time of joining, and the past ones by their places in `Sessions.past`."""

    def __init__(self) -> None:
        self.stays: list[Session] = []
        self.past: list[int] = []


class Sessions:
    """The people of a room. A leave that names its session ends that one, whatever else lasts.

    It names it by a connection, or else by a duration. `past` holds the sessions that ended.
    """

    def __init__(self) -> None:
        self.past: list[Session] = []
        self._people: dict[str, _Person] = {}
        self._inside: dict[str, _Person] = {}
        self._confirmed: set[int] = set()  # past sessions that the room ended, and whose leave arrived

    def inside(self) -> Iterator[Session]:
        """Everyone who is inside, once, since the earliest join that no leave has ended."""
        return (_whole(person.stays) for person in self._inside.values())

    def join(self, event: ParticipantJoined) -> None:
        person = self._inside[event.user_id] = self._person(event.user_id)
        stays = person.stays
        place = _place_of(event.connection_id, stays)
        if place is not None:  # told twice
            stays[place] = _described(stays[place], event)
            return
        if stays and stays[-1].joined_at is None:  # known from a seat or a role until now
            before = stays.pop()
        else:
            before = stays[-1] if stays else Session(user_id=event.user_id, joined_at=None)
        joined = replace(before, joined_at=event.occurred_at, connection_id=event.connection_id)
        stays.append(_described(joined, event))
        if len(stays) > _REMEMBERED:
            del stays[1]

    def see(self, user_id: str, at: datetime) -> bool:
        """Note that a user is inside, whose join may be missing; False for one who left just before."""
        person = self._person(user_id)
        if person.stays:
            return True
        if person.past and _is_just_after(at, self.past[person.past[-1]].left_at):
            return False
        self._inside[user_id] = person
        person.stays.append(Session(user_id=user_id, joined_at=None))
        return True

    def change_role(self, event: ParticipantRoleChanged) -> None:
        stays = self._person(event.user_id).stays
        if stays:
            place = _place_of(event.connection_id, stays)
            place = len(stays) - 1 if place is None else place
            stay, name = stays[place], event.role_name
            stays[place] = replace(stay, role=event.role or stay.role, role_name=name or stay.role_name)

    def leaves_before_joins(self, event: ParticipantLeft, joins: Sequence[ParticipantJoined]) -> bool:
        """Whether a leave ends a stay from before, rather than one of the user's joins of the same time."""
        stays = self._person(event.user_id).stays
        if event.connection_id is not None and (
            any(join.connection_id == event.connection_id for join in joins)
            or any(stay.connection_id == event.connection_id for stay in stays)
        ):
            return any(stay.connection_id == event.connection_id for stay in stays)
        named = _named_start(event)
        if not stays or named is None or not joins:
            return bool(stays)
        return any(_distance(stay, named) <= abs(event.occurred_at - named) for stay in stays)

    def leave(self, event: ParticipantLeft) -> None:
        """End the stay that the leave names by its connection or its duration, or else the user's only one.

        A leave that comes after the session was ended, by the room or by another leave, adds no session. One of a
        connection ends no stay of another connection, and no life of the room ends a stay in another.
        """
        person, named = self._person(event.user_id), _named_start(event)
        stays = [stay for stay in person.stays if _may_be(stay, event)]
        past = [index for index in person.past if _may_be(self.past[index], event)]
        if self._end_named(person, _of_connection(stays, event), event):
            return
        if (index := self._past_connection(past, event, named)) is not None:
            self._confirm(index, event)
            return
        if named is not None:
            if self._end_named(person, [stay for stay in stays if _distance(stay, named) <= _ROUNDING], event):
                return
            ended = [index for index in past if _distance(self.past[index], named) <= _ROUNDING]
            if ended:
                self._confirm(ended[-1], event)
                return
        if self._end_named(person, stays, event):
            return
        if not person.stays and (index := self._ended_before(past, event, named)) is not None:
            self._confirm(index, event)
            return
        session = Session(user_id=event.user_id, joined_at=named)
        self._close(person, _described(session, event), event.occurred_at, event.reason)

    def close_all(self, at: datetime, reason: RoomReason, *, but: str | None = None) -> None:
        """End the session of everyone who is inside, except in one life of the room."""
        for user_id, person in list(self._inside.items()):
            kept = [stay for stay in person.stays if but is not None and stay.session_id == but]
            ended = [stay for stay in person.stays if stay not in kept]
            person.stays = kept
            if ended:
                self._close(person, _whole(ended), at, reason)
            if not kept:
                del self._inside[user_id]

    def close_life(self, session_id: str, at: datetime, reason: RoomReason) -> None:
        """End the stays in one life of the room."""
        for user_id, person in list(self._inside.items()):
            ended = [stay for stay in person.stays if stay.session_id == session_id]
            if ended:
                person.stays = [stay for stay in person.stays if stay not in ended]
                self._close(person, _whole(ended), at, reason)
            if not person.stays:
                del self._inside[user_id]

    def _person(self, user_id: str) -> _Person:
        person = self._people.get(user_id)
        if person is None:
            person = self._people[user_id] = _Person()
        return person

    def _end_named(self, person: _Person, stays: Sequence[Session], event: ParticipantLeft) -> bool:
        """End these stays as one session; the others last. False if there are none."""
        if not stays:
            return False
        session = _whole(stays)
        person.stays = [stay for stay in person.stays if stay not in stays]
        if not person.stays:
            del self._inside[event.user_id]
        joined_at = session.joined_at or _named_start(event)
        self._close(person, _described(replace(session, joined_at=joined_at), event), event.occurred_at, event.reason)
        return True

    def _past_connection(self, past: Sequence[int], event: ParticipantLeft, named: datetime | None) -> int | None:
        """The last session of the connection that the leave names, unless its duration shows that it began later."""
        for index in reversed(past if event.connection_id is not None else ()):
            left_at = self.past[index].left_at
            if self.past[index].connection_id == event.connection_id:
                return None if named is not None and left_at is not None and named >= left_at else index
        return None

    def _close(self, person: _Person, session: Session, at: datetime, reason: EndReason) -> None:
        person.past = [*person.past[1 - _REMEMBERED :], len(self.past)]
        self.past.append(_ended(session, at, reason))

    def _ended_before(self, past: Sequence[int], event: ParticipantLeft, named: datetime | None) -> int | None:
        """The user's last session, if a leave that finds no stay belongs to it."""
        if not past:
            return None
        index = past[-1]
        last = self.past[index]
        if last.left_at is None or (named is not None and named >= last.left_at):
            return None
        is_late = last.reason in ("room_ended", "room_recreated") and index not in self._confirmed
        return index if is_late or _is_just_after(event.occurred_at, last.left_at) else None

    def _confirm(self, index: int, event: ParticipantLeft) -> None:
        """Complete a session that has ended from a leave that came late."""
        self._confirmed.add(index)
        session = self.past[index]
        if session.joined_at is None and session.left_at is not None and session.reason is not None:
            joined = replace(session, joined_at=_named_start(event))
            self.past[index] = _ended(joined, session.left_at, session.reason)


def _place_of(connection_id: str | None, stays: Sequence[Session]) -> int | None:
    """Where the stay of a connection is; None without a connection, or where none has it."""
    if connection_id is None:
        return None
    return next((place for place, stay in enumerate(stays) if stay.connection_id == connection_id), None)


def _of_connection(stays: Sequence[Session], event: ParticipantLeft) -> Sequence[Session]:
    return [stay for stay in stays if event.connection_id is not None and stay.connection_id == event.connection_id]


def _may_be(session: Session, event: ParticipantLeft) -> bool:
    """Whether nothing shows that the leave is of another connection or of another life of the room."""
    return _fits(session.connection_id, event.connection_id) and _fits(session.session_id, event.session_id)


def _fits(one: str | None, other: str | None) -> bool:
    return one is None or other is None or one == other


def _described(session: Session, event: ParticipantJoined | ParticipantLeft) -> Session:
    """The session with what the event says of its user."""
    return replace(
        session,
        role=event.role or session.role,
        platform=(event.platform if isinstance(event, ParticipantJoined) else None) or session.platform,
        kind=event.kind or session.kind,
        display_name=event.display_name or session.display_name,
        role_name=event.role_name or session.role_name,
        connection_id=event.connection_id or session.connection_id,
        session_id=event.session_id or session.session_id,
    )


def _whole(stays: Sequence[Session]) -> Session:
    """Stays as one session: since the first, with the latest role and platform."""
    return replace(stays[-1], joined_at=stays[0].joined_at)


def _ended(session: Session, at: datetime, reason: EndReason) -> Session:
    duration_s = None if session.joined_at is None else (at - session.joined_at).total_seconds()
    return replace(session, left_at=at, reason=reason, duration_s=duration_s)


def _named_start(event: ParticipantLeft) -> datetime | None:
    """When the session began that the leave ends, if the leave says so."""
    if event.duration_s is None:
        return None
    try:
        return event.occurred_at - timedelta(seconds=event.duration_s)
    except OverflowError:  # the duration is the sender's, and may be any number
        return None


def _distance(session: Session, at: datetime) -> timedelta:
    return timedelta.max if session.joined_at is None else abs(session.joined_at - at)


def _is_just_after(at: datetime, ended_at: datetime | None) -> bool:
    return ended_at is not None and at - ended_at <= LATE
