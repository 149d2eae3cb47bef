"""ZEGOCLOUD: rooms, users, streams, mixing, recordings, moderation, and calls of its messaging product (ZIM).

Source: the repository of its documentation (docs_all, 2026). Its signature is in the body and covers the time only.
Bodies differ by product: `event` (rooms, streams, CDN recordings, ZIM), `Event` with capitalised names (transcoding,
moderation), `event_type` (cloud recording).

Inferred: the pages say that a body is URL-encoded, while their samples are JSON, so JSON that is percent-encoded and a
form are read, too. The names of ZIM's calls that are not accepted come from its list of pages. ZIM's own rooms have the
names of the events here and other fields; they are kept as unknown. Open: whether a re-send, which comes within 62
seconds, is signed anew.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from hookline.schemas.body_proof import BodyProof
from hookline.schemas.envelope import Envelope, Identity, moment
from hookline.schemas.errors import BadSignature, MalformedRequest, MissingSignature, Unreadable
from hookline.schemas.events import (
    CallAnswered,
    CallDeclined,
    CallStarted,
    DeclineReason,
    Event,
    EventHead,
    LeaveReason,
    ModerationFlagged,
    ParticipantJoined,
    ParticipantLeft,
    RecordingCompleted,
    RecordingFailed,
    RecordingPaused,
    RecordingResumed,
    RecordingTrack,
    RecordingUploaded,
    RoomCreated,
    RoomEnded,
    RoomEndReason,
    StreamStarted,
    StreamStopped,
    TrackPublished,
    TrackUnpublished,
)
from hookline.schemas.form import form_fields, single_fields
from hookline.schemas.payload import (
    Id,
    Int,
    Number,
    Text,
    number,
    optional_text,
    read_again,
    read_known,
    read_known_again,
    recheck,
    required,
    unix_s,
    unknown_type,
    whole_number,
)
from hookline.schemas.provider import Example, Key, Outgoing, Provider, Request, Sample, Signatures, Source
from hookline.schemas.signing import check_fresh, check_hex, decimal
from hookline.schemas.unknown import exactly, normalise_unknown, unknown_facts

MODERATION = "moderation.flagged"
TYPES: Mapping[str, str | tuple[str, ...]] = {
    "room_create": "room.created",
    "room_login": "participant.joined",
    "stream_create": "track.published",
    "mix_start": "stream.started",
    "mix_stop": "stream.stopped",
    "stream_close": "track.unpublished",
    "room_logout": "participant.left",
    "room_close": "room.ended",
    "record": "recording.uploaded",
    "censor_audio_v2_result": MODERATION,
    "censor_video_v2_audio_result": MODERATION,
    "censor_video_v2_image_result": MODERATION,
    "call_create": "call.started",
    "call_accept": "call.answered",
    "call_reject": "call.declined",
    "call_timeout": "call.declined",
    "call_cancel": "call.declined",
    "201": "recording.paused",
    "202": "recording.resumed",
    "5": "recording.completed",
    "1": ("recording.uploaded", "recording.failed"),
    "2": ("recording.failed", "recording.completed"),
}
END_REASONS: Mapping[int | None, RoomEndReason] = {0: "closed", 1: "empty", 2: "empty", 3: "empty"}
LEAVE_REASONS: Mapping[int | None, LeaveReason] = {
    0: "left",
    1: "disconnected",
    2: "disconnected",
    3: "removed",  # or logged in again
    4: "expired",
}
CLOSE_REASONS: Mapping[int | None, LeaveReason] = {
    0: "left",
    1: "disconnected",
    2: "removed",
    3: "removed",
    4: "disconnected",
    5: "left",
    100: "removed",
}
PLATFORMS: Mapping[int | None, str] = {
    1: "pc",
    2: "ios",
    3: "android",
    4: "mac",
    5: "linux",
    6: "web",
    7: "mini program",
}
TRACKS: Mapping[int | None, RecordingTrack] = {1: "audio", 2: "video", 3: "mixed"}
LOST = 5
NORMAL_ENDS = (3, 4)  # nobody was there, or the longest time was over
FLAGGED = {"review": "review", "reject": "reject"}
TIMES: Mapping[str, Sequence[str]] = {
    "room.created": ("room_create_time",),
    "room.ended": ("room_close_time",),
    "participant.joined": ("login_time",),
    "participant.left": ("logout_time",),
    "track.published": ("create_time_ms", "create_time"),
    "track.unpublished": ("destroy_timemillis",),
    "call.started": ("create_time",),
}
"""The fields with the time of the event itself."""
DECLINED: Mapping[str, DeclineReason] = {
    "call_reject": "rejected",
    "call_timeout": "timeout",
    "call_cancel": "cancelled",
}
PROOF = ("signature", "timestamp", "nonce")
CAPITALISED = ("Signature", "Timestamp", "Nonce")
PER_ATTEMPT = frozenset(PROOF + CAPITALISED)
TIME_DIGITS = 10
PERCENT_ENCODED = b"%7b"


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`app_id` is optional: where it is given, callbacks of another application are refused."""

    app_id: str | int = ""


class Kind(msgspec.Struct, frozen=True):
    """Which of the three forms a body has."""

    event: Id | None = None
    capitalised: Id | None = msgspec.field(name="Event", default=None)
    event_type: Id | None = None


class Detail(msgspec.Struct, frozen=True):
    """What a cloud recording says; times are milliseconds, durations, too."""

    file_info: tuple["File", ...] = ()
    quit_reason: Number | None = None


class File(msgspec.Struct, frozen=True):
    """`status` is 3 for a file that is where it belongs, 4 for one on a backup and 5 for a lost one."""

    user_id: Id | None = None
    stream_id: Id | None = None
    file_id: str | None = None
    file_url: str | None = None
    output_file_format: Text | None = None
    file_size: Number | None = None
    duration: Number | None = None
    media_track_type: Number | None = None
    begin_timestamp: Number | None = None
    status: Number | None = None


class Notice(Kind, frozen=True):
    """A callback about a room, a user, a stream or a call, or of cloud recording.

    Most numbers are texts here and numbers there. `room_session_id` is beyond 2^53, and a sample shows it rounded.
    """

    timestamp: Number | None = None
    room_id: Id | None = None
    room_name: str | None = None
    room_session_id: Id | None = None
    room_seq: Id | None = None
    room_create_time: Number | None = None
    room_close_time: Number | None = None
    close_reason: Number | None = None
    id_name: Id | None = None
    user_account: Id | None = None
    user_nickname: str | None = None
    session_id: Id | None = None
    login_time: Number | None = None
    logout_time: Number | None = None
    reason: Number | None = None
    relogin: Number | None = None
    term_type: Number | None = None
    user_update_seq: Id | None = None
    user_id: Id | None = None
    publish_id: Id | None = None
    stream_id: Id | None = None
    stream_alias: Id | None = None
    stream_sid: Id | None = None
    stream_seq: Id | None = None
    recreate: Id | None = None
    create_time: Number | None = None
    create_time_ms: Number | None = None
    destroy_timemillis: Number | None = None
    type: Number | None = None
    task_id: Id | None = None
    seq: Id | None = None
    sequence: Id | None = None
    mix_stream_alias: Id | None = None
    replay_url: str | None = None
    begin_time: Number | None = None
    end_time: Number | None = None
    call_id: Id | None = None
    caller: Id | None = None
    user_ids: tuple[Id, ...] = ()
    message: str | None = None
    detail: Detail = Detail()


class AuxInfo(msgspec.Struct, frozen=True, rename="pascal"):
    room_id: Id | None = None
    user_id: Id | None = None
    process_begin_time: Number | None = None


class Risk(msgspec.Struct, frozen=True, rename="pascal"):
    risk_level: Text | None = None
    risk_label_1: str | None = msgspec.field(name="RiskLabel1", default=None)
    risk_label_2: str | None = msgspec.field(name="RiskLabel2", default=None)
    risk_label_3: str | None = msgspec.field(name="RiskLabel3", default=None)
    audio_text: str | None = None
    content: str | None = None
    audio_url: str | None = None


class Finding(msgspec.Struct, frozen=True, rename="pascal"):
    """What moderation has found."""

    timestamp: Number | None = None
    task_id: Id | None = None
    result_task_id: Id | None = None
    detail: Risk = Risk()
    aux_info: AuxInfo = AuxInfo()


_lower, _upper = BodyProof(*PROOF, "appid", "app_id"), BodyProof(*CAPITALISED, "Appid", "AppId")
_kind = msgspec.json.Decoder(Kind)
_notice = msgspec.json.Decoder(Notice)
_finding = msgspec.json.Decoder(Finding)


def plain(body: bytes) -> bytes:
    """The body as JSON, also where it arrives percent-encoded or as a form. Raises Unreadable."""
    if body[:3].lower() == PERCENT_ENCODED:
        return unquote_to_bytes(body)
    if body[:1].isalpha() and b"=" in body:
        return msgspec.json.encode(single_fields(form_fields(body)))
    return body


def verify(request: Request, source: Source[Account], now_s: float) -> None:
    """SHA-1 of secret, time and nonce, sorted and joined, in hexadecimal. It covers nothing else of the body."""
    signature, time, nonce, app_id = _proof(request.body)
    check_hex(signature, [_digest(key, time, nonce) for key in source.keys])
    sent_s = decimal(time, TIME_DIGITS)  # exactly ten: the joined text must not be cut into other parts of it
    check_fresh(sent_s, now_s, source.tolerance_s)
    if source.account.app_id not in ("", 0) and app_id not in (None, str(source.account.app_id)):
        raise BadSignature("the callback is of another application")


def _proof(body: bytes) -> tuple[str, str, str, str | None]:
    """Signature, time, nonce and application, from the names in small letters or from the capitalised ones."""
    try:
        content = plain(body)
    except Unreadable:
        raise MalformedRequest("the body, which carries the signature, is neither JSON nor a form") from None
    found = _lower.find(content)
    if found[0] is None:
        capitalised = _upper.find(content)
        found = capitalised if capitalised[0] is not None else found
    signature, time, nonce, app_id, other_app_id = found
    for name, value in zip(PROOF, found[: len(PROOF)], strict=True):
        if value is None or not value.strip():
            raise MissingSignature(f"{name} is missing")
    return signature or "", time or "", nonce or "", app_id or other_app_id or None


def _digest(key: Key, time: str, nonce: str) -> bytes:
    parts = sorted([bytes(key), time.encode(), nonce.encode()])
    return hashlib.sha1(b"".join(parts), usedforsecurity=False).digest()  # the provider chose SHA-1


def signature(request: Request) -> str:
    return _proof(request.body)[0].lower()


def sign(body: bytes, source: Source[Account], now_s: float) -> Outgoing:
    """The body with its proof set, under the names of its form; ValueError if it is not a JSON object."""
    content = msgspec.json.decode(body)
    if not isinstance(content, dict):
        raise ValueError("the signature goes into the body, which must be a JSON object")  # noqa: TRY004  as documented
    time = f"{int(now_s):0{TIME_DIGITS}}"
    nonce = str(int(now_s * 1000) % 1_000_003)
    values = (_digest(source.keys[0], time, nonce).hex(), time, nonce)
    names = CAPITALISED if "Event" in content or "Signature" in content else PROOF
    return Outgoing(msgspec.json.encode({**content, **dict(zip(names, values, strict=True))}))


def identify(request: Request) -> Identity:
    """The facts are what its family numbers: a room's session, a user's and a stream's changes, a task's results.

    The time stamp, the nonce and the signature may differ between attempts, and are none.
    """
    body = plain(request.body)
    notice = read_known(_notice, _kind, body, _is_notice)
    name = _name(notice)
    if TYPES.get(name) == MODERATION:
        finding = read_again(_finding, body)
        return _identify_finding(name, finding, body) if _level(finding) else _identify_unknown(name, body)
    topic = _topic(name, notice, body)
    if topic is None or not isinstance(notice, Notice):
        return _identify_unknown(name, body)
    _check(topic, notice)
    facts = _facts(topic, name, notice) or _all_facts(name, body)
    return Identity(topic, facts, _subject(notice), _own_s(topic, notice))


def _identify_finding(name: str, finding: Finding, body: bytes) -> Identity:
    task = optional_text(finding.result_task_id or finding.task_id)
    facts = _all_facts(name, body) if task is None else (name, task)
    return Identity(MODERATION, facts, _subject_of(finding), _finding_s(finding))


def _name(kind: Kind) -> str:
    found = next((each for each in (kind.event, kind.capitalised, kind.event_type) if each not in (None, "")), None)
    return required(found, "event")


def _is_notice(kind: Kind) -> bool:
    """Whether it is known and has the form of most callbacks."""
    return TYPES.get(_name(kind), MODERATION) != MODERATION


def _topic(name: str, notice: Kind, body: bytes) -> str | None:
    """What a `Notice` says; None for what becomes no event. Some types say it by what is inside."""
    declared = TYPES.get(name, MODERATION)
    if declared == MODERATION or not isinstance(notice, Notice) or (name == "room_create" and _is_of_zim(notice, body)):
        return None
    if isinstance(declared, str):
        return declared
    detail = notice.detail
    if name == "2":
        return "recording.completed" if _int(detail.quit_reason) in NORMAL_ENDS else "recording.failed"
    if not detail.file_info:
        return None  # nothing was recorded
    return "recording.failed" if all(_int(file.status) == LOST for file in detail.file_info) else "recording.uploaded"


def _is_of_zim(notice: Notice, body: bytes) -> bool:
    """Its rooms have no session, and an operator."""
    return notice.room_session_id is None and b'"operator_account"' in body


def _identify_unknown(name: str, body: bytes) -> Identity:
    content = read_again(exactly, body)
    sent_s = unix_s(whole_number(content.get("timestamp", content.get("Timestamp"))))
    subject = next((content[key] for key in ("TaskId", "task_id") if isinstance(content.get(key), str)), "")
    return Identity(unknown_type(name), _all_facts(name, body), subject if len(subject) <= MAX_SUBJECT else "", sent_s)


MAX_SUBJECT = 512


def _all_facts(name: str, body: bytes) -> tuple[str, str]:
    content = read_again(exactly, body)
    return unknown_facts(name, {field: value for field, value in content.items() if field not in PER_ATTEMPT})


def _facts(topic: str, name: str, notice: Notice) -> tuple[str | int | None, ...]:
    """What numbers the event; empty where the callback lacks a part of it."""
    session = _session(notice)
    match topic.partition(".")[0]:
        case "room":
            found: tuple[Any, ...] = (session,)
        case "participant":
            found = (session, notice.session_id, notice.user_update_seq)
        case "track":
            found = (notice.stream_sid, notice.recreate if notice.recreate is not None else "")
        case "call":
            user = notice.user_id if notice.user_id is not None else notice.caller
            found = (notice.call_id, user)
        case "recording" if name == "record":
            found = (_stream(notice), notice.begin_time, notice.end_time)
        case _:
            number = notice.sequence if notice.sequence is not None else notice.seq
            found = (notice.task_id, number)
    return () if None in found else (name, *(str(each) for each in found))


def _check(topic: str, notice: Notice) -> None:
    """Raise Unreadable for an event that lacks what it is about."""
    entity = topic.partition(".")[0]
    if entity in ("room", "participant", "track"):
        required(notice.room_id, "room_id")
    if entity == "participant":
        required(notice.user_account, "user_account")
    elif entity == "track":
        _publisher(notice)
    elif entity == "stream":
        required(notice.task_id, "task_id")
    elif entity == "call":
        required(notice.call_id, "call_id")
        _caller(topic, notice)


def _publisher(notice: Notice) -> str:
    return required(notice.user_id if notice.user_id not in (None, "") else notice.publish_id, "user_id")


def _caller(topic: str, notice: Notice) -> str:
    """Who calls, answers or declines. A call that its caller cancels names nobody else."""
    return required(notice.caller if topic == "call.started" or notice.user_id is None else notice.user_id, "user_id")


def _session(notice: Notice) -> str | None:
    return optional_text(notice.room_session_id if notice.room_session_id is not None else notice.room_seq)


def _stream(notice: Notice) -> str | None:
    return optional_text(notice.stream_id if notice.stream_id is not None else notice.stream_alias)


def _subject(notice: Notice) -> str:
    ids = (notice.room_id, notice.call_id, notice.task_id, _stream(notice))
    return next((str(each) for each in ids if each is not None), "")


def _subject_of(finding: Finding) -> str:
    ids = (finding.aux_info.room_id, finding.task_id, finding.result_task_id)
    return next((str(each) for each in ids if each is not None), "")


def _own_s(topic: str, notice: Notice) -> float | None:
    """The time of the event itself, or else that of the callback."""
    for field in TIMES.get(topic, ()):
        seconds = unix_s(_int(getattr(notice, field)))
        if seconds is not None:
            return seconds
    return unix_s(_int(notice.timestamp))


def _finding_s(finding: Finding) -> float | None:
    return unix_s(_int(finding.timestamp))


def _int(value: Int | str | None) -> int | None:
    return None if value is None else number(value)


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    body = plain(envelope.body)
    notice = read_known_again(_notice, _kind, body, _is_notice)
    name = _name(notice)
    if TYPES.get(name) == MODERATION:
        finding = read_again(_finding, body)
        if _level(finding):
            return (_moderation_event(envelope.head(name), name, finding),)
    topic = _topic(name, notice, body)
    if topic is None or not isinstance(notice, Notice):
        return normalise_unknown(msgspec.structs.replace(envelope, body=body), name)
    if name == "1":
        return _file_events(envelope, notice)
    return (_event(envelope.head(name), topic, notice),)


def _event(head: EventHead, topic: str, notice: Notice) -> Event:
    match topic.partition(".")[0]:
        case "room":
            return _room_event(head, topic, notice)
        case "participant":
            return _participant_event(head, topic, notice)
        case "track" | "stream":
            return _stream_event(head, topic, notice)
        case "call":
            return _call_event(head, topic, notice)
        case _:
            return _recording_event(head, topic, notice)


def _room_event(head: EventHead, topic: str, notice: Notice) -> Event:
    room, session = str(notice.room_id or ""), _session(notice)
    if topic == "room.created":
        owner = optional_text(notice.id_name)
        return RoomCreated(**head, room_id=room, session_id=session, name=notice.room_name, owner_id=owner)
    reason = END_REASONS.get(_int(notice.close_reason))
    return RoomEnded(**head, room_id=room, session_id=session, reason=reason)


def _participant_event(head: EventHead, topic: str, notice: Notice) -> Event:
    who: dict[str, Any] = {
        "room_id": str(notice.room_id or ""),
        "user_id": required(notice.user_account, "user_account"),
        "session_id": _session(notice),
        "connection_id": optional_text(notice.session_id),
        "display_name": notice.user_nickname or None,
    }
    if topic == "participant.joined":
        platform = PLATFORMS.get(_int(notice.term_type))
        rejoined = None if notice.relogin is None else _int(notice.relogin) == 1
        return ParticipantJoined(**head, **who, platform=platform, rejoined=rejoined)
    reason = LEAVE_REASONS.get(_int(notice.reason), "unknown")
    return ParticipantLeft(**head, **who, reason=reason, duration_s=_lasted(notice.login_time, notice.logout_time))


def _lasted(start: Number | None, end: Number | None) -> int | None:
    start_s, end_s = unix_s(_int(start)), unix_s(_int(end))
    return None if start_s is None or end_s is None or end_s < start_s else round(end_s - start_s)


def _stream_event(head: EventHead, topic: str, notice: Notice) -> Event:
    if topic.startswith("stream"):
        stream = StreamStarted if topic == "stream.started" else StreamStopped
        room = optional_text(notice.room_id)
        return stream(**head, room_id=room, stream_id=required(notice.task_id, "task_id"), direction="out")
    about: dict[str, Any] = {
        "room_id": str(notice.room_id or ""),
        "user_id": _publisher(notice),
        "session_id": _session(notice),
        "track_id": _stream(notice),
    }
    if topic == "track.published":
        return TrackPublished(**head, **about)
    return TrackUnpublished(**head, **about, reason=CLOSE_REASONS.get(_int(notice.type), "unknown"))


def _call_event(head: EventHead, topic: str, notice: Notice) -> Event:
    call, user = required(notice.call_id, "call_id"), _caller(topic, notice)
    match topic:
        case "call.started":
            callees = tuple(str(callee) for callee in notice.user_ids)
            return CallStarted(**head, call_id=call, caller_id=user, callee_ids=callees)
        case "call.answered":
            return CallAnswered(**head, call_id=call, user_id=user)
        case _:
            return CallDeclined(**head, call_id=call, user_id=user, reason=DECLINED[head["provider_type"]])


def _recording_event(head: EventHead, topic: str, notice: Notice) -> Event:
    about: dict[str, Any] = {"room_id": optional_text(notice.room_id), "task_id": optional_text(notice.task_id)}
    match topic:
        case "recording.paused":
            return RecordingPaused(**head, **about)
        case "recording.resumed":
            return RecordingResumed(**head, **about)
        case "recording.completed":
            return RecordingCompleted(**head, **about)
        case "recording.failed":
            code = optional_text(notice.detail.quit_reason)
            return RecordingFailed(**head, **about, error=notice.message or None, error_code=code)
        case _:
            return _cdn_file(head, about, notice)


def _cdn_file(head: EventHead, about: dict[str, Any], notice: Notice) -> Event:
    """The CDN's file of one stream. It names no room."""
    start_s, end_s = unix_s(_int(notice.begin_time)), unix_s(_int(notice.end_time))
    return RecordingUploaded(
        **head,
        **about,
        recording_id=_stream(notice),
        url=notice.replay_url,
        duration_s=_lasted(notice.begin_time, notice.end_time),
        started_at=None if start_s is None else moment(start_s),
        ended_at=None if end_s is None else moment(end_s),
    )


def _file_events(envelope: Envelope, notice: Notice) -> tuple[Event, ...]:
    """One event for each file of a recording task; a file on a backup counts as uploaded later."""
    files = notice.detail.file_info
    heads = [envelope.head("1", place if len(files) > 1 else None) for place in range(len(files))]
    return tuple(
        _file_event(head, place, file, notice) for place, (head, file) in enumerate(zip(heads, files, strict=True))
    )


def _file_event(head: EventHead, place: int, file: File, notice: Notice) -> Event:
    started_s, length_ms, track = unix_s(_int(file.begin_timestamp)), _int(file.duration), _int(file.media_track_type)
    about: dict[str, Any] = {
        "room_id": optional_text(notice.room_id),
        "user_id": optional_text(file.user_id if file.user_id != "" else None),
        "task_id": optional_text(notice.task_id),
        "segment": place,
        "file_name": file.file_id,
        "url": file.file_url,
        "format": file.output_file_format,
        "track": TRACKS.get(track),
        "size_bytes": _int(file.file_size),
        "duration_s": None if length_ms is None else round(length_ms / 1000),
        "started_at": None if started_s is None else moment(started_s),
    }
    if _int(file.status) == LOST:
        return RecordingFailed(**head, **about, error="the file is lost", error_code=str(LOST))
    return RecordingUploaded(**head, **about)


def _level(finding: Finding) -> str | None:
    return FLAGGED.get((finding.detail.risk_level or "").lower())


def _moderation_event(head: EventHead, name: str, finding: Finding) -> Event:
    risk, aux = finding.detail, finding.aux_info
    starts_s = unix_s(_int(aux.process_begin_time))
    return ModerationFlagged(
        **head,
        room_id=optional_text(aux.room_id),
        user_id=optional_text(aux.user_id),
        task_id=optional_text(finding.task_id),
        media="image" if "image" in name else "audio",
        level="reject" if _level(finding) == "reject" else "review",
        labels=tuple(label for label in (risk.risk_label_1, risk.risk_label_2, risk.risk_label_3) if label),
        text=risk.audio_text or risk.content,
        url=risk.audio_url,
        starts_at=None if starts_s is None else moment(starts_s),
    )


def _sample(name: str, **fields: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        at_ms = {field: str(int(at_s * 1000)) for field in fields if field in SAMPLE_TIMES}
        ids = {"room_id": f"demo-{n}", "room_session_id": str(n), "call_id": f"call-{n}", "stream_sid": f"sid-{n}",
               "task_id": f"task-{n}", "stream_alias": f"stream-{n}"}  # fmt: skip
        about = {"event_type": int(name)} if name.isdigit() else {"event": name}
        return {**about, **ids, "timestamp": str(int(at_s)), **fields, **at_ms}

    return Sample(name, body)


def _sample_finding(name: str) -> Sample:
    def body(n: int, at_s: float) -> Any:
        detail = {"RiskLevel": "REJECT", "RiskLabel1": "abuse", "AudioText": "…"}
        aux = {"RoomId": f"demo-{n}", "UserId": "student", "ProcessBeginTime": int(at_s * 1000)}
        about = {"TaskId": f"task-{n}", "ResultTaskId": f"{name}-{n}", "Timestamp": int(at_s)}
        return {"Event": name, **about, "Detail": detail, "AuxInfo": aux}

    return Sample(name, body)


SAMPLE_TIMES = ("room_create_time", "room_close_time", "login_time", "logout_time", "create_time_ms",
                "destroy_timemillis")  # fmt: skip
_STUDENT = {"user_account": "student", "user_nickname": "Student", "session_id": "visit"}
_CAMERA = {"user_id": "student", "stream_id": "camera", "recreate": "0"}
_FILE = {"user_id": "student", "file_id": "demo.mp4", "output_file_format": "mp4", "file_size": 1_000_000,
         "duration": 8000, "media_track_type": 3, "status": 3}  # fmt: skip
SAMPLES = (
    _sample("room_create", id_name="teacher", room_create_time=0),
    _sample("room_login", **_STUDENT, user_update_seq="1", login_time=0, relogin="0", term_type="6"),
    _sample("stream_create", **_CAMERA, create_time_ms=0),
    _sample("mix_start", seq=1),
    _sample("201", sequence=1),
    _sample("202", sequence=2),
    _sample_finding("censor_audio_v2_result"),
    _sample_finding("censor_video_v2_audio_result"),
    _sample_finding("censor_video_v2_image_result"),
    _sample("mix_stop", seq=2),
    _sample("stream_close", **_CAMERA, type="0", destroy_timemillis=0),
    _sample("room_logout", **_STUDENT, user_update_seq="2", login_time=0, logout_time=0, reason="0"),
    _sample("room_close", close_reason=2, room_close_time=0),
    _sample("5", sequence=3),
    _sample("1", sequence=4, detail={"upload_status": 1, "file_info": [_FILE]}),
    _sample("2", sequence=5, message="the recorder stopped", detail={"quit_reason": 1}),
    _sample("record", begin_time="1", end_time="2", replay_url="https://example.com/demo.mp4"),
    _sample("call_create", caller="teacher", user_ids=["student"]),
    _sample("call_accept", user_id="student"),
    _sample("call_reject", user_id="student"),
    _sample("call_timeout", user_id="student"),
    _sample("call_cancel", user_id="student"),
)

PROVIDER = Provider(
    name="zego",
    title="ZEGOCLOUD (即构)",
    account=Account,
    example=Example("zego-main", {}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the time and a nonce (SHA-1)",
    strength="time only",
    leaves_open="the content: anyone who sees one request can send others with its signature until its time is too old",
    sign=sign,
    identify=identify,
    normalise=normalise,
    signatures=Signatures(signature),
    resends_for_s=62,
    secret_fields=frozenset({"signature", "nonce"}),
    url_fields=frozenset({"replay_url", "file_url", "audiourl", "imageurl", "rtmp_url", "rtmp_urls", "mix_url"}),
)
