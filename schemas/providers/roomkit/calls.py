"""Calls (`Call.`) of TUICallKit, at RoomKit's URL.

Sources: trtc.io 68940, 68941 and 69215 (calls and their members), 80345 (recording). A page spells one action in two
ways, so actions are compared without case, blanks and underscores. Some callbacks name their command in the query only.
Inferred: who hangs up in a call has not left a room, so that is kept as unknown.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from hookline.schemas.drafts import Draft
from hookline.schemas.envelope import Identity
from hookline.schemas.events import (
    CallAnswered,
    CallDeclined,
    CallEnded,
    CallResult,
    CallStarted,
    DeclineReason,
    Media,
)
from hookline.schemas.payload import (
    Id,
    Number,
    Whole,
    number_s,
    optional_text,
    required,
    unix_moment,
)
from hookline.schemas.provider import Sample
from hookline.schemas.providers.roomkit.live import RECORDING_TOPICS, identify_recording, recording
from hookline.schemas.providers.roomkit.reading import Reader
from hookline.schemas.providers.trtc import Notice as TrtcNotice
from hookline.schemas.providers.trtc import notice_drafts
from hookline.schemas.unknown import all_facts

TYPES: Mapping[str, str | tuple[str, ...]] = {
    "Call.CallbackAfterStartCall": "call.started",
    "Call.CallbackAfterMemberChanged": ("call.answered", "call.declined"),
    "Call.CallbackAfterEndCall": "call.ended",
    "Call.CallbackAfterRecordChanged": RECORDING_TOPICS,
    "Call.CallbackAfterCloudRecordingChanged": RECORDING_TOPICS,  # as one sample names it
}
MEDIA: Mapping[str | None, Media] = {"Audio": "audio", "Video": "video"}
ANSWERED, DECLINED = "call.answered", "call.declined"
ANSWERS = ("accept", "answer", "join")
DECLINES: Mapping[str, DeclineReason] = {
    "reject": "rejected",
    "notanswer": "timeout",
    "offline": "offline",
    "callbusy": "busy",
    "busy": "busy",
    "cancelinvite": "cancelled",
    "canncelinvite": "cancelled",
}
RESULTS: Mapping[str | None, CallResult] = {
    "NormalEnd": "answered",
    "Reject": "rejected",
    "CallBusy": "busy",
    "NotAnswer": "timeout",
    "Cancel": "cancelled",
    "Interrupt": "interrupted",
}


class User(Whole, frozen=True, rename="pascal"):
    """`account` is a number beyond 2^53 in a sample."""

    account: Id | None = msgspec.field(name="User_Account", default=None)
    status: str | None = None
    action_type: str | None = None

    @property
    def action(self) -> str:
        return (self.action_type or "").lower().replace("_", "").replace(" ", "")


class Info(Whole, frozen=True, rename="pascal"):
    """`media_type` is what the page's table calls the media."""

    call_id: Id | None = None
    call_media_type: str | None = None
    media_type: str | None = None
    chat_group_id: Id | None = None
    room_id: Id | None = None
    room_id_type: Any = None


class Record(Whole, frozen=True, rename="pascal"):
    """Times are Unix seconds; `accept_time` is 0 for a call that nobody accepted."""

    call_id: Id | None = None
    caller: Id | None = msgspec.field(name="Caller_Account", default=None)
    media_type: str | None = None
    call_type: Any = None
    start_time: Number | None = None
    end_time: Number | None = None
    accept_time: Number | None = None
    call_result: str | None = None
    callees: tuple[Id, ...] = msgspec.field(name="CalleeList_Account", default=())
    room_id: Id | None = None
    room_id_type: Any = None


class Recording(TrtcNotice, frozen=True, kw_only=True, rename="pascal"):
    kit_type: Any = None


class Notice(Whole, frozen=True, rename="pascal"):
    """`event_time` is Unix milliseconds."""

    callback_command: Id | None = None
    call_id: Id | None = None
    room_id: Id | None = None
    call_info: Info = Info()
    call_record: Record = Record()
    callback: Recording | None = None
    user_list: tuple[User, ...] = ()
    changed_user_list: tuple[User, ...] = ()
    event_time: Number | None = None


whole_notice = msgspec.json.Decoder(Notice)


def _identify(command: str, notice: Notice, body: bytes) -> Identity | None:
    """The facts are command, call, time, and what became of which user. Without a time all fields are facts."""
    call = _call(notice)
    if notice.callback is not None:
        return identify_recording(command, notice.callback, call)
    topic = _topic(command, notice)
    if topic is None:
        return None
    occurred_s = number_s(notice.event_time)
    if occurred_s is None:
        return Identity(topic, all_facts(command, body), call, number_s(notice.call_record.end_time))
    changed = sorted([f"{user.action}:{user.account}" for user in notice.changed_user_list])
    return Identity(topic, (command, call, str(notice.event_time), *changed), call, occurred_s)


def _drafts(command: str, notice: Notice, _body: bytes) -> Sequence[Draft]:
    call = _call(notice)
    if notice.callback is not None:
        return notice_drafts(notice.callback)
    match command:
        case "Call.CallbackAfterStartCall":
            return _of_start(notice, call)
        case "Call.CallbackAfterMemberChanged":
            return _of_members(notice, call)
        case "Call.CallbackAfterEndCall":
            return [_of_end(notice.call_record, call)]
        case _:
            return []


READERS: Mapping[str, Reader] = dict.fromkeys(TYPES, Reader(whole_notice, _identify, _drafts))


def _call(notice: Notice) -> str:
    return required(notice.call_id or notice.call_info.call_id or notice.call_record.call_id, "CallId")


def _topic(command: str, notice: Notice) -> str | None:
    """The topic of the first of `drafts`."""
    match command:
        case "Call.CallbackAfterStartCall":
            return "call.started" if _callers(notice) else None
        case "Call.CallbackAfterMemberChanged":
            answering = _answering(notice)
            return (ANSWERED if answering[0].action in ANSWERS else DECLINED) if answering else None
        case "Call.CallbackAfterEndCall":
            return "call.ended"
        case _:
            return None


def _callers(notice: Notice) -> list[Id]:
    return [user.account for user in notice.user_list if user.status == "Calling" and user.account is not None]


class Answer(NamedTuple):
    """`action` is one of `ANSWERS` or `DECLINES`."""

    user_id: str
    action: str


def _answering(notice: Notice) -> Sequence[Answer]:
    """Those who have answered or declined, in an order that keeps their numbers."""
    acts = [Answer(str(user.account), user.action) for user in notice.changed_user_list if user.account is not None]
    return sorted([act for act in acts if act.action in ANSWERS or act.action in DECLINES])


def _of_start(notice: Notice, call: str) -> list[Draft]:
    """The first who calls is the caller; without one nobody knows whose call it is."""
    info, callers = notice.call_info, _callers(notice)
    if not callers:
        return []
    return [
        partial(
            CallStarted,
            caller_id=str(callers[0]),
            callee_ids=_accounts(user.account for user in notice.user_list if user.status == "Waiting"),
            media=MEDIA.get(info.call_media_type or info.media_type),
            call_id=call,
            room_id=optional_text(info.room_id),
            group_id=optional_text(info.chat_group_id) or None,
        )
    ]


def _accounts(accounts: Iterable[Id | None]) -> tuple[str, ...]:
    """Each account once, in the order in which they were called."""
    return tuple(dict.fromkeys(str(account) for account in accounts if account is not None))


def _of_members(notice: Notice, call: str) -> list[Draft]:
    about: dict[str, Any] = {"call_id": call, "room_id": optional_text(notice.room_id)}
    drafts: list[Draft] = []
    for user_id, action in _answering(notice):
        if action in ANSWERS:
            drafts.append(partial(CallAnswered, user_id=user_id, **about))
        else:
            drafts.append(partial(CallDeclined, user_id=user_id, reason=DECLINES[action], **about))
    return drafts


def _of_end(record: Record, call: str) -> Draft:
    """The sample counts the caller among the callees."""
    answered_s, ended_s = number_s(record.accept_time), number_s(record.end_time)
    return partial(
        CallEnded,
        call_id=call,
        caller_id=optional_text(record.caller),
        callee_ids=_accounts(user for user in record.callees if str(user) != str(record.caller)),
        media=MEDIA.get(record.media_type),
        result=RESULTS.get(record.call_result, "unknown"),
        started_at=unix_moment(record.start_time),
        answered_at=unix_moment(record.accept_time),
        ended_at=unix_moment(record.end_time),
        duration_s=None if answered_s is None or ended_s is None else round(ended_s - answered_s),
        room_id=optional_text(record.room_id),
    )


def _sample(command: str, fields: Mapping[str, Any], part: str | None = None) -> Sample:
    """A sample with its fields at the top, or in a part of their own."""

    def body(n: int, at_s: float) -> Any:
        about = {"CallId": f"call-{n}", **fields, **_times(command, at_s)}
        content = about if part is None else {part: about, **({"UserList": USERS} if part == "CallInfo" else {})}
        return {"CallbackCommand": command, **content, "EventTime": int(at_s * 1000)}

    return Sample(command, body)


def _times(command: str, at_s: float) -> dict[str, int]:
    end_s = int(at_s)
    return {"StartTime": end_s - 9, "AcceptTime": end_s - 7, "EndTime": end_s} if "EndCall" in command else {}


def _recorded(command: str) -> Sample:
    def body(n: int, at_s: float) -> Any:
        return {"CallbackCommand": command, "CallId": f"call-{n}", "Callback": recording(f"call-{n}", at_s)}

    return Sample(command, body)


USERS = [{"User_Account": "caller", "Status": "Calling"}, {"User_Account": "callee", "Status": "Waiting"}]
ENDED = {"Caller_Account": "caller", "MediaType": "Video", "CallResult": "NormalEnd", "CalleeList_Account": ["callee"]}


def _changed(action: str) -> Sample:
    changed = {"ChangedUserList": [{"User_Account": "callee", "ActionType": action}]}
    return _sample("Call.CallbackAfterMemberChanged", changed)


SAMPLES = (
    _sample("Call.CallbackAfterStartCall", {"CallMediaType": "Video"}, "CallInfo"),
    _changed("Accept"),
    _recorded("Call.CallbackAfterRecordChanged"),
    _recorded("Call.CallbackAfterCloudRecordingChanged"),
    _sample("Call.CallbackAfterEndCall", ENDED, "CallRecord"),
)
