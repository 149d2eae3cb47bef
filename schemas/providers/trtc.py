"""Tencent TRTC: rooms, media, relay to CDN, cloud recording and web page recording.

Sources: trtc.io 39558 (groups 1 and 2), 54914 (groups 3 and 8), 54913 (group 4), and the older page on recording (308).
A number and a text for one room are one room here, as the pages mix them (inferred). Leaving a room ends the tracks of
a user without events of their own. Open: what `Sign` holds without a key, whether there is a check of the URL, values
of `Reason` for tracks, and addresses.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from hookline.schemas.drafts import Draft, draft_topic, finished
from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.errors import BadSignature
from hookline.schemas.events import (
    Event,
    LeaveReason,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantRoleChanged,
    RecordingCompleted,
    RecordingFailed,
    RecordingPaused,
    RecordingResumed,
    RecordingStarted,
    RecordingTrack,
    RecordingUploaded,
    Role,
    RoomCreated,
    RoomEnded,
    StreamFailed,
    StreamStarted,
    StreamStateChanged,
    StreamStopped,
    TrackKind,
    TrackPublished,
    TrackUnpublished,
)
from hookline.schemas.payload import (
    Id,
    Int,
    Number,
    Whole,
    number_s,
    optional_text,
    read_again,
    read_whole,
    recheck,
    required,
    unix_moment,
    unix_s,
    unknown_type,
)
from hookline.schemas.provider import (
    Example,
    Outgoing,
    Provider,
    Reply,
    Request,
    Sample,
    Source,
    fault_without_signature,
)
from hookline.schemas.signing import check_hmac, from_base64
from hookline.schemas.stream_url import scheme_of, without_key
from hookline.schemas.unknown import all_facts, normalise_unknown

TYPES: Mapping[str, str | tuple[str, ...]] = {
    "101": "room.created",
    "102": "room.ended",
    "103": "participant.joined",
    "104": "participant.left",
    "105": "participant.role_changed",
    **dict.fromkeys(("201", "203", "205"), "track.published"),
    **dict.fromkeys(("202", "204", "206"), "track.unpublished"),
    "301": ("recording.started", "recording.failed"),
    "302": "recording.completed",
    "303": "recording.failed",
    "305": "recording.uploaded",
    "308": "recording.failed",
    "310": ("recording.uploaded", "recording.failed"),
    "311": ("recording.uploaded", "recording.failed"),
    "312": "recording.failed",
    "401": ("stream.started", "stream.state_changed", "stream.stopped", "stream.failed"),
    "801": ("recording.started", "recording.failed"),
    "802": "recording.completed",
    "803": ("recording.paused", "recording.resumed"),
    "804": "recording.failed",
}
ROLES: Mapping[int | None, Role] = {20: "host", 21: "audience"}
# 2 is a time-out, and 5 a killed process, which Android reports as 2. 4 is the end of a call across rooms.
REASONS: Mapping[int | None, LeaveReason] = {1: "left", 2: "disconnected", 3: "removed", 4: "left", 5: "disconnected"}
RE_ENTRIES = (2, 3)  # another network, another try after a time-out
PLATFORMS: Mapping[int, str] = {1: "windows", 2: "android", 3: "ios", 4: "linux", 100: "other"}
TRACKS: Mapping[int, TrackKind] = {1: "video", 2: "video", 3: "audio", 4: "audio", 5: "screen", 6: "screen"}
FILE_TRACKS: Mapping[str | None, RecordingTrack] = {"audio": "audio", "video": "video"}
STATES: Mapping[int | None, str] = {1: "connecting", 3: "recovering", 5: "disconnecting"}
LIMITS: Mapping[int | None, str] = {1: "over time", 2: "resolution"}
PAGES: Mapping[
    tuple[int, int | None], type[RecordingStarted | RecordingCompleted | RecordingPaused | RecordingResumed]
] = {
    (1, None): RecordingStarted,
    (1, 1): RecordingStarted,
    (2, None): RecordingCompleted,
    (2, 1): RecordingCompleted,
    (3, 2): RecordingPaused,
    (3, 3): RecordingResumed,
}
PER_ATTEMPT = ("CallbackTs",)


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`insecure_no_signature` is for a console without a key: only the client's address is checked then."""

    sdk_app_id: int
    insecure_no_signature: bool = False


class File(Whole, frozen=True, rename="pascal"):
    """A file in COS, or in VOD with `file_id`. Its user is "" in a mixed one. Times are Unix milliseconds."""

    user_id: Id | None = None
    track_type: str | None = None
    media_id: str | None = None
    file_name: str | None = None
    file_id: Id | None = None
    video_url: str | None = None
    cache_file: str | None = None
    start_time_stamp: Number | None = None
    begin_time_stamp: Number | None = None
    end_time_stamp: Number | None = None


class Payload(File, frozen=True, rename="pascal"):
    """Older copies have the fields of `TencentVod` here. `file_list` is a text in some types."""

    status: Int | None = None
    leave_code: Int | None = None
    file_list: tuple[str, ...] | str | None = None
    file_message: tuple[File, ...] = ()
    tencent_vod: File | None = None
    errmsg: str | None = None
    error_code: Id | None = None
    error_msg: str | None = None
    event_message: str | None = None
    url: str | None = None


class Info(Whole, frozen=True, rename="pascal"):
    """`event_ts` is Unix seconds, the others milliseconds. The user of a recording is its robot."""

    room_id: Id | None = None
    room_type: Any = None
    user_id: Id | None = None
    user_type: Any = None
    event_ts: Number | None = None
    event_ms_ts: Number | None = None
    event_ts_ms: Number | None = None  # in the sample of group 4
    role: Int | None = None
    terminal_type: Int | None = None
    reason: Int | None = None
    task_id: Id | None = None
    payload: Payload = Payload()

    @property
    def occurred_s(self) -> float | None:
        for time in (self.event_ms_ts, self.event_ts_ms, self.event_ts):
            if (seconds := number_s(time)) is not None:
                return seconds
        return None


class Notice(Whole, frozen=True, kw_only=True, rename="pascal"):
    """`callback_ts` is when the callback was sent, in Unix milliseconds."""

    event_group_id: Int | None = None
    event_type: Id
    callback_ts: Number | None = None
    event_info: Info = Info()

    @property
    def is_known(self) -> bool:
        """Whether its type is one of ours, and of its group: the first digit of a type is its group."""
        kind = str(self.event_type)
        return kind in TYPES and str(self.event_group_id or kind[0]) == kind[0]


_notice = msgspec.json.Decoder(Notice)


def fault(source: Source[Account]) -> str | None:
    """Without a key anyone could send events: the settings must say so, and allow known addresses only."""
    if source.account.insecure_no_signature:
        return fault_without_signature(source)
    return None if source.keys else "secrets: at least one is needed, the callback key of the console"


def verify(request: Request, source: Source[Account], now_s: float) -> None:
    """HMAC-SHA256 of the body in base64. It covers the body, which has the time of sending in it, and no other time."""
    if request.header("SdkAppId") != str(source.account.sdk_app_id):
        raise BadSignature("the SdkAppId is not that of this source")
    if not source.keys and source.account.insecure_no_signature:
        return
    check_hmac(from_base64(request.header("Sign")), source.keys, request.body, "sha256")


def sign(body: bytes, source: Source[Account], now_s: float) -> Outgoing:
    headers = {"SdkAppId": str(source.account.sdk_app_id)}
    if source.keys:
        headers["Sign"] = b64encode(source.keys[0].hmac(body, "sha256")).decode()
    return Outgoing(body, headers)


def identify(request: Request) -> Identity:
    """The facts are group, type, room, user, task, time, and what the payload says of status and files.

    The time of sending is not one. Without a time of the event, all other fields are facts.
    """
    notice = read_whole(_notice, _notice, request.body)
    drafts = notice_drafts(notice)
    event_type = draft_topic(drafts[0]) if drafts else unknown_type(notice.event_type)
    occurred_s = notice.event_info.occurred_s
    if not drafts or occurred_s is None:
        facts: tuple[str | int | None, ...] = all_facts(notice.event_type, request.body, PER_ATTEMPT)
    else:
        facts = notice_facts(notice, occurred_s)
    if occurred_s is None and notice.callback_ts is not None:
        occurred_s = unix_s(int(notice.callback_ts))
    return Identity(event_type, facts, notice_subject(notice), occurred_s)


def notice_facts(notice: Notice, occurred_s: float | None) -> tuple[str | int | None, ...]:
    info, payload = notice.event_info, notice.event_info.payload
    where = (optional_text(info.room_id), optional_text(info.user_id), optional_text(info.task_id))
    said = (payload.status, payload.leave_code, payload.url)
    return (str(notice.event_type), *where, round((occurred_s or 0) * 1000), *said, *_file_names(payload))


def _file_names(payload: Payload) -> list[str | None]:
    """What tells the files of one task apart. A file in VOD may have only an id."""
    files = (*payload.file_message, payload.tencent_vod or payload)
    names = [file.file_name or optional_text(file.file_id) or file.cache_file for file in files]
    return [*names, *(payload.file_list if isinstance(payload.file_list, tuple) else ())]


def notice_subject(notice: Notice) -> str:
    """The room, or the task of a page's recording, which has no room."""
    info = notice.event_info
    return optional_text(info.room_id) or optional_text(info.task_id) or ""


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    notice = read_again(_notice, envelope.body)
    drafts = notice_drafts(notice)
    kind = notice.event_type
    return finished(envelope, kind, drafts) if drafts else normalise_unknown(envelope, kind)


def notice_drafts(notice: Notice) -> Sequence[Draft]:
    """The events of a notice; none for one that is kept as unknown. Raises Unreadable."""
    if not notice.is_known:
        return ()
    group, number = divmod(int(notice.event_type), 100)
    match group:
        case 1:
            return (_of_room(number, notice.event_info),)
        case 2:
            return (_of_track(number, notice.event_info),)
        case 3:
            return _of_recording(number, notice.event_info)
        case 4:
            return (_of_relay(notice.event_info),)
        case _:
            return _of_page(number, notice.event_info)


def _of_room(number: int, info: Info) -> Draft:
    room = required(info.room_id, "RoomId")
    if number == 1:
        return partial(RoomCreated, room_id=room, operator_id=optional_text(info.user_id))
    if number == 2:
        return partial(RoomEnded, room_id=room)
    about: dict[str, Any] = {"room_id": room, "user_id": required(info.user_id, "UserId"), "role": ROLES.get(info.role)}
    match number:
        case 3:
            again = True if info.reason in RE_ENTRIES else None
            return partial(ParticipantJoined, platform=_platform(info.terminal_type), rejoined=again, **about)
        case 4:
            return partial(ParticipantLeft, reason=REASONS.get(info.reason, "unknown"), **about)
        case _:
            return partial(ParticipantRoleChanged, **about)


def _platform(number: int | None) -> str | None:
    return None if number is None else PLATFORMS.get(number, str(number))


def _of_track(number: int, info: Info) -> Draft:
    return partial(
        TrackPublished if number % 2 else TrackUnpublished,
        room_id=required(info.room_id, "RoomId"),
        user_id=required(info.user_id, "UserId"),
        kind=TRACKS[number],
    )


def _of_recording(number: int, info: Info) -> Sequence[Draft]:
    """Cloud recording. What only prepares a file, or waits for one, is kept as unknown."""
    task: dict[str, Any] = {"room_id": optional_text(info.room_id), "task_id": required(info.task_id, "TaskId")}
    payload = info.payload
    match number:
        case 1 if not payload.status:
            return [partial(RecordingStarted, **task)]
        case 2:
            return [partial(RecordingCompleted, **task)]
        case 5:
            code = payload.status if payload.leave_code is None else payload.leave_code
            return [] if code == 1 else [partial(RecordingUploaded, **task)]
        case 10 | 11 if payload.status != 2:
            return [] if payload.status == 1 else _of_files(payload, task)
        case 3 | 12 if not payload.status:
            return []
        case _:
            return [_failed(payload, task)]


def _of_files(payload: Payload, task: Mapping[str, Any]) -> Sequence[Draft]:
    if payload.file_message:
        files: Sequence[File] = payload.file_message
    elif isinstance(payload.file_list, tuple):
        files = [File(file_name=name) for name in payload.file_list]
    else:
        return [partial(RecordingUploaded, **_file(payload.tencent_vod or payload), **task)]
    return [partial(RecordingUploaded, segment=place, **_file(file), **task) for place, file in enumerate(files)]


def _file(file: File) -> dict[str, Any]:
    return {
        "file_name": file.file_name or file.cache_file,
        "recording_id": optional_text(file.file_id),
        "url": file.video_url,
        "user_id": optional_text(file.user_id) or None,
        "mixed": None if file.media_id is None else file.media_id == "mix",
        "track": "screen" if file.media_id == "aux" else FILE_TRACKS.get(file.track_type),
        "started_at": unix_moment(file.start_time_stamp or file.begin_time_stamp),
        "ended_at": unix_moment(file.end_time_stamp),
    }


def _failed(payload: Payload, task: Mapping[str, Any], error: str | None = None) -> Draft:
    said = payload.errmsg or payload.event_message or payload.error_msg or error
    code = payload.error_code or payload.status
    return partial(RecordingFailed, error=said, error_code=optional_text(code), **task)


def _of_relay(info: Info) -> Draft:
    payload = info.payload
    about: dict[str, Any] = {
        "room_id": optional_text(info.room_id),
        "stream_id": required(info.task_id, "TaskId"),
        "direction": "out",
        "protocol": scheme_of(payload.url),
        "url": without_key(payload.url),
    }
    match payload.status:
        case 2:
            return partial(StreamStarted, **about)
        case 4:
            return partial(StreamFailed, error=payload.error_msg or optional_text(payload.error_code), **about)
        case 0:
            return partial(StreamStopped, **about)
        case status:
            return partial(StreamStateChanged, state=STATES.get(status) or optional_text(status), **about)


def _of_page(number: int, info: Info) -> Sequence[Draft]:
    """The recording of a web page, where a status of 1 is good, unlike in cloud recording."""
    task: dict[str, Any] = {"room_id": optional_text(info.room_id), "task_id": required(info.task_id, "TaskId")}
    payload = info.payload
    match number, payload.status:
        case 1, (2 | 5):
            return [_failed(payload, task)]
        case 4, status:
            return [_failed(payload, task, LIMITS.get(status))]
        case what:
            made = PAGES.get(what)
            return [] if made is None else [partial(made, **task)]


def _sample(kind: int, payload: Mapping[str, Any] | None = None, **fields: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        group, ms = kind // 100, int(at_s * 1000)
        where = {} if group == 8 else {"RoomId": f"demo-{n}"}
        task = {"TaskId": f"demo-task-{group}-{n}"} if group > 2 else {}
        more = {} if payload is None else {"Payload": payload}
        info = {**where, "EventTs": int(at_s), "EventMsTs": ms, **fields, **task, **more}
        return {"EventGroupId": group, "EventType": kind, "CallbackTs": ms + 90, "EventInfo": info}

    return Sample(str(kind), body)


FILE = {"FileName": "demo.mp4", "UserId": "", "TrackType": "audio_video", "MediaId": "mix"}
VOD = {"UserId": "", "TrackType": "audio_video", "MediaId": "mix", "FileId": "demo"}
SAMPLES = (
    _sample(101, UserId="teacher"),
    _sample(103, UserId="teacher", Role=20, TerminalType=1, UserType=3, Reason=1),
    _sample(103, UserId="student", Role=21, TerminalType=3, UserType=3, Reason=1),
    _sample(203, UserId="teacher"),
    _sample(201, UserId="teacher"),
    _sample(205, UserId="teacher"),
    _sample(105, UserId="student", Role=20),
    _sample(301, {"Status": 0}, UserId="robot"),
    _sample(401, {"Url": "rtmp://cdn.example.com/live/demo", "Status": 2}, UserId="relay", RoomType=1),
    _sample(801, {"Status": 1, "EventMessage": "Success"}),
    _sample(803, {"Status": 2, "EventMessage": "Success"}),
    _sample(206, UserId="teacher", Reason=0),
    _sample(202, UserId="teacher", Reason=0),
    _sample(204, UserId="teacher", Reason=0),
    _sample(104, UserId="student", Role=20, Reason=2),
    _sample(104, UserId="teacher", Role=20, Reason=1),
    _sample(302, {"LeaveCode": 99}, UserId="robot"),
    _sample(305, {"LeaveCode": 0}, UserId="robot"),
    _sample(310, {"Status": 0, "FileList": ["demo.mp4"], "FileMessage": [FILE]}, UserId="robot"),
    _sample(311, {"Status": 0, "TencentVod": VOD}, UserId="robot"),
    _sample(303, {"Status": 1}, UserId="robot"),
    _sample(308, {"Status": 1}, UserId="robot"),
    _sample(312, {"Status": 1}, UserId="robot"),
    _sample(804, {"Status": 1, "EventMessage": "over time"}),
    _sample(802, {"Status": 1, "EventMessage": "Success"}),
    _sample(102),
)

PROVIDER = Provider(
    name="trtc",
    title="Tencent TRTC",
    account=Account,
    example=Example("trtc-main", {"sdk_app_id": 1400000000}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the whole body (HMAC-SHA256), where the console has a key",
    leaves_open="no time: an old callback can be sent again, and counts as a repeat",
    sign=sign,
    identify=identify,
    normalise=normalise,
    reply=Reply(b'{"code":0}'),
    fault=fault,
    shown=frozenset({"sdkappid"}),
    secret_fields=frozenset({"url"}),
    url_fields=frozenset({"videourl"}),
)
