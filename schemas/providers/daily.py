"""Daily: meetings, their participants and waiting rooms, recordings, streams and transcripts.

Sources: Daily's pages on webhooks, their creation and their events. Its page signs the JSON that it has parsed and
written again; the body as it arrived gives the same where it is compact, and is what counts here. The page calls the
time in the header milliseconds; seconds are read, too. Open: whether a re-send is signed anew.

A webhook of the default type, `circuit-breaker`, gets no more events after three failures in a row. Choose
`exponential` when you create it.
"""

from base64 import b64encode
from binascii import Error, a2b_base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hookline.schemas.envelope import Envelope, Identity, moment
from hookline.schemas.errors import BadSignature
from hookline.schemas.events import (
    Event,
    EventHead,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantWaiting,
    ParticipantWaitingEnded,
    RecordingFailed,
    RecordingStarted,
    RecordingTrack,
    RecordingUploaded,
    RoomCreated,
    RoomEnded,
    StreamFailed,
    StreamStarted,
    StreamStateChanged,
    StreamStopped,
    TranscriptFailed,
    TranscriptReady,
)
from hookline.schemas.payload import (
    Id,
    Int,
    optional_text,
    read_known,
    read_known_again,
    recheck,
    required,
    unix_s,
    unknown_type,
)
from hookline.schemas.provider import Example, Key, Outgoing, Provider, Reply, Request, Sample, Source
from hookline.schemas.signing import check_base64, check_fresh, decimal
from hookline.schemas.unknown import all_facts, normalise_unknown

TYPES = {
    "meeting.started": "room.created",
    "waiting-participant.joined": "participant.waiting",
    "waiting-participant.left": "participant.waiting_ended",
    "participant.joined": "participant.joined",
    "recording.started": "recording.started",
    "recording.error": "recording.failed",
    "streaming.started": "stream.started",
    "streaming.updated": "stream.state_changed",
    "streaming.error": "stream.failed",
    "streaming.ended": "stream.stopped",
    "participant.left": "participant.left",
    "meeting.ended": "room.ended",
    "recording.ready-to-download": "recording.uploaded",
    "transcript.ready-to-download": "transcript.ready",
    "transcript.error": "transcript.failed",
    "batch-processor.job-finished": "transcript.ready",
    "batch-processor.error": "transcript.failed",
}
IN_ROOMS = ("room", "participant")
URL_CHECK = b'{"test":"test"}'
TRACKS: Mapping[str | None, RecordingTrack] = {
    "audio": "audio",
    "video": "video",
    "screen-video": "screen",
    "screenVideo": "screen",
    "screen-audio": "audio",
    "screenAudio": "audio",
}
# Who called, and where to call: they are in the events about telephones, which are kept as unknown.
SECRET_FIELDS = frozenset(
    {
        *("share_token", "hmac", "basicauth", "from", "to", "phonenumber", "phone_number", "callerid", "caller_id"),
        *("sipuri", "sip_uri", "sipendpoint", "sip_endpoint", "sipheaders", "sip_headers", "sipfrom", "sipto"),
        *("dialinnumber", "dialin_number", "dialincode", "dialin_code"),
    }
)
URL_FIELDS = frozenset({"download_link", "uri"})


class TrackFile(msgspec.Struct, frozen=True):
    """One file of a recording of raw tracks."""

    size: Int | None = None
    type: Id | None = None
    s3key: str | None = None


class Bucket(msgspec.Struct, frozen=True):
    key: str | None = None


class Target(msgspec.Struct, frozen=True):
    s3: Bucket | None = None


class Input(msgspec.Struct, frozen=True, rename="camel"):
    recording_id: Id | None = None


class Payload(msgspec.Struct, frozen=True):
    """Times are Unix seconds, with fractions. The room is `room` in some events and `room_name` in others."""

    room: Id | None = None
    room_name: Id | None = None
    meeting_id: Id | None = None
    mtg_session_id: Id | None = None
    session_id: Id | None = None
    user_id: Id | None = None
    user_name: str | None = None
    owner: bool | None = None
    joined_at: float | None = None
    start_ts: float | None = None
    end_ts: float | None = None
    timestamp: float | None = None
    duration: float | None = None
    recording_id: Id | None = None
    instance_id: Id | None = None
    id: Id | None = None
    type: Id | None = None
    s3_key: str | None = None
    tracks: tuple[TrackFile, ...] = ()
    out_params: Target | None = None
    preset: Id | None = None
    input: Input | None = None
    error: str | None = None
    error_msg: str | None = None
    error_message: str | None = None


class Kind(msgspec.Struct, frozen=True):
    """`event_ts` is the time of sending, in Unix seconds. A re-send has the same `id`."""

    type: Id
    id: Id | None = None
    event_ts: float | None = None


class Notice(Kind, frozen=True, kw_only=True):
    payload: Payload


_kind = msgspec.json.Decoder(Kind)
_notice = msgspec.json.Decoder(Notice)


def key(secret: str) -> Key:
    """The webhook's `hmac`, which is base64. Raises ValueError for any other text."""
    try:
        return Key(a2b_base64(secret.strip(), strict_mode=True))
    except (Error, ValueError):
        raise ValueError("the secret is not base64") from None


def verify(request: Request, source: Source[Any], now_s: float) -> None:
    """HMAC-SHA256 of time, `.` and body, in base64."""
    signature, time = request.header("X-Webhook-Signature"), request.header("X-Webhook-Timestamp")
    if len(time) not in (SECONDS_DIGITS, MILLISECONDS_DIGITS):
        raise BadSignature("the time stamp is neither in seconds nor in milliseconds")
    sent = decimal(time, len(time))
    check_base64(signature, [_digest(key, time, request.body) for key in source.keys])
    check_fresh(sent if len(time) == SECONDS_DIGITS else sent / 1000, now_s, source.tolerance_s)


SECONDS_DIGITS, MILLISECONDS_DIGITS = 10, 13


def _digest(key: Key, time: str, body: bytes) -> bytes:
    return key.hmac(b"%b.%b" % (time.encode(), body), "sha256")


def challenge(request: Request, source: Source[Any], now_s: float) -> Reply | None:
    """The check on creation, update and re-activation. It needs no proof, because it may precede the secret."""
    return Reply() if request.body == URL_CHECK else None


def sign(body: bytes, source: Source[Any], now_s: float) -> Outgoing:
    time = f"{int(now_s * 1000):0{MILLISECONDS_DIGITS}}"
    signature = b64encode(_digest(source.keys[0], time, body)).decode()
    return Outgoing(body, {"X-Webhook-Signature": signature, "X-Webhook-Timestamp": time})


def identify(request: Request) -> Identity:
    """The fact is the id of the event; without one, all fields but the time of sending."""
    body = request.body
    notice = read_known(_notice, _kind, body, _is_known)
    facts = (str(notice.id),) if notice.id else all_facts(notice.type, body, ("event_ts",))
    if notice.type not in TYPES or not isinstance(notice, Notice):
        return Identity(unknown_type(notice.type), facts, "", unix_s(notice.event_ts))
    topic, payload = TYPES[str(notice.type)], notice.payload
    _check(topic, payload)
    own_s = _own_s(topic, payload)
    return Identity(topic, facts, _subject(payload), unix_s(notice.event_ts) if own_s is None else own_s)


def _is_known(kind: Kind) -> bool:
    return kind.type in TYPES


def _check(topic: str, payload: Payload) -> None:
    """Raise Unreadable for an event that lacks what it is about."""
    entity = topic.partition(".")[0]
    if entity in IN_ROOMS:
        required(_room(payload), "room")
    if entity == "participant":
        required(_user(payload), "session_id")
    if entity == "stream":
        required(payload.instance_id, "instance_id")


def _own_s(topic: str, payload: Payload) -> float | None:
    """The time of the event itself; `event_ts` is later."""
    match topic:
        case "room.created" | "recording.started":
            return unix_s(payload.start_ts)
        case "room.ended":
            return unix_s(payload.end_ts)
        case "participant.joined" | "participant.waiting":
            return unix_s(payload.joined_at)
        case "participant.left" | "participant.waiting_ended":
            known = payload.joined_at is not None and payload.duration is not None
            return unix_s(payload.joined_at + payload.duration) if known else None  # type: ignore[operator]  # known
        case _:
            return unix_s(payload.timestamp)


def _room(payload: Payload) -> str | None:
    return optional_text(payload.room or payload.room_name or None)


def _user(payload: Payload) -> str | None:
    return optional_text(payload.user_id or payload.session_id or None)


def _subject(payload: Payload) -> str:
    """The name of the room. Some events about recordings and streams name none: nothing joins them to their room."""
    processed = payload.input.recording_id if payload.input else None
    ids = (_room(payload), payload.recording_id, payload.instance_id, processed, payload.id)
    return next((str(each) for each in ids if each), "")


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    notice = read_known_again(_notice, _kind, envelope.body, _is_known)
    if notice.type not in TYPES or not isinstance(notice, Notice):
        return normalise_unknown(envelope, notice.type)
    payload, topic = notice.payload, TYPES[str(notice.type)]
    head = envelope.head(notice.type)
    match topic.partition(".")[0]:
        case "room" | "participant":
            return (_room_event(head, topic, payload),)
        case "stream":
            return (_stream_event(head, topic, payload),)
        case "transcript":
            return (_transcript_event(head, topic, payload),)
        case _ if topic == "recording.uploaded":
            return _uploaded(envelope, notice.type, payload)
        case _:
            return (_recording_event(head, topic, payload),)


def _room_event(head: EventHead, topic: str, payload: Payload) -> Event:
    room, session = required(_room(payload), "room"), _session(payload)
    match topic:
        case "room.created":
            return RoomCreated(**head, room_id=room, name=room, session_id=session)
        case "room.ended":
            known = payload.start_ts is not None and payload.end_ts is not None
            lasted = payload.end_ts - payload.start_ts if known else None  # type: ignore[operator]  # known
            return RoomEnded(**head, room_id=room, session_id=session, duration_s=_whole(lasted))
        case _:
            return _participant_event(head, topic, payload)


def _participant_event(head: EventHead, topic: str, payload: Payload) -> Event:
    who: dict[str, Any] = {
        "room_id": required(_room(payload), "room"),
        "user_id": required(_user(payload), "session_id"),
        "session_id": _session(payload),
        "connection_id": optional_text(payload.session_id),
        "display_name": payload.user_name or None,
    }
    role = "host" if payload.owner else None
    match topic:
        case "participant.joined":
            return ParticipantJoined(**head, **who, role=role)  # type: ignore[arg-type]  # a literal above
        case "participant.left":
            lasted = _whole(payload.duration)
            return ParticipantLeft(**head, **who, role=role, duration_s=lasted)  # type: ignore[arg-type]  # as above
        case "participant.waiting":
            return ParticipantWaiting(**head, **who)
        case _:
            return ParticipantWaitingEnded(**head, **who)


def _session(payload: Payload) -> str | None:
    return optional_text(payload.meeting_id or payload.mtg_session_id or None)


def _stream_event(head: EventHead, topic: str, payload: Payload) -> Event:
    stream = required(payload.instance_id, "instance_id")
    about: dict[str, Any] = {"room_id": _room(payload), "session_id": _session(payload), "stream_id": stream}
    match topic:
        case "stream.started":
            return StreamStarted(**head, **about, direction="out")
        case "stream.state_changed":
            return StreamStateChanged(**head, **about, direction="out", state="updated")
        case "stream.stopped":
            return StreamStopped(**head, **about, direction="out", duration_s=_whole(payload.duration))
        case _:
            error = payload.error_message or payload.error_msg or payload.error
            return StreamFailed(**head, **about, direction="out", error=error)


def _recording_event(head: EventHead, topic: str, payload: Payload) -> Event:
    about = _recording(payload)
    if topic == "recording.started":
        return RecordingStarted(**head, **about)
    return RecordingFailed(**head, **about, error=payload.error_msg or payload.error_message or payload.error)


def _uploaded(envelope: Envelope, provider_type: Id, payload: Payload) -> tuple[Event, ...]:
    """One event for each file: a recording of raw tracks has several."""
    about = _recording(payload) | {"duration_s": _whole(payload.duration)}
    if not payload.tracks:
        mixed = {"mixed": True, "track": "mixed"} if payload.type == "cloud" else {}
        sound = {"track": "audio"} if payload.type == "cloud-audio-only" else {}
        file: dict[str, Any] = {"file_name": payload.s3_key, "segment": 0, **mixed, **sound}
        return (RecordingUploaded(**envelope.head(provider_type), **about, **file),)
    files: Sequence[TrackFile] = payload.tracks
    return tuple(
        RecordingUploaded(
            **envelope.head(provider_type, place if len(files) > 1 else None),
            **about,
            segment=place,
            file_name=file.s3key,
            size_bytes=file.size,
            track=TRACKS.get(optional_text(file.type)),
        )
        for place, file in enumerate(files)
    )


def _recording(payload: Payload) -> dict[str, Any]:
    started_s = unix_s(payload.start_ts)
    return {
        "room_id": _room(payload),
        "session_id": _session(payload),
        "recording_id": optional_text(payload.recording_id),
        "task_id": optional_text(payload.instance_id),
        "started_at": None if started_s is None else moment(started_s),
    }


def _transcript_event(head: EventHead, topic: str, payload: Payload) -> Event:
    processed = payload.input.recording_id if payload.input else None
    about: dict[str, Any] = {
        "room_id": _room(payload),
        "session_id": _session(payload),
        "transcript_id": optional_text(payload.id),
        "recording_id": optional_text(payload.recording_id or processed),
        "kind": "transcript" if "transcri" in str(payload.preset or "transcript") else "summary",
        "file_name": payload.out_params.s3.key if payload.out_params and payload.out_params.s3 else None,
    }
    if topic == "transcript.ready":
        return TranscriptReady(**head, **about)
    return TranscriptFailed(**head, **about, error=payload.error or payload.error_msg or payload.error_message)


def _whole(seconds: float | None) -> int | None:
    return round(seconds) if seconds is not None and 0 <= seconds < _LONGEST_S else None


_LONGEST_S = 2**31


def _sample(kind: str, **details: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        times = {"start_ts": at_s, "end_ts": at_s, "joined_at": at_s, "timestamp": at_s}
        payload = {name: times.get(name, value) for name, value in details.items()}
        names = {name: f"{value}-{n}" for name, value in payload.items() if name in SAMPLE_NAMES}
        return {"version": "1.0.0", "type": kind, "id": f"{kind}-{n}", "payload": payload | names, "event_ts": at_s}

    return Sample(kind, body)


SAMPLE_NAMES = ("room", "room_name", "meeting_id", "mtg_session_id", "session_id", "recording_id", "instance_id")
_STUDENT = {"room": "demo", "user_id": "student", "user_name": "Student", "session_id": "visit", "joined_at": 0.0}
_FILE = {"type": "cloud", "recording_id": "recording", "room_name": "demo", "duration": 8, "s3_key": "demo/recording"}
_STREAM = {"instance_id": "stream", "domain_id": "demo", "timestamp": 0.0}
_TRANSCRIPT = {"id": "transcript", "room_name": "demo", "mtg_session_id": "meeting"}
_JOB = {"id": "job", "preset": "summarize", "input": {"sourceType": "recordingId", "recordingId": "recording"}}
SAMPLES = (
    _sample("meeting.started", room="demo", meeting_id="meeting", start_ts=0.0),
    _sample("waiting-participant.joined", **_STUDENT),
    _sample("waiting-participant.left", **_STUDENT, duration=0.0),
    _sample("participant.joined", **_STUDENT, owner=False),
    _sample("recording.started", recording_id="recording", action="cloud-recording-started", start_ts=0.0),
    _sample("streaming.started", **_STREAM),
    _sample("streaming.updated", **_STREAM),
    _sample("streaming.error", **_STREAM, error_message="the endpoint refused the stream"),
    _sample("streaming.ended", **_STREAM),
    _sample("participant.left", **_STUDENT, owner=False, duration=0.0),
    _sample("meeting.ended", room="demo", meeting_id="meeting", start_ts=0.0, end_ts=0.0),
    _sample("recording.ready-to-download", **_FILE),
    _sample("recording.error", room_name="demo", error_msg="the recorder stopped", timestamp=0.0),
    _sample("transcript.ready-to-download", **_TRANSCRIPT, out_params={"s3": {"key": "demo/transcript.vtt"}}),
    _sample("transcript.error", **_TRANSCRIPT, error="no speech"),
    _sample("batch-processor.job-finished", **_JOB),
    _sample("batch-processor.error", **_JOB, error="no speech"),
)

PROVIDER = Provider(
    name="daily",
    title="Daily",
    example=Example("daily-main", {}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the whole body and the time (HMAC-SHA256)",
    leaves_open="a copy within the tolerance, which is the same event; the test of the URL needs no signature",
    key=key,
    sign=sign,
    challenge=challenge,
    identify=identify,
    normalise=normalise,
    resends_for_s=3600,
    shown=frozenset({"x-webhook-timestamp"}),
    secret_fields=SECRET_FIELDS,
    url_fields=URL_FIELDS,
)
