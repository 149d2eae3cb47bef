"""Zoom: meetings, webinars, cloud recordings, and sessions of the Video SDK.

Sources: Zoom's webhook-sample (2026) for the signature; the types of rivet-javascript (2026) and Zoom's pages on
webhooks for the events; posts of its staff in its forum for what arrives twice or late.

A callback that is not answered within three seconds is sent again 5, 25 and 85 minutes later. Open: whether such a
re-send carries a new time stamp. If it does not, `tolerance_s` has to be 5400 for the last one to be accepted.
"""

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from hookline.schemas.envelope import Envelope, Identity, moment
from hookline.schemas.errors import BadSignature, Unreadable
from hookline.schemas.events import (
    Event,
    EventHead,
    LeaveReason,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantRoleChanged,
    ParticipantWaiting,
    ParticipantWaitingEnded,
    QualityReported,
    RecordingCompleted,
    RecordingPaused,
    RecordingResumed,
    RecordingStarted,
    RecordingTrack,
    RecordingUploaded,
    Role,
    RoomCreated,
    RoomEnded,
    RoomUpdated,
    StreamStarted,
    StreamStopped,
    TrackPublished,
    TrackUnpublished,
    TranscriptFailed,
    TranscriptReady,
)
from hookline.schemas.payload import (
    Id,
    Int,
    Text,
    read,
    read_again,
    read_known,
    read_known_again,
    recheck,
    text_s,
    unix_s,
    unknown_type,
    whole_number,
)
from hookline.schemas.provider import Example, Key, Outgoing, Provider, Reply, Request, Sample, Source
from hookline.schemas.redaction import redacted
from hookline.schemas.signing import check_fresh, check_hex, decimal
from hookline.schemas.unknown import all_facts, exactly, normalise_unknown, unknown_facts

_OF_MEETINGS = {
    "started": "room.created",
    "participant_joined_waiting_room": "participant.waiting",
    "participant_put_in_waiting_room": "participant.waiting",
    "participant_jbh_waiting": "participant.waiting",
    "participant_left_waiting_room": "participant.waiting_ended",
    "participant_jbh_waiting_left": "participant.waiting_ended",
    "participant_admitted": "participant.waiting_ended",
    "participant_jbh_joined": "participant.waiting_ended",
    "participant_joined": "participant.joined",
    "participant_role_changed": "participant.role_changed",
    "updated": "room.updated",
    "sharing_started": "track.published",
    "breakout_room_sharing_started": "track.published",
    "breakout_room_sharing_ended": "track.unpublished",
    "sharing_ended": "track.unpublished",
    "live_streaming_started": "stream.started",
    "live_streaming_stopped": "stream.stopped",
    "alert": "quality.reported",
    "participant_left": "participant.left",
    "ended": "room.ended",
}
_OF_RECORDINGS = {
    "started": "recording.started",
    "paused": "recording.paused",
    "resumed": "recording.resumed",
    "stopped": "recording.completed",
    "completed": "recording.uploaded",
    "transcript_completed": "transcript.ready",
}
_OF_SESSIONS = {
    "started": "room.created",
    "user_joined": "participant.joined",
    "sharing_started": "track.published",
    "sharing_ended": "track.unpublished",
    "live_streaming_started": "stream.started",
    "live_streaming_stopped": "stream.stopped",
    "alert": "quality.reported",
    **{f"recording_{action}": topic for action, topic in _OF_RECORDINGS.items()},
    "recording_transcript_failed": "transcript.failed",
    "user_left": "participant.left",
    "ended": "room.ended",
}
TYPES = {
    **{f"meeting.{action}": topic for action, topic in _OF_MEETINGS.items()},
    **{f"recording.{action}": topic for action, topic in _OF_RECORDINGS.items()},
    "meeting.summary_completed": "transcript.ready",
    **{f"webinar.{action}": topic for action, topic in _OF_MEETINGS.items()},
    **{f"session.{action}": topic for action, topic in _OF_SESSIONS.items()},
}
ADMITTED = ("participant_admitted", "participant_jbh_joined")
# A panelist of a webinar is neither.
ROLES: Mapping[str | None, Role] = {"host": "host", "co-host": "host", "attendee": "audience"}
TRACKS: Mapping[str | None, RecordingTrack] = {
    "audio_only": "audio",
    "shared_screen": "screen",
    "active_speaker": "video",
    "gallery_view": "video",
    "speaker_view": "video",
}
# Inferred: the text is free, and may be in the language of the account.
REASONS: Sequence[tuple[str, LeaveReason]] = (
    ("host ended", "left"),
    ("host closed", "left"),
    ("removed", "removed"),
    ("connection", "disconnected"),
    ("disconnect", "disconnected"),
    ("waiting for", "expired"),
    ("limit", "expired"),
)
URL_CHECK = "endpoint.url_validation"
TIME_DIGITS = 10
SECRET_FIELDS = frozenset(
    {
        *("download_token", "download_access_token", "stream_key", "password", "passcode", "recording_play_passcode"),
        *("h323_password", "pstn_password", "encrypted_password", "host_key", "plaintoken"),
    }
)
URL_FIELDS = frozenset({"download_url", "play_url", "share_url", "join_url", "start_url", "registration_url"})


class Sharing(msgspec.Struct, frozen=True):
    date_time: Text | None = None


class Participant(msgspec.Struct, frozen=True):
    """Somebody in a meeting, a webinar or (`name`, `user_key`) a session of the Video SDK.

    `user_id` is a number within the meeting, which changes when somebody comes back. `id` is absent or blank for
    guests. `customer_key` and `user_key` are texts that the joining application sets.
    """

    user_id: Id | None = None
    id: Id | None = None
    participant_uuid: Text | None = None
    customer_key: Text | None = None
    user_key: Text | None = None
    user_name: str | None = None
    name: str | None = None
    phone_number: str | None = None
    join_time: Text | None = None
    leave_time: Text | None = None
    date_time: Text | None = None
    leave_reason: str | None = None
    old_role: Text | None = None
    new_role: Text | None = None
    sharing_details: Sharing | None = None


class Destination(msgspec.Struct, frozen=True):
    stream_url: str | None = None
    stream_key: str | None = None


class LiveStreaming(msgspec.Struct, frozen=True):
    custom_live_streaming_settings: Destination | None = None
    date_time: Text | None = None


class File(msgspec.Struct, frozen=True):
    """`id` is absent for the file of a time line."""

    id: Id | None = None
    recording_start: Text | None = None
    recording_end: Text | None = None
    file_type: Text | None = None
    file_extension: Text | None = None
    file_name: str | None = None
    file_size: Int | None = None
    download_url: str | None = None
    recording_type: Text | None = None


class Room(msgspec.Struct, frozen=True):
    """`id` is text in some events and a number in others. `duration` is the planned one, in minutes: not used."""

    id: Id | None = None
    uuid: Text | None = None
    session_id: Text | None = None
    session_name: str | None = None
    meeting_id: Id | None = None
    meeting_uuid: Text | None = None
    topic: str | None = None
    host_id: Text | None = None
    start_time: Text | None = None
    end_time: Text | None = None
    participant: Participant | None = None
    user: Participant | None = None
    live_streaming: LiveStreaming | None = None
    recording_file: File | None = None
    recording_files: tuple[File, ...] = ()
    participant_audio_files: tuple[File, ...] = ()
    issues: tuple[str, ...] = ()


class Payload(msgspec.Struct, frozen=True):
    object: Room
    account_id: Id | None = None
    operator_id: Text | None = None


class Kind(msgspec.Struct, frozen=True):
    event: Id


class Notice(msgspec.Struct, frozen=True):
    """`event_ts` is Unix milliseconds; callbacks before 2021 lack it."""

    event: Text
    payload: Payload
    event_ts: Int | None = None


class Check(msgspec.Struct, frozen=True):
    plain_token: str = msgspec.field(name="plainToken")


class CheckNotice(msgspec.Struct, frozen=True):
    event: str
    payload: Check


class Changes(msgspec.Struct, frozen=True):
    object: dict[str, Any]


class ChangeNotice(msgspec.Struct, frozen=True):
    """Everything that an update says of its room, including fields that we do not know."""

    payload: Changes


_kind = msgspec.json.Decoder(Kind)
_notice = msgspec.json.Decoder(Notice)
_check = msgspec.json.Decoder(CheckNotice)
_change = msgspec.json.Decoder(ChangeNotice)


def verify(request: Request, source: Source[Any], now_s: float) -> None:
    """`v0=` and HMAC-SHA256 of `v0:`, time, `:` and body, in hexadecimal."""
    signature, time = request.header("x-zm-signature"), request.header("x-zm-request-timestamp")
    sent_s = decimal(time, TIME_DIGITS)
    if not signature.startswith("v0="):
        raise BadSignature("the signature is not of version 0")
    check_hex(signature[3:], [_digest(key, time, request.body) for key in source.keys])
    check_fresh(sent_s, now_s, source.tolerance_s)


def _digest(key: Key, time: str, body: bytes) -> bytes:
    return key.hmac(b"v0:%b:%b" % (time.encode(), body), "sha256")


def challenge(request: Request, source: Source[Any], now_s: float) -> Reply | None:
    """The check of the URL, which Zoom repeats every 72 hours and signs like an event."""
    if URL_CHECK.encode() not in request.body:
        return None
    verify(request, source, now_s)  # before the body is read: anybody can send one that takes long
    try:
        check = read(_check, request.body)
    except Unreadable:
        return None
    if check.event != URL_CHECK:
        return None
    key = _key_of(request, source)
    token = check.payload.plain_token
    encrypted = key.hmac(token.encode("utf-8", "surrogatepass"), "sha256").hex()
    return Reply(msgspec.json.encode({"plainToken": token, "encryptedToken": encrypted}))


def _key_of(request: Request, source: Source[Any]) -> Key:
    """The secret that has signed a verified request."""
    signature, time = bytes.fromhex(request.header("x-zm-signature")[3:]), request.header("x-zm-request-timestamp")
    return next(key for key in source.keys if hmac.compare_digest(_digest(key, time, request.body), signature))


def sign(body: bytes, source: Source[Any], now_s: float) -> Outgoing:
    time = f"{int(now_s):0{TIME_DIGITS}}"
    signature = f"v0={_digest(source.keys[0], time, body).hex()}"
    return Outgoing(body, {"x-zm-signature": signature, "x-zm-request-timestamp": time})


def identify(request: Request) -> Identity:
    """The facts are type, account, meeting, participant and `event_ts`; for finished files theirs in its place.

    Zoom sends `recording.completed` twice with other URLs, tokens and times. One user's second visit differs by its
    `user_id` and its time.
    """
    body = request.body
    notice = read_known(_notice, _kind, body, _is_known)
    if notice.event not in TYPES or not isinstance(notice, Notice):
        return _identify_unknown(notice.event, body)
    room, topic, at_s = notice.payload.object, TYPES[notice.event], _own_s(notice)
    if at_s is None:
        at_s = unix_s(notice.event_ts)
    if topic.startswith(("participant", "track")):
        _user_id(room)  # raises without one, as normalise() does
    return Identity(topic, _facts(notice, at_s, body), _room_id(room), at_s)


def _is_known(kind: Kind) -> bool:
    return kind.event in TYPES


def _facts(notice: Notice, at_s: float | None, body: bytes) -> tuple[str | int | None, ...]:
    room, account = notice.payload.object, _first(notice.payload.account_id)
    facts: tuple[str | int | None, ...] = (notice.event, account, _session_id(room), *_who(room))
    files = sorted(file for file in map(_file_id, _files(room)) if file)
    if files and TYPES[notice.event] == "recording.uploaded":
        return (*facts, *files)
    if at_s is None:
        return all_facts(notice.event, body, ("download_token",))
    return (*facts, notice.event_ts if unix_s(notice.event_ts) is not None else str(at_s), *files)


def _who(room: Room) -> tuple[str, ...]:
    person = room.participant or room.user
    if person is None:
        return ("",)
    return (_first(person.participant_uuid), _first(person.user_id) or _first(person.id) or person.user_name or "")


def _identify_unknown(event: Id, body: bytes) -> Identity:
    content = read_again(exactly, body)
    facts = unknown_facts(event, redacted(content, SECRET_FIELDS | URL_FIELDS))
    return Identity(unknown_type(event), facts, "", unix_s(whole_number(content.get("event_ts"))))


def _own_s(notice: Notice) -> float | None:
    """The time of what happened to a participant or a stream, which `event_ts` may follow by a minute or more."""
    room = notice.payload.object
    person = room.participant or room.user
    if person is not None:
        sharing = person.sharing_details.date_time if person.sharing_details else None
        left = person.leave_time if notice.event.endswith("_left") else None
        return text_s(_first(sharing, left, person.date_time, person.join_time))
    if room.live_streaming is not None:
        return text_s(room.live_streaming.date_time)
    if notice.event_ts is None:
        return text_s(_first(room.end_time if notice.event.endswith("ended") else None, room.start_time))
    return None


def _first(*values: Id | None) -> str:
    """The first that is not blank, as text."""
    return next((str(value) for value in values if value is not None and value != ""), "")


def _room_id(room: Room) -> str:
    """The number of a meeting, or the id of a session: its name may be used again for another."""
    found = _first(room.session_id, room.id, room.meeting_id)
    if not found:
        raise Unreadable("the body names no meeting and no session")
    return found


def _session_id(room: Room) -> str | None:
    return _first(room.uuid, room.session_id, room.meeting_uuid) or None


def _files(room: Room) -> Sequence[File]:
    return (*room.recording_files, *room.participant_audio_files)


def _file_id(file: File) -> str:
    return _first(file.id) or f"{file.file_type or ''} {file.recording_start or ''}".strip()


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    notice = read_known_again(_notice, _kind, envelope.body, _is_known)
    if notice.event not in TYPES or not isinstance(notice, Notice):
        return normalise_unknown(envelope, notice.event)
    head, topic = envelope.head(notice.event), TYPES[notice.event]
    match topic.partition(".")[0]:
        case "room":
            return (_room_event(head, topic, notice, envelope.body),)
        case "participant":
            return (_participant_event(head, topic, notice),)
        case "track" | "stream" | "quality":
            return (_media_event(head, topic, notice.payload.object),)
        case _:
            return _file_events(envelope, topic, notice)


def _room_event(head: EventHead, topic: str, notice: Notice, body: bytes) -> Event:
    room = notice.payload.object
    about: dict[str, Any] = {"room_id": _room_id(room), "session_id": _session_id(room)}
    name, owner = room.topic or room.session_name, room.host_id
    match topic:
        case "room.created":
            return RoomCreated(**head, **about, name=name, owner_id=owner)
        case "room.updated":
            changes = read_again(_change, body).payload.object
            operator = notice.payload.operator_id
            return RoomUpdated(**head, **about, name=name, owner_id=owner, operator_id=operator, changes=changes)
        case _:
            return RoomEnded(**head, **about, duration_s=_seconds(room.start_time, room.end_time))


def _participant_event(head: EventHead, topic: str, notice: Notice) -> Event:
    room = notice.payload.object
    person = room.participant or room.user or Participant()
    who: dict[str, Any] = {**_inside(room), "display_name": person.user_name or person.name or None}
    kind = "phone" if person.phone_number else None
    match topic:
        case "participant.joined":
            return ParticipantJoined(**head, **who, kind=kind)  # type: ignore[arg-type]  # a literal above
        case "participant.left":
            return ParticipantLeft(**head, **who, reason=_reason(person.leave_reason), kind=kind)  # type: ignore[arg-type]  # as above
        case "participant.role_changed":
            role, old, new = ROLES.get((person.new_role or "").lower()), person.old_role, person.new_role
            return ParticipantRoleChanged(**head, **who, role=role, role_name=new, previous_role_name=old)
        case "participant.waiting":
            return ParticipantWaiting(**head, **who)
        case _:
            return ParticipantWaitingEnded(**head, **who, admitted=notice.event.partition(".")[2] in ADMITTED)


def _inside(room: Room) -> dict[str, Any]:
    person = room.participant or room.user or Participant()
    connection = _first(person.user_id, person.id if room.participant is None else None)
    return {
        "room_id": _room_id(room),
        "session_id": _session_id(room),
        "user_id": _user_id(room),
        "connection_id": connection or None,
    }


def _user_id(room: Room) -> str:
    """What stays the same when somebody comes back, where there is such an id. Raises Unreadable if there is none."""
    person = room.participant or room.user or Participant()
    user = _first(person.customer_key, person.user_key, person.id, person.participant_uuid, person.user_id)
    if not user:
        raise Unreadable("the body names no participant")
    return user


def _reason(said: str | None) -> LeaveReason:
    told = (said or "").lower()
    reason = told.partition("reason:")[2] or told
    found = next((ours for words, ours in REASONS if words in reason), None)
    return found or ("left" if "left the " in told and "reason:" not in told else "unknown")


def _media_event(head: EventHead, topic: str, room: Room) -> Event:
    about: dict[str, Any] = {"room_id": _room_id(room), "session_id": _session_id(room)}
    match topic:
        case "track.published":
            return TrackPublished(**head, **_inside(room), kind="screen")
        case "track.unpublished":
            return TrackUnpublished(**head, **_inside(room), kind="screen")
        case "quality.reported":
            return QualityReported(**head, room_id=about["room_id"], issues=room.issues)
        case _:
            return _stream_event(head, topic, room)


def _stream_event(head: EventHead, topic: str, room: Room) -> Event:
    about: dict[str, Any] = {"room_id": _room_id(room), "session_id": _session_id(room)}
    stream = StreamStarted if topic == "stream.started" else StreamStopped
    # A stream has no id of its own, and a meeting has one at a time.
    stream_id = about["session_id"] or about["room_id"]
    return stream(**head, **about, stream_id=stream_id, direction="out", protocol="rtmp", url=_stream_url(room))


def _stream_url(room: Room) -> str | None:
    """Where the stream goes, without its key, which Zoom gives apart."""
    target = room.live_streaming.custom_live_streaming_settings if room.live_streaming else None
    if target is None or not target.stream_url:
        return None
    url = target.stream_url.partition("?")[0]
    return url.partition(target.stream_key)[0] if target.stream_key else url


def _file_events(envelope: Envelope, topic: str, notice: Notice) -> tuple[Event, ...]:
    room, provider_type = notice.payload.object, notice.event
    about: dict[str, Any] = {"room_id": _room_id(room), "session_id": _session_id(room)}
    if topic in _STATES:
        return (_STATES[topic](**envelope.head(provider_type), **about, **_span(room.recording_file or File())),)
    if provider_type == "meeting.summary_completed":
        return (TranscriptReady(**envelope.head(provider_type), **about, kind="summary"),)
    if topic == "transcript.failed":
        return (TranscriptFailed(**envelope.head(provider_type), **about),)
    files = _files(room) or (File(),)
    heads = [envelope.head(provider_type, place if len(files) > 1 else None) for place in range(len(files))]
    if topic == "transcript.ready":
        return tuple(
            TranscriptReady(**head, **about, **_written(file)) for head, file in zip(heads, files, strict=True)
        )
    return tuple(
        RecordingUploaded(**head, **about, segment=place, **_span(file), **_described(file))
        for place, (head, file) in enumerate(zip(heads, files, strict=True))
    )


_STATES: Mapping[str, type[RecordingStarted | RecordingPaused | RecordingResumed | RecordingCompleted]] = {
    "recording.started": RecordingStarted,
    "recording.paused": RecordingPaused,
    "recording.resumed": RecordingResumed,
    "recording.completed": RecordingCompleted,
}


def _described(file: File) -> dict[str, Any]:
    kind = (file.recording_type or "").lower()
    mixed = kind.startswith("shared_screen_with")
    return {
        "recording_id": _first(file.id) or None,
        "file_name": file.file_name,
        "url": file.download_url,
        "size_bytes": file.file_size,
        "duration_s": _seconds(file.recording_start, file.recording_end),
        "track": "mixed" if mixed else TRACKS.get(kind),
        "mixed": mixed or None,
        **_format(file),
    }


def _written(file: File) -> dict[str, Any]:
    return {"transcript_id": _first(file.id) or None, "url": file.download_url, **_format(file)}


def _format(file: File) -> dict[str, Any]:
    return {"format": _first(file.file_extension, file.file_type).lower() or None}


def _span(file: File) -> dict[str, Any]:
    return {"started_at": _moment(file.recording_start), "ended_at": _moment(file.recording_end)}


def _moment(time: str | None) -> datetime | None:
    seconds = text_s(time)
    return None if seconds is None else moment(seconds)


def _seconds(start: str | None, end: str | None) -> int | None:
    start_s, end_s = text_s(start), text_s(end)
    return None if start_s is None or end_s is None or end_s < start_s else round(end_s - start_s)


def _iso(at_s: float) -> str:
    return f"{moment(int(at_s)):%Y-%m-%dT%H:%M:%SZ}"


def _sample(event: str) -> Sample:
    family, _, action = event.partition(".")

    def body(n: int, at_s: float) -> Any:
        room = _sample_session(n) if family == "session" else _sample_meeting(family, n)
        about = _sample_details(family, action, f"{moment(int(at_s)):%Y-%m-%dT%H:%M:%SZ}")
        payload = {"account_id": "demo-account", "object": room | about}
        return {"event": event, "event_ts": int(at_s * 1000), "payload": payload}

    return Sample(event, body)


def _sample_meeting(family: str, n: int) -> dict[str, Any]:
    kind = 5 if family == "webinar" else 2
    number, uuid = f"{kind}{n}", f"demo-{kind}{n}=="
    names = {"id": number, "uuid": uuid, "meeting_id": number, "meeting_uuid": uuid}
    return {**names, "host_id": "teacher", "topic": "Demo", "type": kind}


def _sample_session(n: int) -> dict[str, Any]:
    return {"id": f"demo-{n}==", "session_id": f"demo-{n}==", "session_name": f"demo-{n}"}


def _sample_details(family: str, action: str, time: str) -> dict[str, Any]:
    span = {"recording_start": time, "recording_end": time}
    kind = {"file_type": "MP4", "file_extension": "MP4", "recording_type": "shared_screen_with_speaker_view"}
    file = {"id": "demo", **span, **kind, "file_size": 1_000_000, "download_url": "https://example.com/demo.mp4"}
    target = {"stream_url": "rtmp://live.example.com/app", "stream_key": "demo"}
    match action.rpartition("_"):
        case (_, _, "completed") if action != "summary_completed":
            return {"recording_files": [file]}
        case ("live_streaming", _, _):
            return {"live_streaming": {"custom_live_streaming_settings": target, "date_time": time}}
        case ("participant" | "user" | "sharing" | "breakout_room_sharing", _, _):
            return _sample_person(family, action, time)
        case _ if action.startswith("participant"):
            return _sample_person(family, action, time)
        case _:
            return {"start_time": time, "end_time": time, "recording_file": span, "issues": ["Unstable audio quality"]}


def _sample_person(family: str, action: str, time: str) -> dict[str, Any]:
    field = next((field for word, field in _SAMPLE_TIMES.items() if action.endswith(word)), "date_time")
    roles = {"old_role": "attendee", "new_role": "co-host"} if action.endswith("role_changed") else {}
    sharing = {"sharing_details": {"content": "desktop", "date_time": time}} if "sharing" in action else {}
    about = {field: time, **roles, **sharing}
    if family == "session":
        return {"user": {"id": "16778240", "name": "Student", "user_key": "student", **about}}
    return {"participant": {"user_id": "16778240", "user_name": "Student", "participant_uuid": "student", **about}}


_SAMPLE_TIMES = {"_joined": "join_time", "_left": "leave_time"}

PROVIDER = Provider(
    name="zoom",
    title="Zoom",
    example=Example("zoom-main", {}),
    types=TYPES,
    samples=[_sample(event) for event in TYPES],
    verify=verify,
    covers="the whole body and the time (HMAC-SHA256)",
    leaves_open="a copy within the tolerance, which is the same event",
    sign=sign,
    challenge=challenge,
    identify=identify,
    normalise=normalise,
    resends_for_s=85 * 60,
    shown=frozenset({"x-zm-request-timestamp", "x-zm-trackingid", "clientid"}),
    secret_fields=SECRET_FIELDS,
    url_fields=URL_FIELDS,
)
