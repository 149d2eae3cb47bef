"""Live rooms (`Live.`) and their recordings (`Follow.`), at RoomKit's URL.

Sources: trtc.io 64413 (the list of commands), 64422 to 64424, 78191 and 78428; cloud.tencent.com 647/115659, 269/117545
and 269/72553 in excerpts. The samples are not valid JSON, so the form on the wire is inferred. Open: the pages on
metadata were not to be had, so their fields become `changes` as they are. When a room is dissolved, nobody inside is
reported as offline.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from hookline.schemas.drafts import Draft, draft_topic
from hookline.schemas.envelope import Identity
from hookline.schemas.events import (
    LeaveReason,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantRoleChanged,
    RoomCreated,
    RoomEnded,
    RoomEndReason,
    RoomUpdated,
)
from hookline.schemas.payload import Id, Number, Whole, number_s, optional_text, read_again, required, unknown_type
from hookline.schemas.provider import Sample
from hookline.schemas.providers.roomkit.reading import Reader
from hookline.schemas.providers.trtc import Notice as TrtcNotice
from hookline.schemas.providers.trtc import notice_drafts, notice_facts, notice_subject
from hookline.schemas.unknown import all_facts

FOLLOW = "Follow.CallbackAfterCloudRecordingChanged"
RECORDING_TOPICS = ("recording.started", "recording.completed", "recording.uploaded", "recording.failed")
TYPES: Mapping[str, str | tuple[str, ...]] = {
    "Live.CallbackAfterCreateRoom": "room.created",
    "Live.CallbackAfterUpdateRoomInfo": "room.updated",
    "Live.CallbackAfterSetMetadata": "room.updated",
    "Live.CallbackAfterDelMetadata": "room.updated",
    "Live.CallbackAfterChangeOwner": "room.updated",
    "Live.CallbackAfterDestroyRoom": "room.ended",
    "Live.CallbackAfterMemberStateChanged": ("participant.joined", "participant.left"),
    "Live.CallbackMemberStateChanged": ("participant.joined", "participant.left"),  # as the URL of the page names it
    "Live.CallbackAfterModifyAdmin": "participant.role_changed",
    FOLLOW: RECORDING_TOPICS,
}
REASONS: Mapping[Id | None, RoomEndReason] = {"DestroyByUser": "closed"}
CAUSES: Mapping[str | None, LeaveReason] = {"Leave": "left", "HeartbeatInterrupt": "disconnected"}
NO_CHANGES = ("CallbackCommand", "RoomId", "Operator_Account", "EventTime")
ADMIN = "admin"
MODIFY_ADMIN = "Live.CallbackAfterModifyAdmin"
# Which event the members of a callback become, by their state or by what was done to them.
STATES: Mapping[Id | None, str] = {"Online": "participant.joined", "Offline": "participant.left"}
ACTIONS: Mapping[str | None, str] = dict.fromkeys(("add", "delete"), "participant.role_changed")


class Info(Whole, frozen=True, rename="pascal"):
    """`create_time` is Unix seconds."""

    room_id: Id | None = None
    room_name: str | None = None
    room_type: Any = None
    owner: Id | None = msgspec.field(name="Owner_Account", default=None)
    max_member_count: Any = None
    is_message_disabled: Any = None
    custom_info: str | None = None
    is_seat_enabled: Any = None
    take_seat_mode: Any = None
    max_seat_count: Any = None
    create_time: Number | None = None
    is_public_visible: Any = None
    cover_url: Any = msgspec.field(name="CoverURL", default=None)
    activity_status: Any = None
    category: Any = None


class Member(Whole, frozen=True):
    account: Id | None = msgspec.field(name="Member_Account", default=None)


class Notice(Whole, frozen=True, rename="pascal"):
    """`event_time` is Unix milliseconds; the sample of a created room has none."""

    callback_command: Id | None = None
    operator: Id | None = msgspec.field(name="Operator_Account", default=None)
    room_id: Id | None = None
    room_info: Info = Info()
    event_type: Id | None = None
    event_cause: str | None = None
    member_list: tuple[Member, ...] = ()
    new_owner: Id | None = msgspec.field(name="CurrentOwner_Account", default=None)
    old_owner: Any = msgspec.field(name="OriginalOwner_Account", default=None)
    admins: tuple[Id, ...] = msgspec.field(name="Admin_Account", default=())
    action: str | None = msgspec.field(name="opType", default=None)
    metadata: Any = None  # this and the next are inferred
    keys: Any = None
    event_time: Number | None = None

    @property
    def accounts(self) -> list[str]:
        """Each account once, sorted, so that each has the same event id in whatever order a re-send lists them."""
        if not self.member_list and not self.admins:
            return []
        members = {str(member.account) for member in self.member_list if member.account is not None}
        return sorted(members.union(map(str, self.admins)))


class Recording(TrtcNotice, frozen=True, kw_only=True, rename="pascal"):
    callback_command: Id | None = None


class Everything(msgspec.Struct, frozen=True, rename="pascal"):
    room_info: dict[str, Any] = {}


whole_notice = msgspec.json.Decoder(Notice)
whole_recording = msgspec.json.Decoder(Recording)
_everything = msgspec.json.Decoder(Everything)
_fields = msgspec.json.Decoder(dict[str, Any])


def _identify(command: str, notice: Notice, body: bytes) -> Identity | None:
    """The facts are command, room, time, what has changed, and the members. Without a time all fields are facts."""
    room, accounts = _room(notice), notice.accounts
    topic = _topic(command, notice, accounts)
    if topic is None:
        return None
    time = notice.event_time if notice.event_time is not None else notice.room_info.create_time
    occurred_s = number_s(time)
    if occurred_s is None:
        return Identity(topic, all_facts(command, body), room)
    which = (optional_text(notice.event_type), notice.event_cause, notice.action, *accounts)
    return Identity(topic, (command, room, str(time), *which), room, occurred_s)


def _identify_recording(command: str, notice: Recording, _body: bytes) -> Identity:
    return identify_recording(command, notice)


def identify_recording(command: str, notice: TrtcNotice, call: str | None = None) -> Identity:
    """A recording, in TRTC's own form. Its robots leave their trace in the facts, and the time of sending does not."""
    drafts = notice_drafts(notice)
    topic = draft_topic(drafts[0]) if drafts else unknown_type(command)
    occurred_s = notice.event_info.occurred_s
    facts = (command, call, *notice_facts(notice, occurred_s))
    return Identity(topic, facts, call or notice_subject(notice), occurred_s)


def _drafts(command: str, notice: Notice, body: bytes) -> Sequence[Draft]:
    room = _room(notice)
    match command.removeprefix("Live.Callback").removeprefix("After"):
        case "MemberStateChanged":
            return _of_members(notice, room)
        case "ModifyAdmin":
            return _of_admins(notice, room)
        case "CreateRoom":
            return [partial(RoomCreated, **_about(notice, room))]
        case "DestroyRoom":
            reason = REASONS.get(notice.event_type)
            return [partial(RoomEnded, room_id=room, operator_id=optional_text(notice.operator), reason=reason)]
        case change:
            return [partial(RoomUpdated, **{**_about(notice, room), **_changed(change, notice, body)})]


def _recording_drafts(_command: str, notice: Recording, _body: bytes) -> Sequence[Draft]:
    return notice_drafts(notice)


READERS: Mapping[str, Reader] = {
    **dict.fromkeys(TYPES, Reader(whole_notice, _identify, _drafts)),
    FOLLOW: Reader(whole_recording, _identify_recording, _recording_drafts),
}


def _topic(command: str, notice: Notice, accounts: Sequence[str]) -> str | None:
    """The topic of the first of `drafts`."""
    if command == MODIFY_ADMIN:
        return ACTIONS.get(notice.action) if accounts else None
    topic = TYPES[command]
    if isinstance(topic, str):
        return topic
    return STATES.get(notice.event_type) if accounts else None


def _room(notice: Notice) -> str:
    return required(notice.room_id if notice.room_id is not None else notice.room_info.room_id, "RoomId")


def _changed(change: str, notice: Notice, body: bytes) -> dict[str, Any]:
    match change:
        case "ChangeOwner":
            return {"owner_id": optional_text(notice.new_owner)}
        case "UpdateRoomInfo":
            info = read_again(_everything, body).room_info
            return {"changes": {name: value for name, value in info.items() if name != "RoomId"}}
        case _:
            fields = read_again(_fields, body)
            return {"changes": {name: value for name, value in fields.items() if name not in NO_CHANGES}}


def _about(notice: Notice, room: str) -> dict[str, Any]:
    info = notice.room_info
    return {
        "room_id": room,
        "name": info.room_name,
        "owner_id": optional_text(info.owner),
        "operator_id": optional_text(notice.operator),
        "custom": info.custom_info,
    }


def _of_members(notice: Notice, room: str) -> list[Draft]:
    match notice.event_type:
        case "Online":
            again = True if notice.event_cause == "HeartbeatRecover" else None
            return [partial(ParticipantJoined, room_id=room, user_id=user, rejoined=again) for user in notice.accounts]
        case "Offline":
            reason = CAUSES.get(notice.event_cause, "unknown")
            return [partial(ParticipantLeft, room_id=room, user_id=user, reason=reason) for user in notice.accounts]
        case _:
            return []


def _of_admins(notice: Notice, room: str) -> list[Draft]:
    match notice.action:
        case "add":
            role: dict[str, Any] = {"role_name": ADMIN}
        case "delete":
            role = {"previous_role_name": ADMIN}
        case _:
            return []
    return [partial(ParticipantRoleChanged, room_id=room, user_id=user, **role) for user in notice.accounts]


def _sample(command: str, **fields: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        room = {"RoomId": f"live-{n}"}
        about = {"RoomInfo": {**room, **fields}} if command.endswith(("CreateRoom", "RoomInfo")) else {**room, **fields}
        sent = {"CallbackCommand": command, "Operator_Account": "host", **about}
        return {**sent, "EventTime": int(at_s * 1000)}

    return Sample(command, body)


def _member(command: str, state: str, cause: str) -> Sample:
    return _sample(command, EventType=state, EventCause=cause, MemberList=[{"Member_Account": "viewer"}])


def _recorded(command: str) -> Sample:
    def body(n: int, at_s: float) -> Any:
        return {"CallbackCommand": command, **recording(f"live-{n}", at_s)}

    return Sample(command, body)


def recording(room: str, at_s: float) -> Any:
    """The start of a sample recording, in TRTC's form."""
    ms = int(at_s * 1000)
    info = {"RoomId": room, "EventMsTs": ms, "UserId": "robot", "TaskId": f"task-{room}", "Payload": {"Status": 0}}
    return {"EventGroupId": 3, "EventType": 301, "CallbackTs": ms + 90, "EventInfo": info}


MEMBER_STATE = "Live.CallbackAfterMemberStateChanged"
SAMPLES = (
    _sample("Live.CallbackAfterCreateRoom", RoomName="Demo", RoomType="Live", Owner_Account="host"),
    _member(MEMBER_STATE, "Online", "Enter"),
    _member("Live.CallbackMemberStateChanged", "Online", "HeartbeatRecover"),
    _sample(MODIFY_ADMIN, Admin_Account=["viewer"], opType="add"),
    _sample("Live.CallbackAfterUpdateRoomInfo", RoomName="Demo, renamed"),
    _sample("Live.CallbackAfterSetMetadata", Metadata=[{"Key": "topic", "Value": "demo"}]),
    _sample("Live.CallbackAfterDelMetadata", Keys=["topic"]),
    _recorded(FOLLOW),
    _sample("Live.CallbackAfterChangeOwner", CurrentOwner_Account="viewer", OriginalOwner_Account="host"),
    _member(MEMBER_STATE, "Offline", "Leave"),
    _sample("Live.CallbackAfterDestroyRoom", EventType="DestroyByUser"),
)
