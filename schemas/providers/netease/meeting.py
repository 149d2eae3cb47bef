"""E: the old meeting component."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hookline.schemas.envelope import Identity
from hookline.schemas.events import (
    CanonicalEvent,
    ParticipantJoined,
    ParticipantLeft,
    RecordingUploaded,
    RoomCreated,
    RoomEnded,
    RoomEndReason,
    event_topic,
)
from hookline.schemas.payload import (
    Id,
    Int,
    Number,
    Whole,
    number,
    optional_text,
    unix_s,
)
from hookline.schemas.provider import Sample
from hookline.schemas.providers.netease.reading import Made, Reader, milliseconds, optional_number
from hookline.schemas.unknown import all_facts

END_REASONS: Mapping[int | None, RoomEndReason] = {1: "closed", 2: "empty", 3: "expired", 4: "closed"}
EVENTS: Mapping[str, type[CanonicalEvent]] = {
    "1": RoomCreated,
    "3": RoomEnded,
    "5": ParticipantJoined,
    "6": ParticipantLeft,
    "7": RecordingUploaded,
}
TOPICS: Mapping[str, str] = {kind: event_topic(event) for kind, event in EVENTS.items()}


class MeetingFile(Whole, frozen=True, rename="camel"):
    """`mix` is 1 for a mixed file, 2 for one of a single user."""

    account_id: Id | None = None
    filename: str | None = None
    size: Number | None = None
    type: str | None = None
    url: str | None = None
    mix: Number | None = None
    piece_index: Number | None = None


class MeetingBody(Whole, frozen=True, kw_only=True, rename="camel"):
    meeting_unique_id: Id | None = None
    meeting_id: Id
    time: Number | None = None
    subject: str | None = None
    type: Any = None
    reason: Int | None = None
    account_id: Id | None = None
    device_id: Any = None
    room_uid: Id | None = None
    file_info: MeetingFile | None = None


class Meeting(msgspec.Struct, frozen=True, rename="camel"):
    msg_body: MeetingBody


class Notice(Whole, frozen=True, kw_only=True, rename="camel"):
    """A whole callback, without what would make it one of another service."""

    word: Id = msgspec.field(name="msgType")
    msg_body: MeetingBody
    event_type: None = None
    event_type_too: None = msgspec.field(name="event_type", default=None)
    room_uuid: None = None


whole_notice = msgspec.json.Decoder(Notice)


def _identify(kind: str, sent: Notice | Meeting, body: bytes) -> Identity | None:
    notice = sent.msg_body
    if not _is_event(kind, notice):
        return None
    ms, room, file = optional_number(notice.time), str(notice.meeting_id), notice.file_info
    occurred_s = unix_s(ms)
    if occurred_s is None:
        return Identity(TOPICS[kind], all_facts(kind, body), room)
    account = notice.account_id if file is None or file.account_id is None else file.account_id
    which = optional_text(notice.meeting_unique_id), ms, optional_text(account), file.filename if file else None
    return Identity(TOPICS[kind], (kind, *which), room, occurred_s)


def _make(kind: str, sent: Notice | Meeting, _body: bytes) -> Sequence[Made]:
    notice = sent.msg_body
    if not _is_event(kind, notice):
        return ()
    shared = {"room_id": str(notice.meeting_id), "session_id": optional_text(notice.meeting_unique_id)}
    return [Made(EVENTS[kind], {**shared, **_meeting_fields(kind, notice, notice.file_info)})]


def _is_event(kind: str, notice: MeetingBody) -> bool:
    match kind:
        case "5" | "6":
            return notice.account_id is not None
        case "7":
            return notice.file_info is not None
        case _:
            return True


def _meeting_fields(kind: str, notice: MeetingBody, file: MeetingFile | None) -> Mapping[str, Any]:
    match kind:
        case "1":
            return {"name": notice.subject}
        case "3":
            return {"reason": END_REASONS.get(notice.reason)}
        case "7" if file is not None:
            return {
                "user_id": optional_text(file.account_id),
                "file_name": file.filename,
                "format": file.type,
                "segment": optional_number(file.piece_index),
                "mixed": None if file.mix is None else number(file.mix) == 1,
                "size_bytes": optional_number(file.size),
                "url": file.url,
            }
        case _:
            return {"user_id": str(notice.account_id or ""), "connection_id": optional_text(notice.room_uid)}


READERS: Mapping[str, Reader] = dict.fromkeys(EVENTS, Reader(msgspec.json.Decoder(Meeting), _identify, _make))


def _meeting_sample(kind: int, **fields: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        meeting = {"meetingUniqueId": n, "meetingId": f"meeting-{n}", "time": milliseconds(at_s, int)}
        return {"msgType": kind, "msgBody": {**meeting, **fields}}

    return Sample(str(kind), body)


SAMPLES = (
    _meeting_sample(1, subject="Demo", type=1),
    _meeting_sample(5, accountId="teacher", deviceId="device", roomUid=3),
    _meeting_sample(6, accountId="teacher", deviceId="device", roomUid=3),
    _meeting_sample(3, subject="Demo", type=1, reason=1),
    _meeting_sample(7, fileInfo={"filename": "demo.mp4", "size": 2167, "type": "mp4", "mix": 1, "pieceIndex": 0}),
)
