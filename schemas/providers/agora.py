"""Agora's notifications: channels and users, cloud recording, media pull and push, media gateway.

Sources: the pages on the notification service in AgoraIO/Docs-Source at 8c1f0c5c, and docs.agora.io's page on its
signature. Each product counts its types from 1, so a type is named by both numbers: `3-40` is type 40 of product 3.
Conversational AI (17) is kept as unknown. Open: what `sid` of the envelope is one of, so no event has it. Inferred: a
user is its `uid`, and `account` a name of the same user. Agora gives its addresses to customers only, through an API.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from hookline.schemas.drafts import Draft, draft_topic, finished
from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.errors import Unreadable
from hookline.schemas.events import (
    Event,
    LeaveReason,
    ParticipantJoined,
    ParticipantKind,
    ParticipantLeft,
    ParticipantRoleChanged,
    RecordingCompleted,
    RecordingFailed,
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
)
from hookline.schemas.payload import (
    Flag,
    Id,
    Int,
    Number,
    flag,
    number_s,
    optional_text,
    read,
    read_again,
    recheck,
    required,
    text_s,
    unix_moment,
    unknown_type,
)
from hookline.schemas.provider import Example, Outgoing, Provider, Reply, Request, Sample, Source
from hookline.schemas.signing import check_hmac, from_hex
from hookline.schemas.stream_url import scheme_of, without_key
from hookline.schemas.unknown import all_facts, normalise_unknown

PULL = 4
TYPES: Mapping[str, str | tuple[str, ...]] = {
    "1-101": "room.created",
    "1-102": "room.ended",
    **dict.fromkeys(("1-103", "1-105", "1-107"), "participant.joined"),
    **dict.fromkeys(("1-104", "1-106", "1-108"), "participant.left"),
    **dict.fromkeys(("1-111", "1-112"), "participant.role_changed"),
    "3-1": "recording.failed",
    "3-11": ("recording.completed", "recording.failed"),
    "3-31": "recording.uploaded",
    "3-32": "recording.completed",
    "3-40": ("recording.started", "recording.failed"),
    "3-61": "recording.uploaded",
    "3-70": "recording.started",
    "3-71": ("recording.completed", "recording.failed"),
    "3-72": "recording.failed",
    "3-90": "recording.failed",
    "3-100": ("stream.started", "stream.state_changed", "stream.stopped"),
    "3-1001": ("recording.uploaded", "recording.failed"),
    "4-1": "stream.state_changed",
    "4-3": "stream.stopped",
    "4-4": ("stream.started", "stream.state_changed", "stream.failed"),
    "5-1": "stream.state_changed",
    "5-2": "stream.state_changed",
    "5-3": ("stream.started", "stream.state_changed", "stream.failed"),
    "5-4": "stream.stopped",
    "10-1": "stream.started",
    "10-2": "stream.stopped",
    "10-3": "stream.failed",
}
ROLES: Mapping[int, Role] = {103: "host", 104: "host", 105: "audience", 106: "audience", 111: "host", 112: "audience"}
REASONS: Mapping[str | None, LeaveReason] = {
    "1": "left",
    "3": "removed",  # by the API for permissions
    "5": "removed",  # by another device of the user
    "12": "expired",
    **dict.fromkeys(("2", "4", "9", "10", "99"), "disconnected"),
}
PLATFORMS: Mapping[int, str] = {1: "android", 2: "ios", 5: "windows", 6: "linux", 7: "web", 8: "macos", 0: "other"}
# On-premise recording, applets, cloud recording.
KINDS: Mapping[int | None, ParticipantKind] = {3: "robot", 8: "robot", 10: "robot"}
TRACKS: Mapping[str | None, RecordingTrack] = {"audio": "audio", "video": "video"}
CHANGES = {1: "created", 2: "updated"}
FATAL = 5
GOOD_STATUS = (None, "0")
GOOD_ENDS_OF_A_PAGE = (None, 0, 1)
EVERYBODY = "0"
TEST_CHANNEL, TEST_USER = "test_webhook", "12121212"
PER_ATTEMPT = ("notifyMs",)


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Agora needs only its secrets: each product of a project has its own, which the console shows."""


class File(msgspec.Struct, frozen=True, rename="camel"):
    """`uid` is "0" in a mixed recording. `slice_start_time` is Unix milliseconds."""

    file_name: str | None = None
    lower_case_name: str | None = msgspec.field(name="filename", default=None)  # in the sample of type 71
    track_type: str | None = None
    uid: Id | None = None
    mixed_all_user: Flag | None = None
    slice_start_time: Number | None = None


class Details(msgspec.Struct, frozen=True, rename="camel"):
    """What the types of cloud recording say. `file_list` is a text in some of them."""

    status: Id | None = None
    exit_status: Int | None = None
    error_level: Int | None = None
    error_code: Id | None = None
    error_msg: str | None = None
    code: Int | None = None
    message: str | None = None
    limit_type: str | None = None
    result: str | None = None
    rtmp_url: str | None = None
    file_name: str | None = None
    file_list: tuple[File, ...] | str | None = None


class Options(msgspec.Struct, frozen=True, rename="camel"):
    rtc_channel: Id | None = None


class Relay(msgspec.Struct, frozen=True, rename="camel"):
    """A converter of media push, or a player of media pull."""

    id: Id | None = None
    channel_name: Id | None = None
    uid: Id | None = None
    transcode_options: Options = Options()
    raw_options: Options = Options()
    rtmp_url: str | None = None
    stream_url: str | None = None
    state: str | None = None
    status: str | None = None


class RtcInfo(msgspec.Struct, frozen=True):
    channel: Id | None = None
    uid: Id | None = None


class Payload(msgspec.Struct, frozen=True, rename="camel"):
    """The payloads of all products.

    `ts` is Unix seconds, `sendts` milliseconds, `lts` is said to be milliseconds and is seconds in the samples.
    """

    channel_name: Id | None = None
    cname: Id | None = None
    channel: Id | None = None
    uid: Id | None = None
    account: str | None = None
    ts: Number | None = None
    platform: Int | None = None
    client_type: Int | None = None
    reason: Id | None = None
    duration: Int | None = None
    sid: Id | None = None
    sendts: Number | None = None
    details: Details = Details()
    player: Relay | None = None
    converter: Relay | None = None
    lts: Number | None = None
    rtc_info: RtcInfo = RtcInfo()
    begin_at: str | None = None
    end_at: str | None = None
    error_code: Id | None = None


class Notice(msgspec.Struct, frozen=True, rename="camel"):
    """The page on media gateway writes `product_id`."""

    event_type: Id
    product_id: Int | None = None
    other_product_id: Int | None = msgspec.field(name="product_id", default=None)
    notice_id: Id | None = None
    notify_ms: Number | None = None
    payload: Payload = Payload()

    @property
    def product(self) -> int | None:
        return self.product_id if self.product_id is not None else self.other_product_id

    @property
    def type(self) -> str:
        """Both numbers, as `1-103`."""
        return str(self.event_type) if self.product is None else f"{self.product}-{self.event_type}"


_notice = msgspec.json.Decoder(Notice)


def verify(request: Request, source: Source[Account], now_s: float) -> None:
    """HMAC-SHA256 of the body in hexadecimal, or HMAC-SHA1 from a sender that has only that. Neither covers a time."""
    old = not request.headers.getall("Agora-Signature-V2", ())
    name, algorithm = ("Agora-Signature", "sha1") if old else ("Agora-Signature-V2", "sha256")
    check_hmac(from_hex(request.header(name)), source.keys, request.body, algorithm)


def sign(body: bytes, source: Source[Account], now_s: float) -> Outgoing:
    """The signature that counts. Agora sends the one with SHA-1, too."""
    return Outgoing(body, {"Agora-Signature-V2": source.keys[0].hmac(body, "sha256").hex()})


def challenge(request: Request, source: Source[Account], now_s: float) -> Reply | None:
    """The console's check sends an event of each type, of one user in one channel."""
    if TEST_CHANNEL.encode() not in request.body:
        return None
    verify(request, source, now_s)
    try:
        payload = read(_notice, request.body).payload
    except Unreadable:  # a genuine callback all the same
        return None
    tested = _channel(payload) == TEST_CHANNEL and TEST_USER in map(optional_text, (payload.uid, payload.rtc_info.uid))
    return Reply() if tested else None


def identify(request: Request) -> Identity:
    """The facts are product and `noticeId`, which all copies of a notification have: Agora may send two at once.

    Without one all fields are facts, except the time of sending.
    """
    notice = read(_notice, request.body)
    drafts = _drafts(notice)
    event_type = draft_topic(drafts[0]) if drafts else unknown_type(notice.type)
    facts: tuple[str | int | None, ...] = (notice.product, optional_text(notice.notice_id))
    if not notice.notice_id:
        facts = all_facts(notice.type, request.body, PER_ATTEMPT)
    return Identity(event_type, facts, _subject(notice.payload), _occurred_s(notice))


def _channel(payload: Payload) -> str | None:
    relay = payload.player or Relay()
    named = (payload.channel_name, payload.cname, payload.rtc_info.channel, payload.channel, relay.channel_name)
    return next((str(name) for name in named if name is not None and name != ""), None)


def _subject(payload: Payload) -> str:
    """The channel; media push has it in its first event only, and so is ordered by its converter."""
    relay = payload.converter or payload.player or Relay()
    return _channel(payload) or optional_text(relay.id) or ""


def _occurred_s(notice: Notice) -> float | None:
    payload = notice.payload
    for time in (payload.ts, payload.sendts, payload.lts):
        if (seconds := number_s(time)) is not None:
            return seconds
    seconds = text_s(payload.end_at) or text_s(payload.begin_at)
    return seconds or number_s(notice.notify_ms)


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    notice = read_again(_notice, envelope.body)
    drafts = _drafts(notice)
    return finished(envelope, notice.type, drafts) if drafts else normalise_unknown(envelope, notice.type)


def _drafts(notice: Notice) -> Sequence[Draft]:
    """The events of a notification; none for one of unknown type. Raises Unreadable."""
    if notice.type not in TYPES:
        return ()
    number = int(notice.event_type)
    match notice.product:
        case 1:
            return (_of_channel(number, notice.payload),)
        case 3:
            return _of_recording(number, notice.payload)
        case (4 | 5) as product:
            return (_of_relay(product, number, notice.payload),)
        case 10:
            return (_of_gateway(number, notice.payload),)
        case _:
            return ()


def _of_channel(number: int, payload: Payload) -> Draft:
    room = required(payload.channel_name, "channelName")
    if number in {101, 102}:
        return partial(RoomCreated if number == 101 else RoomEnded, room_id=room)
    about: dict[str, Any] = {
        "room_id": room,
        "user_id": required(payload.uid, "uid"),
        "role": ROLES.get(number),
        "display_name": payload.account or None,
    }
    match number:
        case 103 | 105 | 107:
            platform = _platform(payload.platform)
            return partial(ParticipantJoined, platform=platform, kind=KINDS.get(payload.client_type), **about)
        case 111 | 112:
            return partial(ParticipantRoleChanged, **about)
        case _:
            return partial(
                ParticipantLeft,
                reason=REASONS.get(optional_text(payload.reason), "unknown"),
                duration_s=payload.duration,
                kind=KINDS.get(payload.client_type),
                **about,
            )


def _platform(number: int | None) -> str | None:
    return None if number is None else PLATFORMS.get(number, str(number))


def _of_recording(number: int, payload: Payload) -> Sequence[Draft]:
    details = payload.details
    task = {"room_id": required(payload.cname, "cname"), "task_id": required(payload.sid, "sid")}
    match number:
        case 1:
            failed = details.error_level == FATAL
            return [_failed(details.error_msg, details.error_code, task)] if failed else []
        case 31 | 32 | 61 | 1001:
            return _of_files(number, details, task)
        case 100:
            return [_of_publishing(details, task)]
        case _:
            return [_of_recorder(number, details, task)]


def _failed(error: str | None, code: Id | None, task: Mapping[str, Any]) -> Draft:
    return partial(RecordingFailed, error=error, error_code=optional_text(code), **task)


def _of_recorder(number: int, details: Details, task: Mapping[str, Any]) -> Draft:
    made: type[RecordingStarted | RecordingCompleted]
    match number:
        case 72:
            return _failed(details.limit_type, None, task)
        case 90:
            return partial(RecordingFailed, error="download_failed", file_name=details.file_name, **task)
        case 40 | 70:
            made, good = RecordingStarted, optional_text(details.status) in GOOD_STATUS or number == 70
        case _:
            made, good = RecordingCompleted, not details.exit_status and details.code in GOOD_ENDS_OF_A_PAGE
    if good:
        return partial(made, **task)
    return _failed(details.message, details.code or details.status or details.exit_status, task)


def _of_files(number: int, details: Details, task: Mapping[str, Any]) -> Sequence[Draft]:
    """An event for each file, or one without a file: a web page's recording lists none."""
    if details.result == "failed":
        return [_failed(details.result, None, task)]
    made = RecordingCompleted if number == 32 else RecordingUploaded  # in Agora's backup, to be copied later
    files = details.file_list if isinstance(details.file_list, tuple) else ()
    return [partial(made, segment=place, **_file(file), **task) for place, file in enumerate(files)] or [
        partial(made, **task)
    ]


def _file(file: File) -> dict[str, Any]:
    user = optional_text(file.uid)
    return {
        "file_name": file.file_name or file.lower_case_name,
        "user_id": None if user == EVERYBODY else user or None,
        "mixed": flag(file.mixed_all_user),
        "track": TRACKS.get(file.track_type),
        "started_at": unix_moment(file.slice_start_time),
    }


def _of_publishing(details: Details, task: Mapping[str, Any]) -> Draft:
    """A recording that is published as a stream."""
    about = {
        "room_id": task["room_id"],
        "stream_id": task["task_id"],
        "direction": "out",
        "protocol": scheme_of(details.rtmp_url),
        "url": without_key(details.rtmp_url),
    }
    match optional_text(details.status):
        case "publishing":
            return partial(StreamStarted, **about)
        case "disconnected":
            return partial(StreamStopped, **about)
        case state:
            return partial(StreamStateChanged, state=state, **about)


def _of_relay(product: int, number: int, payload: Payload) -> Draft:
    """Media pull, whose stream comes in, or media push, whose stream goes out."""
    relay = payload.converter or payload.player or Relay()
    url = relay.rtmp_url or relay.stream_url
    room = _channel(payload) or relay.transcode_options.rtc_channel or relay.raw_options.rtc_channel
    state = relay.state or relay.status
    about: dict[str, Any] = {
        "room_id": optional_text(room),
        "stream_id": required(relay.id, "id"),
        "direction": "in" if product == PULL else "out",
        "protocol": scheme_of(url),
        "url": without_key(url),
        "user_id": optional_text(relay.uid),
    }
    match product, number, state:
        case (4, 3, _) | (5, 4, _):
            return partial(StreamStopped, **about)
        case (4, 4, "running") | (5, 3, "running"):
            return partial(StreamStarted, **about)
        case (4, 4, "failed") | (5, 3, "failed"):
            return partial(StreamFailed, **about)
        case _:
            return partial(StreamStateChanged, state=state or CHANGES.get(number), **about)


def _of_gateway(number: int, payload: Payload) -> Draft:
    about: dict[str, Any] = {
        "room_id": optional_text(payload.rtc_info.channel),
        "stream_id": required(payload.sid, "sid"),
        "direction": "in",
        "user_id": optional_text(payload.rtc_info.uid),
    }
    match number:
        case 1:
            return partial(StreamStarted, **about)
        case 2:
            began_s, ended_s = text_s(payload.begin_at), text_s(payload.end_at)
            duration_s = None if began_s is None or ended_s is None else round(ended_s - began_s)
            return partial(StreamStopped, duration_s=duration_s, **about)
        case _:
            return partial(StreamFailed, error=optional_text(payload.reason or payload.error_code), **about)


def _sample(type_: str, payload: Mapping[str, Any], time: str | None = None, per_s: int = 1) -> Sample:
    """A sample whose payload has its time in that field, in that many parts of a second."""

    def body(n: int, at_s: float) -> Any:
        product, number = map(int, type_.split("-"))
        stamp = {} if time is None else {time: int(at_s * per_s)}
        return {
            "noticeId": f"{n}:{at_s:.6f}:{number}",
            "productId": product,
            "eventType": number,
            "notifyMs": int(at_s * 1000) + 90,
            "payload": {**_numbered(payload, n), **stamp},
        }

    return Sample(type_, body)


def _numbered(value: Any, n: int) -> Any:
    """The value with the number of the story where it says `{n}`."""
    match value:
        case dict():
            return {name: _numbered(part, n) for name, part in value.items()}
        case str():
            return value.replace("{n}", str(n))
        case _:
            return value


def _user(number: int, uid: int, **fields: Any) -> Sample:
    return _sample(f"1-{number}", {"channelName": "demo-{n}", "uid": uid, **fields}, "ts")


def _recording(number: int, name: str, **details: Any) -> Sample:
    task = {"cname": "demo-{n}", "uid": "527841", "sid": "demo-task-{n}", "sequence": number, "serviceType": 0}
    return _sample(f"3-{number}", {**task, "details": {"msgName": name, **details}}, "sendts", 1000)


def _pull(number: int, **player: Any) -> Sample:
    return _sample(
        f"4-{number}", {"player": {"id": "demo-player-{n}", "channelName": "demo-{n}", **player}}, "lts", 1000
    )


def _push(number: int, **converter: Any) -> Sample:
    return _sample(f"5-{number}", {"converter": {"id": "demo-converter-{n}", **converter}}, "lts", 1000)


def _gateway(number: int, **fields: Any) -> Sample:
    info = {"channel": "demo-{n}", "uid": "7"}
    return _sample(f"10-{number}", {"sid": "demo-stream-{n}", "region": "na", "rtcInfo": info, **fields})


FILE = {"fileName": "demo.m3u8", "trackType": "audio_and_video", "uid": "0", "mixedAllUser": True}
SAMPLES = (
    _sample("1-101", {"channelName": "demo-{n}"}, "ts"),
    _user(103, 4000000001, platform=7, clientSeq=1, account="teacher"),
    _user(105, 2, platform=2, clientSeq=1, account="student"),
    _user(107, 3, platform=1, clientSeq=1),
    _user(111, 2, clientSeq=2),
    _user(112, 2, clientSeq=3),
    _recording(40, "recorder_started", status=0),
    _recording(70, "web_recorder_started"),
    _push(1, transcodeOptions={"rtcChannel": "demo-{n}"}),
    _push(2, state="connecting"),
    _push(3, state="running"),
    _pull(1),
    _pull(4, status="running"),
    _gateway(1),
    _recording(100, "rtmp_publish_status", status="publishing"),
    _gateway(2),
    _gateway(3, errorCode=1, reason="demo"),
    _pull(3),
    _push(4),
    _user(108, 3, platform=1, clientSeq=4, reason=2, duration=9),
    _user(106, 2, platform=2, clientSeq=5, reason=1, duration=9),
    _user(104, 4000000001, platform=7, clientSeq=6, reason=1, duration=9),
    _recording(71, "web_recorder_stopped", code=0),
    _recording(11, "session_exit", exitStatus=0),
    _recording(31, "uploaded", status=0, fileList=[FILE]),
    _recording(32, "backuped", status=0, fileList=[FILE]),
    _recording(61, "vod_triggered"),
    _recording(1001, "postpone_transcode_final_result", result="total_success", fileList=[{"fileName": "demo.mp4"}]),
    _recording(1, "cloud_recording_error", errorLevel=FATAL, errorCode=1, errorMsg="demo"),
    _recording(72, "web_recorder_capability_limit", limitType="demo"),
    _recording(90, "download_failed", fileName="demo.m3u8"),
    _sample("1-102", {"channelName": "demo-{n}"}, "ts"),
)

PROVIDER = Provider(
    name="agora",
    title="Agora (声网)",
    account=Account,
    example=Example("lessons", {}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the whole body (HMAC-SHA256, or HMAC-SHA1 where that is all)",
    leaves_open="no time: an old callback can be sent again, and counts as a repeat",
    sign=sign,
    identify=identify,
    normalise=normalise,
    challenge=challenge,
    secret_fields=frozenset({"streamkey", "rtmpurl", "token"}),
    url_fields=frozenset({"streamurl"}),
)
