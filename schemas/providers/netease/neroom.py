"""D: events of NERoom and NEMeeting.

The fields of the meeting events are not known, and the room events tell the same, so the former stay unknown.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hookline.schemas.envelope import Identity
from hookline.schemas.errors import Unreadable
from hookline.schemas.events import (
    CanonicalEvent,
    ParticipantJoined,
    ParticipantLeft,
    RoomCreated,
    RoomEnded,
    RoomUpdated,
    event_topic,
)
from hookline.schemas.payload import (
    Id,
    Number,
    Whole,
    optional_text,
    read_again,
    unix_s,
)
from hookline.schemas.provider import Sample
from hookline.schemas.providers.netease.reading import Made, Reader, milliseconds, optional_number
from hookline.schemas.providers.netease.roles import role_fields

EVENTS: Mapping[str, type[CanonicalEvent]] = {
    "CREATE_ROOM": RoomCreated,
    "CLOSE_ROOM": RoomEnded,
    "USER_JOIN_ROOM": ParticipantJoined,
    "USER_LEAVE_ROOM": ParticipantLeft,
    "MEETING_INFO_CHANGE": RoomUpdated,
}
TOPICS: Mapping[str, str] = {kind: event_topic(event) for kind, event in EVENTS.items()}
ABOUT_USERS = ("USER_JOIN_ROOM", "USER_LEAVE_ROOM")


class NeRoomUser(Whole, frozen=True, kw_only=True, rename="camel"):
    role: str | None = None
    user_uuid: Id


class NeRoomBody(Whole, frozen=True, rename="camel"):
    """`roomArchiveId` is one life of a room."""

    room_archive_id: Id | None = None
    room_uuid: Id | None = None
    operator_user_uuid: Id | None = None
    users: tuple[NeRoomUser, ...] = ()
    subject: str | None = None
    owner_user_uuid: Id | None = None
    state: Any = None


class NeRoom(Whole, frozen=True, kw_only=True, rename="camel"):
    request_id: Id
    word: Id | None = msgspec.field(name="eventType", default=None)
    timestamp: Number | None = None
    body: NeRoomBody


class Notice(NeRoom, frozen=True, kw_only=True):
    """A whole callback, without what would make it one of F."""

    word: Id = msgspec.field(name="eventType")
    room_uuid: None = None


class Changes(msgspec.Struct, frozen=True):
    body: dict[str, Any]


whole_notice = msgspec.json.Decoder(Notice)
_changes = msgspec.json.Decoder(Changes)


def _identify(kind: str, notice: NeRoom, _body: bytes) -> Identity | None:
    about = notice.body
    if about.room_uuid is None:
        return None
    _check_users(kind, about)
    occurred_s = unix_s(optional_number(notice.timestamp))
    return Identity(TOPICS[kind], (str(notice.request_id),), str(about.room_uuid), occurred_s)


def _make(kind: str, notice: NeRoom, body: bytes) -> Sequence[Made]:
    about = notice.body
    if about.room_uuid is None:
        return ()
    _check_users(kind, about)
    shared = {"room_id": str(about.room_uuid), "session_id": optional_text(about.room_archive_id)}
    return [Made(EVENTS[kind], {**shared, **fields}) for fields in _ne_room_fields(kind, about, body)]


def _check_users(kind: str, about: NeRoomBody) -> None:
    if kind in ABOUT_USERS and not about.users:
        raise Unreadable("the body names no user")


def _ne_room_fields(kind: str, about: NeRoomBody, body: bytes) -> Sequence[Mapping[str, Any]]:
    match kind:
        case "USER_JOIN_ROOM" | "USER_LEAVE_ROOM":
            users = sorted({str(user.user_uuid): user.role for user in about.users}.items())
            return [{"user_id": user, **role_fields(role)} for user, role in users]
        case "MEETING_INFO_CHANGE":
            sent = read_again(_changes, body).body
            changes = {name: value for name, value in sent.items() if name not in ("roomUuid", "roomArchiveId")}
            return [{"name": about.subject, "owner_id": optional_text(about.owner_user_uuid), "changes": changes}]
        case _:
            return [{"operator_id": optional_text(about.operator_user_uuid)}]


READERS: Mapping[str, Reader] = dict.fromkeys(EVENTS, Reader(msgspec.json.Decoder(NeRoom), _identify, _make))


def _ne_room_sample(kind: str, **fields: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        room = {"roomArchiveId": str(n), "roomUuid": f"lesson-{n}"}
        return {
            "requestId": f"request-{n}-{kind.lower()}",
            "eventType": kind,
            "timestamp": milliseconds(at_s, int),
            "body": {**room, **fields},
        }

    return Sample(kind, body)


SAMPLES = (
    _ne_room_sample("CREATE_ROOM", operatorUserUuid="teacher"),
    _ne_room_sample("USER_JOIN_ROOM", users=[{"role": "host", "userUuid": "teacher"}]),
    _ne_room_sample("MEETING_INFO_CHANGE", subject="Demo", ownerUserUuid="teacher", state=2),
    _ne_room_sample("USER_LEAVE_ROOM", users=[{"role": "host", "userUuid": "teacher"}]),
    _ne_room_sample("CLOSE_ROOM", operatorUserUuid="teacher"),
)
