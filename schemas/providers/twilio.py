"""Twilio Video: rooms, participants, tracks, recordings and compositions. Its callbacks are forms.

Sources: Twilio's pages on status callbacks and on security (2026), and the validator of its Python library (9.13),
which also reads a signature with SHA-256, made with a shared key and named in a header of its own, and which tries the
URL with and without its port. `SequenceNumber` is documented as internal: it is neither an order nor an identity.

Open: how often and how long Twilio sends a callback again.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from hookline.schemas.envelope import Envelope, Identity, moment
from hookline.schemas.errors import BadSignature, Unreadable
from hookline.schemas.events import (
    Event,
    EventHead,
    ParticipantJoined,
    ParticipantLeft,
    RecordingFailed,
    RecordingStarted,
    RecordingTrack,
    RecordingUploaded,
    RoomCreated,
    RoomEnded,
    TrackKind,
    TrackMuted,
    TrackPublished,
    TrackUnmuted,
    TrackUnpublished,
    Unknown,
)
from hookline.schemas.form import FORM, form_body, form_fields, read_form, single_fields
from hookline.schemas.payload import Int, Text, canonical, recheck, required, text_s, unknown_type
from hookline.schemas.provider import Example, Key, Outgoing, Provider, Request, Sample, Source
from hookline.schemas.signing import check_base64

TYPES = {
    "room-created": "room.created",
    "participant-connected": "participant.joined",
    "track-added": "track.published",
    "track-disabled": "track.muted",
    "track-enabled": "track.unmuted",
    "recording-started": "recording.started",
    "recording-failed": "recording.failed",
    "track-removed": "track.unpublished",
    "participant-disconnected": "participant.left",
    "recording-completed": "recording.uploaded",
    "room-ended": "room.ended",
    "composition-available": "recording.uploaded",
    "composition-failed": "recording.failed",
    "composition-hook-failed": "recording.failed",
}
ABOUT_PARTICIPANTS = ("participant", "track")
KINDS: Mapping[str | None, TrackKind] = {"audio": "audio", "video": "video", "data": "data"}
RECORDED: Mapping[str | None, RecordingTrack] = {"audio": "audio", "video": "video"}
PORTS = {"https": 443, "http": 80}
ALGORITHMS = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
PER_ATTEMPT = ("SequenceNumber",)


class Notice(msgspec.Struct, frozen=True, rename="pascal"):
    """Durations are seconds. Compositions have no `room_name`, and no participant."""

    status_callback_event: Text
    account_sid: Text = ""
    room_sid: Text = ""
    room_name: str | None = None
    room_status: Text | None = None
    timestamp: Text | None = None
    participant_sid: Text | None = None
    participant_identity: Text | None = None
    participant_duration: Int | None = None
    room_duration: Int | None = None
    track_sid: Text | None = None
    track_kind: Text | None = None
    track_name: str | None = None
    recording_sid: Text | None = None
    composition_sid: Text | None = None
    hook_sid: Text | None = None
    type: Text | None = None
    container: Text | None = None
    duration: Int | None = None
    size: Int | None = None
    media_uri: str | None = None
    media_external_location: str | None = None
    failed_operation: str | None = None
    error_message: str | None = None


def fault(source: Source[Any]) -> str | None:
    if not source.keys:
        return "secrets: at least one is needed, the auth token of the account"
    return None if source.public_url else "public_url: needed, because the signature covers the URL that Twilio calls"


def verify(request: Request, source: Source[Any], now_s: float) -> None:
    """HMAC-SHA1 of the URL and all parameters, in base64. The only time is a parameter, and its age is not checked."""
    signature, hashed = request.header("X-Twilio-Signature"), _algorithm(request)
    signed = _signed_parameters(request.body)
    *others, last = _signed_urls(source.public_url, request.query)
    for url in others:
        if _fits(signature, _digests(source, url + signed, hashed)):
            return
    check_base64(signature, _digests(source, last + signed, hashed))


def _digests(source: Source[Any], signed: bytes, hashed: str) -> Sequence[bytes]:
    return [key.hmac(signed, hashed) for key in source.keys]


def _fits(signature: str, digests: Sequence[bytes]) -> bool:
    try:
        check_base64(signature, digests)
    except BadSignature:
        return False
    return True


def _algorithm(request: Request) -> str:
    named = request.find("X-Twilio-Webhooks-Signature-Settings")
    if named is None:
        return "sha1"
    parts = (part.partition("=") for part in named.split(","))
    name = next((value.strip() for name, _, value in parts if name.strip() == "algorithm"), "") or "HMAC_SHA1"
    if name.upper() not in ALGORITHMS:
        raise BadSignature("the signature is of an unknown algorithm")
    return ALGORITHMS[name.upper()]


def _signed_parameters(body: bytes) -> bytes:
    """Each name with its value, sorted. A value that occurs again under the same name counts once."""
    try:
        fields = form_fields(body)
    except Unreadable:
        raise BadSignature("the body is not a form") from None
    return "".join(chain.from_iterable(sorted(set(fields)))).encode()


@lru_cache(maxsize=256)
def _signed_urls(public_url: str, query: str) -> Sequence[bytes]:
    """What may have been signed: with the configured query or that of the request, with a port and without one."""
    url = urlsplit(public_url)
    urls = [url] if not query or query == url.query else [url, url._replace(query=query)]
    netlocs = _with_and_without_port(url)
    found = [each._replace(netloc=netloc, fragment="").geturl() for each in urls for netloc in netlocs]
    return [each.encode("utf-8", "surrogateescape") for each in found]


def _with_and_without_port(url: SplitResult) -> Sequence[str]:
    """The host as it is configured, then in its other form, without credentials: Twilio sends those in a header."""
    host = url.netloc.rpartition("@")[2]
    if url.port:
        return (host, host.rpartition(":")[0])
    return (host, f"{host}:{PORTS.get(url.scheme, 443)}")


def sign(body: bytes, source: Source[Any], now_s: float) -> Outgoing:
    """Signs a form. A JSON object becomes one. Raises ValueError for a body that is neither."""
    form = form_body([(name, _text(value)) for name, value in _pairs(body)]) if body.startswith(b"{") else body
    try:
        signed = _signed_parameters(form)
    except BadSignature:
        raise ValueError("the body is neither a form nor a JSON object") from None
    url = _signed_urls(source.public_url, "")[0]
    return Outgoing(form, {"X-Twilio-Signature": _signature(source.keys[0], url + signed)})


def _pairs(body: bytes) -> Sequence[tuple[str, Any]]:
    return [*msgspec.json.decode(body, type=dict[str, Any]).items()]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _signature(key: Key, signed: bytes) -> str:
    return b64encode(key.hmac(signed, "sha1")).decode()


def identify(request: Request) -> Identity:
    """The facts are account, room, type, time, and the participant, track, recording or composition.

    Without a time, or for an unknown type, all parameters are facts, except the sequence number.
    """
    notice = read_form(Notice, request.body)
    event, at_s = notice.status_callback_event, text_s(notice.timestamp)
    if event not in TYPES:
        return Identity(unknown_type(event), _all_facts(request.body), "", at_s)
    topic = TYPES[event]
    _check(topic, notice)
    facts: tuple[str | int | None, ...] = (
        *(notice.account_sid, notice.room_sid, event, notice.timestamp, notice.participant_sid, notice.track_sid),
        *(notice.recording_sid, notice.composition_sid, notice.hook_sid),
    )
    subject = notice.room_sid or notice.composition_sid or notice.hook_sid or ""
    return Identity(topic, facts if at_s is not None else _all_facts(request.body), subject, at_s)


def _all_facts(body: bytes) -> tuple[str, ...]:
    return (canonical({name: value for name, value in form_fields(body) if name not in PER_ATTEMPT}),)


def _check(topic: str, notice: Notice) -> None:
    """Raise Unreadable for an event that lacks what it is about."""
    entity = topic.partition(".")[0]
    if entity != "recording":
        required(notice.room_sid or None, "RoomSid")
    if entity in ABOUT_PARTICIPANTS:
        required(_user(notice), "ParticipantSid")


def _user(notice: Notice) -> str | None:
    return notice.participant_identity or notice.participant_sid or None


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    notice = read_form(Notice, envelope.body)
    event = notice.status_callback_event
    head = envelope.head(event)
    if event not in TYPES:
        return (Unknown(**head, payload=single_fields(form_fields(envelope.body))),)
    match TYPES[event].partition(".")[0]:
        case "room":
            return (_room_event(head, TYPES[event], notice),)
        case "participant":
            return (_participant_event(head, TYPES[event], notice),)
        case "track":
            return (_track_event(head, TYPES[event], notice),)
        case _:
            return (_recording_event(head, TYPES[event], notice),)


def _room_event(head: EventHead, topic: str, notice: Notice) -> Event:
    if topic == "room.created":
        return RoomCreated(**head, room_id=notice.room_sid, name=notice.room_name)
    reason = "error" if notice.room_status == "failed" else None
    return RoomEnded(**head, room_id=notice.room_sid, duration_s=notice.room_duration, reason=reason)  # type: ignore[arg-type]  # a literal above


def _participant_event(head: EventHead, topic: str, notice: Notice) -> Event:
    if topic == "participant.joined":
        return ParticipantJoined(**head, **_who(notice))
    return ParticipantLeft(**head, **_who(notice), duration_s=notice.participant_duration)


def _who(notice: Notice) -> dict[str, Any]:
    user = required(_user(notice), "ParticipantSid")
    return {"room_id": notice.room_sid, "user_id": user, "connection_id": notice.participant_sid}


def _track_event(head: EventHead, topic: str, notice: Notice) -> Event:
    about = {**_who(notice), "track_id": notice.track_sid, "kind": KINDS.get(notice.track_kind)}
    match topic:
        case "track.published":
            return TrackPublished(**head, **about, name=notice.track_name)
        case "track.unpublished":
            return TrackUnpublished(**head, **about, name=notice.track_name)
        case "track.muted":
            return TrackMuted(**head, **about)
        case _:
            return TrackUnmuted(**head, **about)


def _recording_event(head: EventHead, topic: str, notice: Notice) -> Event:
    """A recording is one track of one participant, a composition a mix of several."""
    mixed = notice.recording_sid is None
    about: dict[str, Any] = {
        "room_id": notice.room_sid or None,
        "user_id": _user(notice),
        "recording_id": notice.recording_sid or notice.composition_sid,
        "mixed": mixed or None,
        "track": "mixed" if mixed else RECORDED.get(notice.type),
        "format": notice.container,
    }
    match topic:
        case "recording.started":
            return RecordingStarted(**head, **about)
        case "recording.uploaded":
            url = notice.media_external_location or notice.media_uri
            return RecordingUploaded(**head, **about, url=url, size_bytes=notice.size, duration_s=notice.duration)
        case _:
            return RecordingFailed(**head, **about, error=notice.error_message or notice.failed_operation)


def _sample(event: str, *, sids: Sequence[str] = (), **details: str) -> Sample:
    def body(n: int, at_s: float) -> Any:
        found = {"AccountSid": "ACdemo", "RoomSid": f"RM{n}", **{f"{name}Sid": f"{name}{n}" for name in sids}}
        at = moment(at_s)
        time = f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"
        return {**found, "StatusCallbackEvent": event, "Timestamp": time, **details}

    return Sample(event, body)


_ROOM = {"RoomName": "demo", "RoomType": "group", "RoomStatus": "in-progress"}
_STUDENT = {**_ROOM, "ParticipantIdentity": "student", "ParticipantStatus": "connected"}
_MICROPHONE = {**_STUDENT, "TrackKind": "audio"}
_CAMERA = {**_STUDENT, "TrackName": "camera", "Type": "video", "Container": "mkv", "Codec": "VP8"}
_OF_TRACK, _OF_RECORDING, _OF_MIX = ("Participant", "Track"), ("Participant", "Recording", "Source"), ("Composition",)
SAMPLES = (
    _sample("room-created", **_ROOM),
    _sample("participant-connected", sids=["Participant"], **_STUDENT),
    _sample("track-added", sids=_OF_TRACK, **_MICROPHONE),
    _sample("track-disabled", sids=_OF_TRACK, **_MICROPHONE),
    _sample("track-enabled", sids=_OF_TRACK, **_MICROPHONE),
    _sample("recording-started", sids=_OF_RECORDING, **_CAMERA),
    _sample("recording-failed", sids=_OF_RECORDING, **_CAMERA, FailedOperation="upload"),
    _sample("track-removed", sids=_OF_TRACK, **_MICROPHONE),
    _sample("participant-disconnected", sids=["Participant"], **_STUDENT, ParticipantDuration="5"),
    _sample("recording-completed", sids=_OF_RECORDING, **_CAMERA, Duration="5", Size="1000000"),
    _sample("room-ended", **_ROOM | {"RoomStatus": "completed", "RoomDuration": "8"}),
    _sample("composition-available", sids=_OF_MIX, Duration="5", Size="1000000", Container="mp4"),
    _sample("composition-failed", sids=_OF_MIX, ErrorMessage="no media"),
    _sample("composition-hook-failed", sids=["Hook"], ErrorMessage="no media"),
)

PROVIDER = Provider(
    name="twilio",
    title="Twilio Video",
    example=Example("twilio-main", {"public_url": "https://hooks.example.com/hooks/twilio-main"}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the URL and every parameter (HMAC-SHA1)",
    strength="fields",
    leaves_open="no time: an old callback can be sent again, as the same event; the order of the parameters, and where "
    "a name or a value ends",
    content_type=FORM,
    sign=sign,
    identify=identify,
    normalise=normalise,
    fault=fault,
    shown=frozenset({"i-twilio-idempotency-token", "x-twilio-webhooks-signature-settings"}),
    url_fields=frozenset({"mediauri", "mediaexternallocation"}),
)
