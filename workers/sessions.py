"""The sessions of the people in one room, while the room's events are applied in order of time."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from hookline.schemas.events import LeaveReason, ParticipantJoined, ParticipantLeft, ParticipantRoleChanged, Role

RoomReason: TypeAlias = Literal["room_ended", "room_recreated"]
EndReason: TypeAlias = LeaveReason | RoomReason

LATE = timedelta(seconds=5)
"""What says so soon after an end that someone is inside, or has left, is older than its time."""
_ROUNDING = timedelta(seconds=1)
"""Providers round times and durations to seconds. What is no further apart counts as the same time."""
_REMEMBERED = 8
"""How many open stays, and how many past ones, of one user are compared with a leave."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One stay of one user. `joined_at` is None if no join event arrived, `left_at` while the session lasts.

    The reason `room_ended` means that the room's end ended it. With `room_recreated` the room was created again while
    the user was inside, and no end had arrived: the user left at `left_at` at the latest.
    """

    user_id: str
    joined_at: datetime | None
    left_at: datetime | None = None
    role: Role | None = None
    platform: str | None = None
    reason: EndReason | None = None
    duration_s: float | None = None


class _Person:
    """One user: the stays that last, by time of joining, and the past ones by their places in `Sessions.past`."""

    def __init__(self) -> None:
        self.stays: list[Session] = []
        self.past: list[int] = []


class Sessions:
    """The people of a room. A leave that names its session by a duration ends that one, whatever else lasts.

    `past` holds the sessions that ended.
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
        if stays and stays[-1].joined_at is None:  # known from a seat or a role until now
            before = replace(stays.pop(), joined_at=event.occurred_at)
        elif stays:
            before = replace(stays[-1], joined_at=event.occurred_at)
        else:
            before = Session(user_id=event.user_id, joined_at=event.occurred_at)
        stays.append(replace(before, role=event.role or before.role, platform=event.platform or before.platform))
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
            stays[-1] = replace(stays[-1], role=event.role or stays[-1].role)

    def leaves_before_joins(self, event: ParticipantLeft, *, joins_now: bool) -> bool:
        """Whether a leave ends a stay from before, rather than one that begins at the same time."""
        stays = self._person(event.user_id).stays
        named = _named_start(event)
        if not stays or named is None or not joins_now:
            return bool(stays)
        return any(_distance(stay, named) <= abs(event.occurred_at - named) for stay in stays)

    def leave(self, event: ParticipantLeft) -> None:
        """End the stay that the leave names by its duration, or else the user's only one.

        A leave that comes after the session was ended, by the room or by another leave, adds no session.
        """
        person, named = self._person(event.user_id), _named_start(event)
        if named is not None:
            stays = [stay for stay in person.stays if _distance(stay, named) <= _ROUNDING]
            past = [index for index in person.past if _distance(self.past[index], named) <= _ROUNDING]
            if stays:
                self._end_stays(person, stays, event)
                return
            if past:
                self._confirm(past[-1], event)
                return
        if person.stays:
            self._end_stays(person, person.stays, event)
        elif (index := self._ended_before(person, event, named)) is not None:
            self._confirm(index, event)
        else:
            session = Session(user_id=event.user_id, joined_at=named, role=event.role)
            self._close(person, session, event.occurred_at, event.reason)

    def close_all(self, at: datetime, reason: RoomReason) -> None:
        """End the session of everyone who is inside."""
        for person in self._inside.values():
            session, person.stays = _whole(person.stays), []
            self._close(person, session, at, reason)
        self._inside.clear()

    def _person(self, user_id: str) -> _Person:
        person = self._people.get(user_id)
        if person is None:
            person = self._people[user_id] = _Person()
        return person

    def _end_stays(self, person: _Person, stays: list[Session], event: ParticipantLeft) -> None:
        """End these stays as one session; the others last."""
        session = _whole(stays)
        person.stays = [stay for stay in person.stays if stay not in stays]
        if not person.stays:
            del self._inside[event.user_id]
        joined_at = session.joined_at or _named_start(event)
        session = replace(session, joined_at=joined_at, role=event.role or session.role)
        self._close(person, session, event.occurred_at, event.reason)

    def _close(self, person: _Person, session: Session, at: datetime, reason: EndReason) -> None:
        person.past = [*person.past[1 - _REMEMBERED :], len(self.past)]
        self.past.append(_ended(session, at, reason))

    def _ended_before(self, person: _Person, event: ParticipantLeft, named: datetime | None) -> int | None:
        """The user's last session, if a leave that finds no stay belongs to it."""
        if not person.past:
            return None
        index = person.past[-1]
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


def _whole(stays: list[Session]) -> Session:
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
