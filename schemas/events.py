"""The canonical events: what every provider's callbacks become, as a tagged union of frozen structs.

The tag is the event's topic (`room.created`). Identifiers are text, because providers send integers beyond 2^53,
which many JSON readers round. Optional fields are `None` where the provider says nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, get_args

import msgspec

__all__ = [
    "EVENT_TYPES",
    "CallStarted",
    "CanonicalEvent",
    "Event",
    "EventHead",
    "EventT",
    "LeaveReason",
    "Media",
    "ParticipantJoined",
    "ParticipantLeft",
    "ParticipantRoleChanged",
    "Recording",
    "RecordingCompleted",
    "RecordingStarted",
    "RecordingUploaded",
    "Role",
    "RoomCreated",
    "RoomEnded",
    "RoomUpdated",
    "Seat",
    "SeatsChanged",
    "Unknown",
    "event_topic",
]

Role: TypeAlias = Literal["host", "audience"]
LeaveReason: TypeAlias = Literal["left", "disconnected", "removed", "expired", "unknown"]
Media: TypeAlias = Literal["audio", "video"]


class EventHead(TypedDict):
    """The fields that all events share, as keyword arguments for building one."""

    id: str
    provider: str
    source: str
    occurred_at: datetime
    received_at: datetime
    provider_type: str


class CanonicalEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """The fields of every event.

    `occurred_at` is the provider's time of the event, or its sending time where it gives no other. It is `received_at`
    where the provider gives none, or one before 2015 or more than an hour after the receipt. Both times are aware and
    in UTC. `provider_type` is the provider's own name of the type.
    """

    id: str
    provider: str
    source: str
    occurred_at: datetime
    received_at: datetime
    provider_type: str


class RoomDetails(CanonicalEvent, frozen=True, kw_only=True):
    """The fields that the two events about a room's details share."""

    room_id: str
    name: str | None = None
    owner_id: str | None = None
    operator_id: str | None = None
    custom: str | None = None


class RoomCreated(RoomDetails, frozen=True, kw_only=True, tag="room.created"):
    pass


class RoomUpdated(RoomDetails, frozen=True, kw_only=True, tag="room.updated"):
    """`changes` holds what the provider sent about the room, under the provider's names."""

    changes: Mapping[str, Any] = {}


class RoomEnded(CanonicalEvent, frozen=True, kw_only=True, tag="room.ended"):
    room_id: str
    operator_id: str | None = None


class ParticipantJoined(CanonicalEvent, frozen=True, kw_only=True, tag="participant.joined"):
    room_id: str
    user_id: str
    role: Role | None = None
    platform: str | None = None


class ParticipantLeft(CanonicalEvent, frozen=True, kw_only=True, tag="participant.left"):
    room_id: str
    user_id: str
    role: Role | None = None
    reason: LeaveReason = "unknown"
    duration_s: int | None = None


class ParticipantRoleChanged(CanonicalEvent, frozen=True, kw_only=True, tag="participant.role_changed"):
    """`role` is the role after the change."""

    room_id: str
    user_id: str
    role: Role


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


class CallStarted(CanonicalEvent, frozen=True, kw_only=True, tag="call.started"):
    caller_id: str
    callee_ids: tuple[str, ...] = ()
    media: Media | None = None
    custom: str | None = None


class Recording(CanonicalEvent, frozen=True, kw_only=True):
    """The fields of the three recording events; `segment` counts the files of one task from 0."""

    room_id: str
    user_id: str | None = None
    task_id: str | None = None
    segment: int | None = None
    directory: str | None = None
    file_name: str | None = None
    mixed: bool | None = None


class RecordingStarted(Recording, frozen=True, kw_only=True, tag="recording.started"):
    pass


class RecordingCompleted(Recording, frozen=True, kw_only=True, tag="recording.completed"):
    pass


class RecordingUploaded(Recording, frozen=True, kw_only=True, tag="recording.uploaded"):
    pass


class Unknown(CanonicalEvent, frozen=True, kw_only=True, tag="unknown"):
    """A genuine callback of a type that we do not know; `payload` is its decoded JSON."""

    payload: Any = None


Event: TypeAlias = (
    RoomCreated
    | RoomUpdated
    | RoomEnded
    | ParticipantJoined
    | ParticipantLeft
    | ParticipantRoleChanged
    | SeatsChanged
    | CallStarted
    | RecordingStarted
    | RecordingCompleted
    | RecordingUploaded
    | Unknown
)
EventT = TypeVar("EventT", bound=CanonicalEvent)

EVENT_TYPES: Mapping[str, type[CanonicalEvent]] = {event.__struct_config__.tag: event for event in get_args(Event)}
"""The canonical events by topic, such as `room.created`."""


def event_topic(event: type[CanonicalEvent] | CanonicalEvent) -> str:
    """The topic of an event or of its class, such as `room.created`."""
    return str(event.__struct_config__.tag)
