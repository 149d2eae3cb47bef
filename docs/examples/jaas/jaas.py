"""8x8 JaaS (Jitsi as a Service): rooms, participants and recordings.

Source: 8x8's pages on webhooks, their payloads and their signatures (developer.8x8.com/jaas/docs: webhooks-payload,
webhooks-signatures, jaas-console-webhooks), read in November 2026. The fields of recordings are those of callbacks in
public tests. Types that are not named here are kept as unknown. That `participantId` is new at each join is inferred.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

import msgspec

from hookline.events import (
    CanonicalEvent,
    Event,
    LeaveReason,
    ParticipantJoined,
    ParticipantLeft,
    RecordingCompleted,
    RecordingStarted,
    RecordingUploaded,
    RoomCreated,
    RoomEnded,
    event_topic,
)
from hookline.provider import (
    BadSignature,
    Envelope,
    Example,
    Flag,
    Id,
    Identity,
    NoSettings,
    Number,
    Outgoing,
    Provider,
    Request,
    Sample,
    Source,
    check_base64,
    check_fresh,
    flag,
    identify_unknown,
    normalise_unknown,
    number,
    optional_text,
    read,
    read_again,
    recheck,
    required,
    text,
    unix_s,
)

EVENTS: dict[str, type[CanonicalEvent]] = {
    "ROOM_CREATED": RoomCreated,
    "PARTICIPANT_JOINED": ParticipantJoined,
    "PARTICIPANT_LEFT": ParticipantLeft,
    "RECORDING_STARTED": RecordingStarted,
    "RECORDING_ENDED": RecordingCompleted,
    "RECORDING_UPLOADED": RecordingUploaded,
    "ROOM_DESTROYED": RoomEnded,
}
TYPES = {name: event_topic(event) for name, event in EVENTS.items()}
OF_USERS = ("PARTICIPANT_JOINED", "PARTICIPANT_LEFT")
REASONS: dict[str | None, LeaveReason] = {"left": "left"}  # other values are not documented
HEADER = "X-Jaas-Signature"
SCHEME = "v1"
MAX_TIME_DIGITS = 13


class Kind(msgspec.Struct, frozen=True, rename="camel"):
    """What every callback has."""

    event_type: Id


class Data(msgspec.Struct, frozen=True, rename="camel"):
    """The page writes `moderator` as a boolean and as a text. The recording's times are Unix milliseconds."""

    id: Id | None = None
    name: str | None = None
    participant_id: Id | None = None
    moderator: Flag | None = None
    disconnect_reason: str | None = None
    recording_session_id: Id | None = None
    pre_authenticated_link: str | None = None
    duration_sec: Number | None = None


class Notice(msgspec.Struct, frozen=True, rename="camel"):
    """`fqn` is the application and the name of the room, with a slash between; `timestamp` is Unix milliseconds."""

    idempotency_key: Id
    event_type: str
    fqn: str
    session_id: Id | None = None
    timestamp: Number | None = None
    data: Data = Data()


_kind = msgspec.json.Decoder(Kind)
_notice = msgspec.json.Decoder(Notice)


def verify(request: Request, source: Source[NoSettings], now_s: float) -> None:
    """HMAC-SHA256 of time, full stop and body, in base64, as `v1` beside the time `t`. Other schemes are ignored."""
    time, signatures = _parts(request.header(HEADER))
    sent_s = unix_s(int(time))
    if sent_s is None:
        raise BadSignature("the time of the signature cannot be")
    digests = [_digest(key, time, request.body) for key in source.keys]
    _check_any(signatures, digests)
    check_fresh(sent_s, now_s, source.tolerance_s)


def _parts(header: str) -> tuple[str, Sequence[str]]:
    """The time and the signatures of the scheme. Raises BadSignature."""
    pairs = [part.partition("=")[::2] for part in header.split(",")]
    times = [value for name, value in pairs if name == "t"]
    signatures = [value for name, value in pairs if name == SCHEME]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= MAX_TIME_DIGITS):
        raise BadSignature(f"{HEADER} has no time")
    if not signatures:
        raise BadSignature(f"{HEADER} has no {SCHEME}")
    return times[0], signatures


def _check_any(signatures: Sequence[str], digests: Sequence[bytes]) -> None:
    """One malformed signature must not hide a valid one beside it."""
    for place, signature in enumerate(signatures):
        try:
            check_base64(signature, digests)
        except BadSignature:
            if place == len(signatures) - 1:
                raise
        else:
            return


def _digest(key: bytes, time: str, body: bytes) -> bytes:
    return hmac.digest(key, time.encode() + b"." + body, hashlib.sha256)


def sign(body: bytes, source: Source[NoSettings], now_s: float) -> Outgoing:
    time = str(int(now_s))
    signature = base64.b64encode(_digest(source.keys[0], time, body)).decode()
    return Outgoing(body, {HEADER: f"t={time},{SCHEME}={signature}"})


def identify(request: Request) -> Identity:
    """The page says that two requests with the same `idempotencyKey` are duplicates."""
    kind = read(_kind, request.body)
    if text(kind.event_type) not in TYPES:
        return identify_unknown(kind.event_type, request.body, time="timestamp")
    notice = read_again(_notice, request.body)
    occurred_s = None if notice.timestamp is None else unix_s(number(notice.timestamp))
    _user(notice)
    return Identity(TYPES[notice.event_type], (text(notice.idempotency_key),), _room(notice), occurred_s)


def _room(notice: Notice) -> str:
    return notice.fqn.rpartition("/")[2]


def _user(notice: Notice) -> str:
    """Somebody without an account has only the id of the connection. Raises Unreadable for a callback about nobody."""
    if notice.event_type not in OF_USERS:
        return ""
    return required(notice.data.id or notice.data.participant_id, "data.id")


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    kind = read_again(_kind, envelope.body)
    if text(kind.event_type) not in TYPES:
        return normalise_unknown(envelope, kind.event_type)
    notice = read_again(_notice, envelope.body)
    room = {"room_id": _room(notice), "session_id": optional_text(notice.session_id)}
    event: Any = EVENTS[notice.event_type]
    return (event(**envelope.head(notice.event_type), **room, **_fields(notice)),)


def _fields(notice: Notice) -> dict[str, Any]:
    if notice.event_type in OF_USERS:
        return _who(notice)
    return _recording(notice.data) if notice.event_type.startswith("RECORDING_") else {}


def _who(notice: Notice) -> dict[str, Any]:
    data = notice.data
    role = None if data.moderator is None else "host" if flag(data.moderator) else "audience"
    connection = optional_text(data.participant_id)
    who = {"user_id": _user(notice), "connection_id": connection, "display_name": data.name, "role": role}
    if notice.event_type == "PARTICIPANT_LEFT":
        who["reason"] = REASONS.get(data.disconnect_reason, "unknown")
    return who


def _recording(data: Data) -> dict[str, Any]:
    return {
        "recording_id": optional_text(data.recording_session_id),
        "duration_s": None if data.duration_sec is None else number(data.duration_sec),
        "url": data.pre_authenticated_link,
    }


def _sample(kind: str, **data: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        return {
            "idempotencyKey": f"{kind}-{n}",
            "customerId": "example",
            "appId": "vpaas-magic-cookie-example",
            "eventType": kind,
            "sessionId": f"session-{n}",
            "timestamp": int(at_s * 1000),
            "fqn": f"vpaas-magic-cookie-example/demo-{n}",
            "data": data,
        }

    return Sample(kind, body)


TEACHER = {"moderator": True, "name": "Teacher", "id": "teacher", "participantId": "4f2a"}
LINK = "https://example.invalid/recording?token=secret"
SAMPLES = (
    _sample("ROOM_CREATED", conference="demo@conference.example"),
    _sample("PARTICIPANT_JOINED", **TEACHER),
    _sample("RECORDING_STARTED", recordingSessionId="r"),
    _sample("RECORDING_ENDED", recordingSessionId="r"),
    _sample("PARTICIPANT_LEFT", **TEACHER, disconnectReason="left"),
    _sample("ROOM_DESTROYED", conference="demo@conference.example"),
    _sample("RECORDING_UPLOADED", recordingSessionId="r", durationSec=2, preAuthenticatedLink=LINK),
)

PROVIDER = Provider(
    name="jaas",
    title="8x8 JaaS",
    example=Example("jaas-main", {}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the whole body and the time (HMAC-SHA256)",
    leaves_open="a copy within the tolerance, which counts as a repeat",
    sign=sign,
    identify=identify,
    normalise=normalise,
    url_fields=frozenset({"preauthenticatedlink"}),  # it lets anybody in for a day
)
