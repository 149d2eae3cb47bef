"""C: copies of NERTC, audio/video 2.0.

Only the fields of types 1 to 3 are documented. For the others those that all have are read, where they are there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hookline.schemas.envelope import Identity
from hookline.schemas.events import (
    CanonicalEvent,
    ParticipantJoined,
    ParticipantJoinFailed,
    ParticipantLeft,
    ParticipantRoleChanged,
    RecordingUploaded,
    RoomCreated,
    RoomEnded,
    TrackPublished,
    TrackUnpublished,
    event_topic,
)
from hookline.schemas.payload import (
    Flag,
    Id,
    Number,
    Whole,
    flag,
    optional_text,
    unix_s,
)
from hookline.schemas.provider import Sample
from hookline.schemas.providers.netease.reading import Made, Reader, milliseconds, optional_number
from hookline.schemas.unknown import all_facts

CHANNEL = 10**18
EVENTS: Mapping[str, type[CanonicalEvent]] = {
    "1": RoomCreated,
    "2": RoomEnded,
    "3": RecordingUploaded,
    "4": ParticipantJoined,
    "5": ParticipantLeft,
    "6": ParticipantJoinFailed,
    "9": ParticipantRoleChanged,
    "10": ParticipantRoleChanged,
    "11": TrackPublished,
    "12": TrackUnpublished,
    "13": TrackPublished,
    "14": TrackUnpublished,
}
TOPICS: Mapping[str, str] = {kind: event_topic(event) for kind, event in EVENTS.items()}
WITHOUT_USER = ("1", "2", "3", "6")


class Rtc(Whole, frozen=True, rename="camel"):
    """The ids of channels are numbers beyond 2^53. One of the samples misspells `createtime`."""

    channel_id: Id | None = None
    channel_name: Id | None = None
    createtime: Number | None = None
    caller: Any = None
    filename: str | None = None
    md5: Any = None
    size: Number | None = None
    type: str | None = None
    url: str | None = None
    uid: Id | None = None
    task_id: Id | None = None
    mix: Flag | None = None
    vid: Id | None = None
    timestamp: Number | None = None


class RtcData(msgspec.Struct, frozen=True):
    data: Rtc


class Notice(Whole, frozen=True, kw_only=True, rename="camel"):
    """A whole callback, without what would make it one of D or F."""

    word: Id = msgspec.field(name="eventType")
    data: Rtc
    request_id: None = None
    room_uuid: None = None


whole_notice = msgspec.json.Decoder(Notice)


def _identify(kind: str, sent: Notice | RtcData, body: bytes) -> Identity | None:
    notice = sent.data
    channel = _channel(kind, notice)
    if channel is None:
        return None
    ms = optional_number(notice.timestamp)
    occurred_s = unix_s(ms) if ms is not None else unix_s(optional_number(notice.createtime)) if kind == "1" else None
    facts = _rtc_facts(kind, notice, ms) if occurred_s is not None or kind == "3" else all_facts(kind, body)
    return Identity(TOPICS[kind], facts, str(channel), occurred_s)


def _make(kind: str, sent: Notice | RtcData, _body: bytes) -> Sequence[Made]:
    notice = sent.data
    channel = _channel(kind, notice)
    return () if channel is None else [Made(EVENTS[kind], {"room_id": str(channel), **_rtc_fields(kind, notice)})]


def _channel(kind: str, notice: Rtc) -> Id | None:
    """The room of an event; None if there is none, or no user where there has to be one."""
    if notice.uid is None and kind not in WITHOUT_USER:
        return None
    return notice.channel_id if notice.channel_name is None else notice.channel_name


def _rtc_facts(kind: str, notice: Rtc, ms: int | None) -> tuple[str | int | None, ...]:
    """Several files of one recording differ in `vid` and name."""
    channel = notice.channel_id if notice.channel_id is not None else notice.channel_name
    facts = (kind, optional_text(channel), optional_text(notice.uid), ms)
    return (*facts, optional_text(notice.vid), notice.filename) if kind == "3" else facts


def _rtc_fields(kind: str, notice: Rtc) -> Mapping[str, Any]:
    session = {"session_id": None if notice.channel_name is None else optional_text(notice.channel_id)}
    match kind:
        case "1":
            return {**session, "name": optional_text(notice.channel_name)}
        case "2":
            return session
        case "3":
            return {**session, **_rtc_file(notice)}
        case "9" | "10":
            return {**session, "user_id": str(notice.uid or ""), "role": "audience" if kind == "9" else "host"}
        case "11" | "12" | "13" | "14":
            return {**session, "user_id": str(notice.uid or ""), "kind": "video" if kind in ("11", "12") else "audio"}
        case _:
            return {**session, "user_id": optional_text(notice.uid)}


def _rtc_file(notice: Rtc) -> Mapping[str, Any]:
    """The user of a mixed file is 0."""
    user, mixed = optional_text(notice.uid), flag(notice.mix)
    named_mixed = notice.filename is not None and "-mix" in notice.filename
    return {
        "user_id": None if user == "0" else user,
        "task_id": optional_text(notice.task_id),
        "recording_id": optional_text(notice.vid),
        "file_name": notice.filename,
        "format": notice.type,
        "mixed": True if named_mixed else mixed,
        "size_bytes": optional_number(notice.size),
        "url": notice.url,
    }


READERS: Mapping[str, Reader] = dict.fromkeys(EVENTS, Reader(msgspec.json.Decoder(RtcData), _identify, _make))


def _rtc_sample(kind: int, **fields: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        own = {name: value.format(n=n) if isinstance(value, str) else value for name, value in fields.items()}
        channel = {"channelId": CHANNEL + n, "channelName": f"demo-{n}"}
        return {"eventType": kind, "data": {**channel, **own, "timestamp": milliseconds(at_s, int)}}

    return Sample(str(kind), body)


SAMPLES = (
    _rtc_sample(1),
    _rtc_sample(4, uid=7),
    _rtc_sample(10, uid=7),
    _rtc_sample(11, uid=7),
    _rtc_sample(13, uid=7),
    _rtc_sample(6, uid=8),
    _rtc_sample(14, uid=7),
    _rtc_sample(12, uid=7),
    _rtc_sample(9, uid=7),
    _rtc_sample(5, uid=7),
    _rtc_sample(2),
    _rtc_sample(3, uid=0, filename="{n}-mix.mp4", vid="{n}", taskId="{n}", mix=True, size="2167", type="mp4"),
)
