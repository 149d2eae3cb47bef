"""F: the online classroom.

Source: events.md of netease-kit/WisdomEducation, whose samples often repeat a neighbour's `cmd`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hookline.schemas.envelope import Identity
from hookline.schemas.events import (
    CanonicalEvent,
    ParticipantJoined,
    ParticipantLeft,
    RoomCreated,
    RoomEnded,
    RoomUpdated,
    TrackKind,
    TrackPublished,
    TrackUnpublished,
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
from hookline.schemas.providers.netease.reading import Made, Reader, milliseconds
from hookline.schemas.providers.netease.roles import role_fields
from hookline.schemas.unknown import all_facts

STREAMS: Mapping[str, TrackKind] = {"audio": "audio", "video": "video", "subVideo": "screen"}

ON, OFF = 1, 0
TYPES = ("1", "2", "10", "11", "30", "31", "40", "41", "50", "51")
EVENTS: Mapping[str, type[CanonicalEvent]] = {
    "30": ParticipantJoined,
    "31": ParticipantLeft,
    "50": RoomCreated,
    "51": RoomEnded,
}
TOPICS: Mapping[str, str] = {kind: event_topic(event) for kind, event in EVENTS.items()}


class ClassStream(Whole, frozen=True):
    value: Int | None = None
    time: Number | None = None


class ClassMember(Whole, frozen=True, kw_only=True, rename="camel"):
    properties: Any = None
    streams: Any = None
    role: str | None = None
    user_name: str | None = None
    user_uuid: Id
    rtc_uid: Id | None = None
    time: Number | None = None


class ClassData(Whole, frozen=True, rename="camel"):
    members: tuple[ClassMember, ...] = ()
    member: ClassMember | None = None
    operator_member: ClassMember | None = None
    streams: dict[str, ClassStream | None] = msgspec.field(default_factory=dict)
    stream_type: str | None = None
    key: str | None = None
    states: dict[str, Any] | None = None
    properties: dict[str, Any] | None = None


class ClassNotice(Whole, frozen=True, kw_only=True, rename="camel"):
    """`sequence` counts the events of one room from 1. Most samples have no `timestamp`."""

    sequence: Int | None = None
    app_key: Id | None = None
    room_uuid: Id
    type: Any = None
    word: Id = msgspec.field(name="cmd")
    version: Any = None
    data: ClassData = ClassData()
    timestamp: Number | None = None


whole_notice = msgspec.json.Decoder(ClassNotice)


def _identify(kind: str, notice: ClassNotice, body: bytes) -> Identity | None:
    topic = _first_topic(kind, notice.data)
    if topic is None:
        return None
    room, occurred_s = str(notice.room_uuid), unix_s(_class_time(notice))
    if notice.sequence is None:
        return Identity(topic, all_facts(kind, body), room, occurred_s)
    return Identity(topic, (optional_text(notice.app_key), room, str(notice.sequence)), room, occurred_s)


def _make(kind: str, notice: ClassNotice, _body: bytes) -> Sequence[Made]:
    room = str(notice.room_uuid)
    return [Made(event, {"room_id": room, **fields}) for event, fields in _class_events(kind, notice.data)]


def _first_topic(kind: str, data: ClassData) -> str | None:
    """The topic of the first of `_class_events`; None if there are none."""
    match kind:
        case "30" | "31":
            return TOPICS[kind] if data.members else None
        case "40" if data.member is not None:
            values = [stream.value for stream in data.streams.values() if stream is not None]
            return "track.published" if ON in values else "track.unpublished" if OFF in values else None
        case "40" | "41":
            return None if data.member is None else "track.unpublished"
        case _:
            return TOPICS.get(kind, "room.updated")


def _class_time(notice: ClassNotice) -> int | None:
    """The time of the callback, or else the latest of the members or streams that it names."""
    if notice.timestamp is not None:
        return number(notice.timestamp)
    times = [
        *(member.time for member in notice.data.members),
        *(stream.time for stream in _streams(notice.data).values()),
    ]
    return max((number(time) for time in times if time is not None), default=None)


def _streams(data: ClassData) -> Mapping[str, ClassStream]:
    return {name: stream for name, stream in sorted(data.streams.items()) if stream is not None}


def _class_events(kind: str, data: ClassData) -> Sequence[Made]:
    match kind:
        case "30" | "31":
            members = sorted({str(member.user_uuid): member for member in data.members}.items())
            return [Made(EVENTS[kind], {**_class_member(member), **role_fields(member.role)}) for _, member in members]
        case "40" | "41":
            return _class_tracks(kind, data)
        case "50" | "51":
            operator = None if data.operator_member is None else str(data.operator_member.user_uuid)
            return [Made(EVENTS[kind], {"operator_id": operator})]
        case _:
            sent = data.states if data.states is not None else data.properties
            changes = {data.key: None} if sent is None and data.key is not None else sent
            return [Made(RoomUpdated, {"changes": changes or {}})]


def _class_member(member: ClassMember) -> dict[str, Any]:
    about = {"display_name": member.user_name, "connection_id": optional_text(member.rtc_uid)}
    return {"user_id": str(member.user_uuid), **about}


def _class_tracks(kind: str, data: ClassData) -> Sequence[Made]:
    """One event for each stream: what is published first, then what no longer is."""
    if data.member is None:
        return []
    who = _class_member(data.member)
    del who["display_name"]
    if kind == "41":
        named = data.stream_type if data.stream_type is not None else data.key
        return [Made(TrackUnpublished, {**who, "kind": STREAMS.get(named or "")})]
    streams = _streams(data).items()
    return [
        Made(event, {**who, "kind": STREAMS.get(name)})
        for event, value in ((TrackPublished, ON), (TrackUnpublished, OFF))
        for name, stream in streams
        if stream.value == value
    ]


READERS: Mapping[str, Reader] = dict.fromkeys(TYPES, Reader(whole_notice, _identify, _make))


def _class_sample(sequence: int, cmd: int, **data: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        room = {"appKey": "example-app-key", "roomUuid": f"class-{n}", "type": "R"}
        sent = {"cmd": cmd, "version": 1, "data": data, "timestamp": milliseconds(at_s, int)}
        return {"sequence": sequence, **room, **sent}

    return Sample(str(cmd), body)


TEACHER = {"properties": {}, "streams": {}, "role": "host", "userName": "Teacher", "userUuid": "teacher", "rtcUid": 3}

SAMPLES = (
    _class_sample(1, 50, operatorMember=TEACHER),
    _class_sample(2, 30, members=[TEACHER], operatorMember=TEACHER),
    _class_sample(3, 1, states={"step": {"value": 1}}),
    _class_sample(4, 40, member=TEACHER, streams={"audio": {"value": 1}}),
    _class_sample(5, 41, member=TEACHER, streamType="audio"),
    _class_sample(6, 31, members=[TEACHER], operatorMember=TEACHER),
    _class_sample(7, 51, operatorMember=TEACHER),
)
