"""Alibaba Cloud DingRTC (阿里云音视频通信): cloud recordings. Experimental.

Source: Alibaba's page on DingRTC's server callbacks (2709168) for headers, fields and repeats; the recipe of the
signature, the address check and the numbers of the recording events are those of one public receiver. The table of the
room and user events was not readable, so those are kept as unknown. `fileDuration` is read in seconds (inferred).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hookline.schemas.envelope import Envelope, Identity, moment
from hookline.schemas.errors import BadSignature, Unreadable
from hookline.schemas.events import (
    CanonicalEvent,
    Event,
    RecordingFailed,
    RecordingStarted,
    RecordingUploaded,
    Unknown,
    event_topic,
)
from hookline.schemas.payload import (
    Id,
    Number,
    Whole,
    anything,
    number,
    optional_text,
    read,
    read_again,
    read_whole,
    recheck,
    unix_s,
    unknown_type,
)
from hookline.schemas.provider import Example, Key, Outgoing, Provider, Reply, Request, Sample, Source
from hookline.schemas.signing import check_fresh, check_hex, decimal

ADDRESS_CHECK = "001"
ADDRESS_CHECK_TEXT = b'"001"'
STARTED, DONE, FAILED = "2000", "2001", "2002"
TYPES: Mapping[str, str | tuple[str, ...]] = {
    STARTED: "recording.started",
    DONE: ("recording.uploaded", "recording.failed"),
    FAILED: "recording.failed",
}
SUCCEEDED = 0
HEADER = "DingRTC-Signature"
HEADER_PARTS = 3
TIME_DIGITS = 10


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`app_id` names the application; its callback secret goes under `secrets`."""

    app_id: str


class File(Whole, frozen=True, rename="camel"):
    """`status` is 0 for a file that was stored."""

    status: Number | None = None
    file_path: str | None = None
    file_duration: Number | None = None
    file_size: Number | None = None


class RecordState(Whole, frozen=True, rename="camel"):
    start_ts: Number | None = None
    file_info: tuple[File, ...] = ()
    code: Id | None = None
    reason: str | None = None


class Data(Whole, frozen=True, rename="camel"):
    app_id: Id | None = None
    channel_id: Id | None = None
    task_id: Id | None = None
    record_state: RecordState = RecordState()


class Notice(Whole, frozen=True, rename="camel"):
    """`notifyTime` is Unix milliseconds."""

    event_id: Id
    event_type: Id
    notify_time: Number | None = None
    event_data: Data = Data()


_notice = msgspec.json.Decoder(Notice)


def verify(request: Request, source: Source[Account], now_s: float) -> None:
    """HMAC-SHA256 of the body and the time after it, in hexadecimal.

    The header is `AppId.TimeStamp.Signature`.
    """
    parts = request.header(HEADER).split(".")
    if len(parts) != HEADER_PARTS:
        raise BadSignature(f"{HEADER} does not have {HEADER_PARTS} parts")
    app_id, time, signature = parts
    if app_id != source.account.app_id:
        raise BadSignature("the AppId is not that of this source")
    sent_s = decimal(time, TIME_DIGITS)
    check_hex(signature, [_digest(key, request.body, time) for key in source.keys])
    check_fresh(sent_s, now_s, source.tolerance_s)


def _digest(key: Key, body: bytes, time: str) -> bytes:
    return key.hmac(body + time.encode(), "sha256")


def sign(body: bytes, source: Source[Account], now_s: float) -> Outgoing:
    time = f"{int(now_s):0{TIME_DIGITS}}"
    signature = _digest(source.keys[0], body, time).hex()
    return Outgoing(body, {HEADER: f"{source.account.app_id}.{time}.{signature}"})


def challenge(request: Request, source: Source[Account], now_s: float) -> Reply | None:
    """The console checks an address by a signed callback of type 001."""
    if ADDRESS_CHECK_TEXT not in request.body:
        return None
    verify(request, source, now_s)  # before the body is read: anybody can send one that takes long
    return Reply() if _is_address_check(request.body) else None


def _is_address_check(body: bytes) -> bool:
    try:
        return read(_notice, body).event_type == ADDRESS_CHECK
    except Unreadable:
        return False


def identify(request: Request) -> Identity:
    """The facts are the application and the `eventId`."""
    notice = read_whole(_notice, _notice, request.body)
    data, event = notice.event_data, _event(notice)
    event_type = unknown_type(str(notice.event_type)) if event is None else event_topic(event)
    facts = (optional_text(data.app_id) or "", str(notice.event_id))
    subject = optional_text(data.channel_id) or optional_text(data.task_id) or ""
    return Identity(event_type, facts, subject, unix_s(_number(notice.notify_time)))


def _event(notice: Notice) -> type[CanonicalEvent] | None:
    """The event of this type; None for one of another type, or one of files that names none.

    Where only some of the files were stored, the callback counts as one of stored files.
    """
    match str(notice.event_type):
        case "2000":
            return RecordingStarted
        case "2001":
            states = [_is_stored(file) for file in notice.event_data.record_state.file_info]
            return (RecordingUploaded if any(states) else RecordingFailed) if states else None
        case "2002":
            return RecordingFailed
        case _:
            return None


def _is_stored(file: File) -> bool:
    return file.status is None or number(file.status) == SUCCEEDED


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    notice = read_again(_notice, envelope.body)
    event = _event(notice)
    if event is None:
        return (Unknown(**envelope.head(notice.event_type), payload=read_again(anything, envelope.body)),)
    if str(notice.event_type) == DONE:
        return _files(envelope, notice)
    state: Any = {} if event is RecordingStarted else _failure(notice.event_data.record_state)
    made: Any = event(**envelope.head(notice.event_type), **_shared(notice.event_data), **state)
    return (made,)


def _shared(data: Data) -> Mapping[str, Any]:
    started_s = unix_s(_number(data.record_state.start_ts))
    return {
        "room_id": optional_text(data.channel_id),
        "task_id": optional_text(data.task_id),
        "started_at": None if started_s is None else moment(started_s),
    }


def _failure(state: RecordState) -> Mapping[str, Any]:
    return {"error": state.reason, "error_code": optional_text(state.code)}


def _files(envelope: Envelope, notice: Notice) -> tuple[Event, ...]:
    """An event for each file, in the callback's order, which counts the segments."""
    files: Sequence[File] = notice.event_data.record_state.file_info
    alone = len(files) == 1
    return tuple(
        _file(file, place, envelope, notice, member=None if alone else place) for place, file in enumerate(files)
    )


def _file(file: File, place: int, envelope: Envelope, notice: Notice, *, member: int | None) -> Event:
    about: Any = {
        **envelope.head(notice.event_type, member),
        **_shared(notice.event_data),
        "segment": place,
        "file_name": file.file_path,
        "size_bytes": _number(file.file_size),
        "duration_s": _number(file.file_duration),
    }
    if _is_stored(file):
        return RecordingUploaded(**about)
    return RecordingFailed(**about, error_code=_code(file))


def _code(file: File) -> str | None:
    return None if file.status is None else str(number(file.status))


def _number(value: int | str | None) -> int | None:
    return None if value is None else number(value)


def _sample(kind: str, task: str, **state: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        ms = int(at_s * 1000)
        data = {"appId": "example-app-id", "channelId": f"demo-{n}", "taskId": task}
        return {
            "eventId": f"{kind}-{n}",
            "eventType": kind,
            "notifyTime": ms,
            "eventData": {**data, "recordState": {"startTs": ms, **state}},
        }

    return Sample(kind, body)


FILE = {"status": 0, "filePath": "rec/demo.mp4", "fileDuration": 60, "fileSize": 104857600}
SAMPLES = (
    _sample(STARTED, "recording"),
    _sample(FAILED, "another", code=5001, reason="storage denied"),
    _sample(DONE, "recording", fileInfo=[FILE]),
)

PROVIDER = Provider(
    name="dingrtc",
    title="Alibaba Cloud DingRTC; experimental",
    account=Account,
    example=Example("dingrtc-main", {"app_id": "example-app-id"}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the whole body and the time (HMAC-SHA256)",
    leaves_open="a copy within the tolerance, which counts as a repeat",
    sign=sign,
    identify=identify,
    normalise=normalise,
    challenge=challenge,
    resends_for_s=30,
    shown=frozenset({"trace-id"}),
)
