"""100ms: sessions, peers, recordings, streams and transcripts.

Source: the repository of its documentation (100ms-docs, 2026). It has no signature: the dashboard adds a header of the
owner's choice, whose value is a password. It also publishes the addresses from which it calls; name them in
`allow_from`. They are not listed here, because the copy of the page that was at hand has only a part of them.

Its API for replays sends events of the last 30 days again, with the same ids.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hookline.schemas.envelope import Envelope, Identity, moment
from hookline.schemas.errors import Unreadable
from hookline.schemas.events import (
    Event,
    EventHead,
    LeaveReason,
    ParticipantJoined,
    ParticipantJoinFailed,
    ParticipantLeft,
    ParticipantRoleChanged,
    RecordingCompleted,
    RecordingFailed,
    RecordingStarted,
    RecordingTrack,
    RecordingUploaded,
    RoomCreated,
    RoomEnded,
    StreamFailed,
    StreamProtocol,
    StreamStarted,
    StreamStopped,
    TranscriptFailed,
    TranscriptReady,
)
from hookline.schemas.payload import (
    Id,
    Number,
    Text,
    optional_text,
    read_known,
    read_known_again,
    recheck,
    required,
    text_s,
    unknown_type,
    whole,
)
from hookline.schemas.provider import Example, Outgoing, Provider, Request, Sample, Source, needs_a_secret
from hookline.schemas.signing import check_shared_secret
from hookline.schemas.unknown import all_facts, normalise_unknown

TYPES: Mapping[str, str | tuple[str, ...]] = {
    "session.open.success": "room.created",
    "peer.join.success": "participant.joined",
    "peer.join.failure": "participant.join_failed",
    "role.change.success": "participant.role_changed",
    "track.recording.started.success": "recording.started",
    "beam.started.success": ("recording.started", "stream.started"),
    "beam.started.failure": ("recording.failed", "stream.failed"),
    "hls.started.success": "stream.started",
    "hls.failure": "stream.failed",
    "ingest.start.success": "stream.started",
    "ingest.start.failure": "stream.failed",
    "ingest.failure": "stream.failed",
    "ingest.end.success": "stream.stopped",
    "hls.stopped.success": "stream.stopped",
    "beam.stopped.success": ("recording.completed", "stream.stopped"),
    "peer.leave.success": "participant.left",
    "session.close.success": "room.ended",
    "track.recording.success": "recording.uploaded",
    "track.recording.failure": "recording.failed",
    "stream.recording.success": "recording.uploaded",
    "stream.recording.failure": "recording.failed",
    "recording.success": "recording.uploaded",
    "recording.failed": "recording.failed",
    "beam.recording.success": "recording.uploaded",
    "beam.failure": "recording.failed",
    "hls.recording.success": "recording.uploaded",
    "hls.recording.failure": "recording.failed",
    "transcription.success": "transcript.ready",
    "transcription.failure": "transcript.failed",
}
REASONS: Mapping[str, LeaveReason] = {
    "client request": "left",
    "peer kicked": "removed",
    "server removed peer": "removed",
    "websocket closed": "disconnected",
    "ice connection state closed": "disconnected",
}
PROTOCOLS: Mapping[str, StreamProtocol] = {"beam": "rtmp", "hls": "hls", "ingest": "rtmp"}
TRACKS: Mapping[str | None, RecordingTrack] = {"audio": "audio", "video": "video", "screen": "screen"}
TIMES: Mapping[str, Sequence[str]] = {
    "participant.joined": ["joined_at"],
    "participant.left": ["left_at"],
    "participant.role_changed": ["role_changed_at"],
    "room.created": ["session_started_at"],
    "room.ended": ["session_stopped_at"],
    "recording.started": ["started_at"],
    "stream.started": ["started_at"],
    "recording.completed": ["stopped_at", "ended_at"],
    "stream.stopped": ["stopped_at", "ended_at"],
}
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
URL_FIELDS = frozenset(
    {
        *("recording_presigned_url", "chat_recording_presigned_url", "rtmp_recording_presigned_url"),
        *("hls_vod_recording_presigned_url", "recording_single_files_presigned_url", "presigned_url", "url"),
        *("transcript_txt_presigned_url", "transcript_srt_presigned_url", "transcript_json_presigned_url"),
        *("summary_json_presigned_url", "speaker_labels_presigned_url", "meeting_url"),
    }
)


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`header` is the name that the dashboard was told to send; the secret is its value."""

    header: str


class Data(msgspec.Struct, frozen=True):
    """Times are RFC 3339 with nine decimals; one in the year 1 stands for none. Durations are seconds."""

    room_id: Id | None = None
    room_name: str | None = None
    session_id: Id | None = None
    peer_id: Id | None = None
    user_id: Id | None = None
    user_name: str | None = None
    role: Text | None = None
    previous_role: Text | None = None
    reason: str | None = None
    error: str | None = None
    error_message: str | None = None
    error_type: Text | None = None
    type: Text | None = None
    joined_at: Text | None = None
    left_at: Text | None = None
    role_changed_at: Text | None = None
    started_at: Text | None = None
    stopped_at: Text | None = None
    ended_at: Text | None = None
    session_started_at: Text | None = None
    session_stopped_at: Text | None = None
    session_duration: Number | float | None = None
    duration: Number | float | None = None
    size: Number | float | None = None
    beam_id: Id | None = None
    job_id: Id | None = None
    ingest_id: Id | None = None
    stream_id: Id | None = None
    track_id: Id | None = None
    track_type: Text | None = None
    stream_type: Text | None = None
    recording_id: Id | None = None
    transcription_id: Id | None = None
    recording_enabled: bool | None = None
    rtmp: tuple[str, ...] = ()
    url: str | None = None
    recording_path: str | None = None
    recording_presigned_url: str | None = None
    location: str | None = None
    hls_vod_recording_path: str | None = None
    transcript_txt_path: str | None = None
    transcript_json_path: str | None = None


class Kind(msgspec.Struct, frozen=True):
    """`timestamp` is when the notice was made. A replay has the same `id`."""

    type: Id
    id: Id | None = None
    timestamp: Text | None = None


class Notice(Kind, frozen=True, kw_only=True):
    data: Data


_kind = msgspec.json.Decoder(Kind)
_notice = msgspec.json.Decoder(Notice)


def fault(source: Source[Account]) -> str | None:
    if not HEADER_NAME.fullmatch(source.account.header):
        return "header: it is not the name of a header"
    return needs_a_secret(source)


def verify(request: Request, source: Source[Account], now_s: float) -> None:
    """A password in a header. It covers neither the body nor a time."""
    check_shared_secret(request.header(source.account.header), source.keys)


def sign(body: bytes, source: Source[Account], now_s: float) -> Outgoing:
    return Outgoing(body, {source.account.header: bytes(source.keys[0]).decode()})


def identify(request: Request) -> Identity:
    """The fact is the id of the event; without one, all fields."""
    body = request.body
    notice = read_known(_notice, _kind, body, _is_known)
    facts = (str(notice.id),) if notice.id else all_facts(notice.type, body)
    if notice.type not in TYPES or not isinstance(notice, Notice):
        return Identity(unknown_type(notice.type), facts, "", text_s(notice.timestamp))
    topics = _topics(notice)
    for topic in topics:
        _check(topic, notice)
    own_s = _own_s(topics[0], notice.data)
    at_s = text_s(notice.timestamp) if own_s is None else own_s
    return Identity(topics[0], facts, optional_text(notice.data.room_id) or "", at_s)


def _is_known(kind: Kind) -> bool:
    return kind.type in TYPES


def _topics(notice: Notice) -> tuple[str, ...]:
    """What happened: a beam records a room, streams it, or both; it is taken to record where that is not said."""
    declared = TYPES[str(notice.type)]
    if isinstance(declared, str):
        return (declared,)
    recording, stream = declared
    records = notice.data.recording_enabled is not False
    if not notice.data.rtmp:
        return (recording,)
    return declared if records else (stream,)


def _check(topic: str, notice: Notice) -> None:
    """Raise Unreadable for an event that lacks what it is about."""
    entity = topic.partition(".")[0]
    if entity in ("room", "participant"):
        required(notice.data.room_id, "room_id")
    if entity == "participant" and topic != "participant.join_failed":
        _user(notice.data)
    if entity == "stream":
        _stream_id(notice)


def _own_s(topic: str, data: Data) -> float | None:
    """The time of the event itself. A time in the year 1 is none."""
    times = (getattr(data, name) for name in TIMES.get(topic, ()))
    return next((found for time in times if (found := text_s(time)) is not None), None)


def _user(data: Data) -> str:
    """The user id, which may be blank. Raises Unreadable where the peer has no id, either."""
    return required(data.user_id or data.peer_id or None, "peer_id")


def _stream_id(notice: Notice) -> str:
    """The id of the beam or the input. HLS has none: a session has one such stream."""
    data = notice.data
    found = data.beam_id or data.ingest_id or data.stream_id or data.job_id or data.session_id or data.room_id
    if not found:
        raise Unreadable("the body names no stream and no session")
    return str(found)


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    notice = read_known_again(_notice, _kind, envelope.body, _is_known)
    if notice.type not in TYPES or not isinstance(notice, Notice):
        return normalise_unknown(envelope, notice.type)
    topics = _topics(notice)
    heads = [envelope.head(notice.type, place if len(topics) > 1 else None) for place in range(len(topics))]
    return tuple(_event(head, topic, notice) for head, topic in zip(heads, topics, strict=True))


def _event(head: EventHead, topic: str, notice: Notice) -> Event:
    match topic.partition(".")[0]:
        case "room":
            return _room_event(head, topic, notice.data)
        case "participant":
            return _participant_event(head, topic, notice.data)
        case "stream":
            return _stream_event(head, topic, notice)
        case "transcript":
            return _transcript_event(head, topic, notice.data)
        case _:
            return _recording_event(head, topic, notice)


def _room_event(head: EventHead, topic: str, data: Data) -> Event:
    about = _about(data)
    if topic == "room.created":
        return RoomCreated(**head, **about, name=data.room_name)
    return RoomEnded(**head, **about, duration_s=whole(data.session_duration))


def _about(data: Data) -> dict[str, Any]:
    return {"room_id": optional_text(data.room_id), "session_id": optional_text(data.session_id or None)}


def _participant_event(head: EventHead, topic: str, data: Data) -> Event:
    peer, name = optional_text(data.peer_id or None), data.user_name or None
    if topic == "participant.join_failed":
        user = optional_text(data.user_id or data.peer_id or None)
        who = {**_about(data), "user_id": user, "connection_id": peer, "display_name": name}
        return ParticipantJoinFailed(**head, **who, error=data.error_message or data.error)
    who = {**_about(data), "user_id": _user(data), "connection_id": peer, "display_name": name, "role_name": data.role}
    kind = "phone" if data.type == "sip" else None
    match topic:
        case "participant.joined":
            return ParticipantJoined(**head, **who, kind=kind)  # type: ignore[arg-type]  # a literal above
        case "participant.left":
            reason, lasted = REASONS.get((data.reason or "").lower(), "unknown"), whole(data.duration)
            return ParticipantLeft(**head, **who, reason=reason, duration_s=lasted, kind=kind)  # type: ignore[arg-type]  # as above
        case _:
            return ParticipantRoleChanged(**head, **who, previous_role_name=data.previous_role)


def _stream_event(head: EventHead, topic: str, notice: Notice) -> Event:
    data, family = notice.data, str(notice.type).partition(".")[0]
    about: dict[str, Any] = {
        **_about(data),
        "stream_id": _stream_id(notice),
        "direction": "in" if family == "ingest" else "out",
        "protocol": PROTOCOLS.get(family),
        "url": _without_key(data.rtmp[0]) if data.rtmp else _without_query(data.url),
        "user_id": optional_text(data.user_id or None),
    }
    match topic:
        case "stream.started":
            return StreamStarted(**head, **about)
        case "stream.stopped":
            return StreamStopped(**head, **about, duration_s=whole(data.duration))
        case _:
            return StreamFailed(**head, **about, error=_error(data))


def _without_key(url: str) -> str | None:
    """The URL of an RTMP stream without its last part, which is its key."""
    return url.partition("?")[0].rpartition("/")[0] or None


def _without_query(url: str | None) -> str | None:
    return url.partition("?")[0] or None if url else None


def _recording_event(head: EventHead, topic: str, notice: Notice) -> Event:
    data, family = notice.data, str(notice.type).partition(".")[0]
    mixed = family in ("beam", "hls", "recording")
    kind = data.track_type or data.stream_type or data.type
    started_s = text_s(data.started_at)
    about: dict[str, Any] = {
        **_about(data),
        "user_id": optional_text(data.user_id or data.peer_id or None) if family in ("track", "stream") else None,
        "task_id": optional_text(data.beam_id or data.job_id or data.stream_id or None),
        "recording_id": optional_text(data.recording_id or data.track_id or None),
        "mixed": mixed or None,
        "track": "mixed" if mixed else TRACKS.get(kind),
        "started_at": None if started_s is None else moment(started_s),
    }
    match topic:
        case "recording.started":
            return RecordingStarted(**head, **about)
        case "recording.completed":
            return RecordingCompleted(**head, **about, duration_s=whole(data.duration))
        case "recording.uploaded":
            path, size = data.recording_path or data.hls_vod_recording_path or data.location, whole(data.size)
            file = {"file_name": path, "url": data.recording_presigned_url, "size_bytes": size}
            return RecordingUploaded(**head, **about, **file, duration_s=whole(data.duration))  # type: ignore[arg-type]  # each is of its field
        case _:
            return RecordingFailed(**head, **about, error=_error(data), error_code=data.error_type)


def _transcript_event(head: EventHead, topic: str, data: Data) -> Event:
    about: dict[str, Any] = {
        **_about(data),
        "transcript_id": optional_text(data.transcription_id),
        "recording_id": optional_text(data.recording_id),
        "file_name": data.transcript_txt_path or data.transcript_json_path,
    }
    if topic == "transcript.ready":
        return TranscriptReady(**head, **about)
    return TranscriptFailed(**head, **about, error=_error(data))


def _error(data: Data) -> str | None:
    return data.error or data.error_message or data.error_type


def _sample(kind: str, *times: str, **details: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        at = moment(at_s)
        time = f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond:06}000Z"
        room = {"room_id": f"demo-{n}", "room_name": "demo", "session_id": f"session-{n}"}
        data = {**room, **details, **dict.fromkeys(times, time)}
        return {
            "version": "2.0",
            "id": f"{kind}-{details.get('beam_id', '')}-{n}",
            "timestamp": time,
            "type": kind,
            "data": data,
        }

    return Sample(kind, body)


_STUDENT = {"peer_id": "peer", "user_id": "student", "user_name": "Student", "role": "guest", "type": "regular"}
_BEAM = {"beam_id": "beam", "recording_enabled": True}
_RTMP = {"beam_id": "rtmp", "recording_enabled": False, "rtmp": ["rtmp://live.example.com/app/demo"]}
_INGEST = {"ingest_id": "ingest", "stream_id": "stream"}
_TRACK = {**_STUDENT, "track_id": "track", "track_type": "video"}
_STREAM = {**_STUDENT, "stream_id": "stream", "stream_type": "regular"}
_FILE = {"size": 1_000_000, "duration": 8, "recording_path": "s3://demo/recording.mp4"}
_ERROR = {"error": "the recorder stopped", "error_type": "INTERNAL_ERROR"}
_TRANSCRIPT = {"transcription_id": "transcript", "recording_id": "recording"}
SAMPLES = (
    _sample("session.open.success", "session_started_at"),
    _sample("peer.join.success", "joined_at", **_STUDENT),
    _sample("peer.join.failure", **_STUDENT, error_message="role not allowed", joined_at="0001-01-01T00:00:00Z"),
    _sample("role.change.success", "role_changed_at", **_STUDENT, previous_role="guest"),
    _sample("track.recording.started.success", "started_at", **_TRACK),
    _sample("beam.started.success", "started_at", **_BEAM),
    _sample("beam.started.success", "started_at", **_RTMP),
    _sample("beam.started.failure", **_RTMP, **_ERROR),
    _sample("hls.started.success", "started_at", url="https://live.example.com/demo.m3u8"),
    _sample("hls.failure", **_ERROR),
    _sample("ingest.start.success", "started_at", **_INGEST),
    _sample("ingest.start.failure", **_INGEST, **_ERROR),
    _sample("ingest.failure", **_INGEST, **_ERROR),
    _sample("ingest.end.success", **_INGEST, duration=3),
    _sample("hls.stopped.success", "stopped_at", duration=3),
    _sample("beam.stopped.success", "stopped_at", **_BEAM, duration=3),
    _sample("peer.leave.success", "left_at", **_STUDENT, reason="client request", duration=3),
    _sample("session.close.success", "session_stopped_at", session_duration=8),
    _sample("track.recording.success", **_TRACK, **_FILE),
    _sample("track.recording.failure", **_TRACK, **_ERROR),
    _sample("stream.recording.success", **_STREAM, **_FILE),
    _sample("stream.recording.failure", **_STREAM, **_ERROR),
    _sample("recording.success", **_FILE),
    _sample("recording.failed", **_ERROR),
    _sample("beam.recording.success", beam_id="beam", **_FILE),
    _sample("beam.failure", beam_id="beam", **_ERROR),
    _sample("hls.recording.success", hls_vod_recording_path="s3://demo/recording.zip"),
    _sample("hls.recording.failure", **_ERROR),
    _sample("transcription.success", **_TRANSCRIPT, transcript_txt_path="s3://demo/transcript.txt"),
    _sample("transcription.failure", **_TRANSCRIPT, **_ERROR),
)

PROVIDER = Provider(
    name="100ms",
    title="100ms",
    account=Account,
    example=Example("100ms-main", {"header": "X-Hookline-Secret"}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="nothing: a password in a header, which proves who sends",
    strength="shared secret",
    leaves_open="the content and the time: anyone who reads one request can send others; use HTTPS and `allow_from`",
    sign=sign,
    identify=identify,
    normalise=normalise,
    fault=fault,
    resends_for_s=31 * 24 * 3600,
    secret_fields=frozenset({"rtmp", "rtmp_url", "stream_key", "streamkey"}),
    url_fields=URL_FIELDS,
)
