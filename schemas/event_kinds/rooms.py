"""Rooms, the people in them and before their door, and seats."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from hookline.schemas.event_kinds.head import CanonicalEvent

Role: TypeAlias = Literal["host", "audience"]
LeaveReason: TypeAlias = Literal["left", "disconnected", "removed", "expired", "unknown"]
ParticipantKind: TypeAlias = Literal["person", "robot", "phone", "agent"]
RoomEndReason: TypeAlias = Literal["empty", "closed", "expired", "error"]


class RoomDetails(CanonicalEvent, frozen=True, kw_only=True):
    """The fields of the two events about a room's details. `session_id` is one life of a room, in all events."""

    room_id: str
    name: str | None = None
    owner_id: str | None = None
    operator_id: str | None = None
    custom: str | None = None
    session_id: str | None = None


class RoomCreated(RoomDetails, frozen=True, kw_only=True, tag="room.created"):
    pass


class RoomUpdated(RoomDetails, frozen=True, kw_only=True, tag="room.updated"):
    """`changes` holds what the provider sent about the room, under the provider's names."""

    changes: Mapping[str, Any] = {}


class RoomEnded(CanonicalEvent, frozen=True, kw_only=True, tag="room.ended"):
    room_id: str
    operator_id: str | None = None
    session_id: str | None = None
    reason: RoomEndReason | None = None
    duration_s: int | None = None


class ParticipantEvent(CanonicalEvent, frozen=True, kw_only=True):
    """The fields of the events about somebody inside a room.

    `connection_id` is one stay of one user, where the provider tells stays apart. `role_name` is the provider's own
    name of a role, where it has more than two.
    """

    room_id: str
    user_id: str
    role: Role | None = None
    session_id: str | None = None
    connection_id: str | None = None
    display_name: str | None = None
    role_name: str | None = None


class ParticipantJoined(ParticipantEvent, frozen=True, kw_only=True, tag="participant.joined"):
    """`rejoined` is true for somebody who was inside already."""

    platform: str | None = None
    kind: ParticipantKind | None = None
    rejoined: bool | None = None


class ParticipantLeft(ParticipantEvent, frozen=True, kw_only=True, tag="participant.left"):
    reason: LeaveReason = "unknown"
    duration_s: int | None = None
    kind: ParticipantKind | None = None


class ParticipantRoleChanged(ParticipantEvent, frozen=True, kw_only=True, tag="participant.role_changed"):
    """`role` and `role_name` are those after the change."""

    previous_role_name: str | None = None


class OutsideEvent(CanonicalEvent, frozen=True, kw_only=True):
    """The fields of the events about somebody who is not inside a room."""

    room_id: str
    user_id: str | None = None
    session_id: str | None = None
    connection_id: str | None = None
    display_name: str | None = None


class ParticipantJoinFailed(OutsideEvent, frozen=True, kw_only=True, tag="participant.join_failed"):
    error: str | None = None


class ParticipantWaiting(OutsideEvent, frozen=True, kw_only=True, tag="participant.waiting"):
    """Somebody waits to be let in."""


class ParticipantWaitingEnded(OutsideEvent, frozen=True, kw_only=True, tag="participant.waiting_ended"):
    """`admitted` is false for somebody who gave up or was turned away."""

    admitted: bool | None = None


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """One seat; `user_id` is None when it is empty."""

    index: int
    user_id: str | None = None
    taken_disabled: bool | None = None
    video_disabled: bool | None = None
    audio_disabled: bool | None = None


class SeatsChanged(CanonicalEvent, frozen=True, kw_only=True, tag="seats.changed"):
    room_id: str
    seats: tuple[Seat, ...] = ()
    session_id: str | None = None
