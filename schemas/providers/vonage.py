"""Vonage Video (OpenTok): sessions, connections, streams, archives and broadcasts.

Sources: Vonage's guides on session monitoring and secure callbacks, support articles on its callback service (2024),
and its Python library for tokens (vonage-jwt 1.1). Each kind of callback has a secret of its own: name them all.

Inferred: the claims are those of Vonage's other products, whose guide hashes the JSON without blanks; a body with
blanks is compared in both forms. Open: the fields of broadcasts, and whether a re-send is signed anew. If it is not,
`tolerance_s` has to be 86400. Nothing names the user of a connection, so its id stands for both.

Without a signature secret at Vonage nothing proves the sender but its addresses. Its page says that a fault may also
leave a single callback unsigned: it is refused, and Vonage sends it again.
"""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import msgspec

from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.errors import BadSignature
from hookline.schemas.events import (
    Event,
    EventHead,
    LeaveReason,
    ParticipantJoined,
    ParticipantLeft,
    RecordingCompleted,
    RecordingFailed,
    RecordingPaused,
    RecordingStarted,
    RecordingUploaded,
    RoomCreated,
    RoomEnded,
    StreamFailed,
    StreamStarted,
    StreamStopped,
    TrackKind,
    TrackPublished,
    TrackUnpublished,
)
from hookline.schemas.jwt import check_jwt, claim, time_claim
from hookline.schemas.payload import (
    Id,
    Int,
    Number,
    Text,
    optional_text,
    read_known,
    read_known_again,
    recheck,
    required,
    unix_moment,
    unix_s,
    whole,
)
from hookline.schemas.provider import Example, Outgoing, Provider, Request, Sample, Source, fault_without_signature
from hookline.schemas.signing import check_fresh, check_hex_of_body, check_not_expired
from hookline.schemas.unknown import all_facts, identify_unknown, normalise_unknown

ARCHIVE = {
    "started": "recording.started",
    "paused": "recording.paused",
    "stopped": "recording.completed",
    "uploaded": "recording.uploaded",  # to the owner's bucket
    "available": "recording.uploaded",  # in Vonage's, for a short time
    "failed": "recording.failed",
}
BROADCAST = {"started": "stream.started", "stopped": "stream.stopped", "failed": "stream.failed"}
TYPES: Mapping[str, str | tuple[str, ...]] = {
    "sessionCreated": "room.created",
    "connectionCreated": "participant.joined",
    "streamCreated": "track.published",
    "archive": tuple(dict.fromkeys(ARCHIVE.values())),
    "broadcast": tuple(BROADCAST.values()),
    "streamDestroyed": "track.unpublished",
    "connectionDestroyed": "participant.left",
    "sessionDestroyed": "room.ended",
}
STATES = {"archive": ARCHIVE, "broadcast": BROADCAST}
REASONS: Mapping[str | None, LeaveReason] = {
    "clientDisconnected": "left",
    "mediaStopped": "left",
    "forceDisconnected": "removed",
    "forceUnpublished": "removed",
    "networkDisconnected": "disconnected",
}
KINDS: Mapping[str | None, TrackKind] = {"camera": "video", "screen": "screen"}
UNTYPED = "untyped"
MAX_LIFE_S = 3600
TOKEN_HEADER = {"alg": "HS256", "typ": "JWT"}
# A text that is not closed ends with the body: otherwise a search would begin again at each of its quotes.
_BLANKS = re.compile(rb'("(?:[^"\\]|\\.)*+(?:"|\\?\Z))|[ \t\r\n]+', re.DOTALL)


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where `api_key` or `application_id` is given, the token must name it.

    `require_payload_hash = false` accepts tokens that say nothing of the body. `insecure_no_signature` is for a project
    without a signature secret: only the client's address is checked then.
    """

    api_key: str = ""
    application_id: str = ""
    require_payload_hash: bool = True
    insecure_no_signature: bool = False


class Connection(msgspec.Struct, frozen=True, rename="camel"):
    """`data`, which is not used, is any text that the application has put into its token."""

    id: Id | None = None
    created_at: Int | None = None


class Stream(msgspec.Struct, frozen=True, rename="camel"):
    id: Id | None = None
    connection: Connection = Connection()
    name: str | None = None
    video_type: Text | None = None


class Kind(msgspec.Struct, frozen=True, rename="camel"):
    """Callbacks of telephony, rendering and captions have no `event`."""

    event: Id = UNTYPED
    status: Text | None = None


class Notice(Kind, frozen=True, kw_only=True, rename="camel"):
    """Times are Unix milliseconds. `id`, `duration` (seconds) and `size` are those of an archive or a broadcast."""

    session_id: Id
    timestamp: Int | None = None
    connection: Connection = Connection()
    stream: Stream = Stream()
    reason: Text | None = None
    id: Id | None = None
    created_at: Int | None = None
    updated_at: Int | None = None
    duration: Number | float | None = None
    size: Number | float | None = None
    output_mode: Text | None = None
    url: str | None = None


_kind = msgspec.json.Decoder(Kind)
_notice = msgspec.json.Decoder(Notice)


def fault(source: Source[Account]) -> str | None:
    if source.account.insecure_no_signature:
        return fault_without_signature(source)
    return None if source.keys else "secrets: at least one is needed, a signature secret of the project"


def verify(request: Request, source: Source[Account], now_s: float) -> None:
    """A token with HS256, whose claims hold the SHA-256 of the body and the time of signing."""
    if not source.keys and source.account.insecure_no_signature:
        return
    claims = check_jwt(_token(request), source.keys)
    _check_account(claims, source.account)
    if "payload_hash" in claims or source.account.require_payload_hash:
        _check_hash(claim(claims, "payload_hash"), request.body)
    _check_times(claims, now_s, source.tolerance_s)


def _token(request: Request) -> str:
    """The token, with or without `Bearer`."""
    given = request.header("Authorization")
    scheme, _, token = given.partition(" ")
    return token if scheme.lower() == "bearer" else given


def _check_account(claims: Mapping[str, Any], account: Account) -> None:
    for name, expected in (("api_key", account.api_key), ("application_id", account.application_id)):
        if expected and claims.get(name) != expected:
            raise BadSignature(f"the token is not for the {name} of this source")


def _check_hash(given: str, body: bytes) -> None:
    name = "payload_hash"
    try:
        check_hex_of_body(given, hashlib.sha256(body).digest(), name)
    except BadSignature:
        compact = _compact(body)
        if compact == body:
            raise
        check_hex_of_body(given, hashlib.sha256(compact).digest(), name)


def _compact(body: bytes) -> bytes:
    """A JSON object without the blanks between its parts."""
    return _BLANKS.sub(rb"\1", body) if body[:1] == b"{" and body[-1:] == b"}" else body


def _check_times(claims: dict[str, Any], now_s: float, tolerance_s: int) -> None:
    signed_s = time_claim(claims, "iat")
    if "exp" in claims:
        expires_s = time_claim(claims, "exp")
        if expires_s - signed_s > MAX_LIFE_S:
            raise BadSignature("the token lives longer than an hour")
        check_not_expired(expires_s, now_s, tolerance_s)
    check_fresh(signed_s, now_s, tolerance_s)


def sign(body: bytes, source: Source[Account], now_s: float) -> Outgoing:
    """The body with a token; without a token where the source has no secret."""
    if not source.keys:
        return Outgoing(body)
    digest = hashlib.sha256(body).hexdigest()
    about = {"api_key": source.account.api_key, "application_id": source.account.application_id}
    claims = {"iat": int(now_s), "jti": digest[:32], "iss": "Vonage", "payload_hash": digest}
    named = {name: value for name, value in about.items() if value}
    signed = b".".join(
        map(_encoded, (msgspec.json.encode({"alg": "HS256", "typ": "JWT"}), msgspec.json.encode(claims | named)))
    )
    token = signed + b"." + _encoded(source.keys[0].hmac(signed, "sha256"))
    return Outgoing(body, {"Authorization": f"Bearer {token.decode()}"})


def _encoded(part: bytes) -> bytes:
    return urlsafe_b64encode(part).rstrip(b"=")


def identify(request: Request) -> Identity:
    """The facts are event, session, connection, stream or archive with its status, and time.

    A session may be created again when people come back: the time tells the two apart. Without one, all fields do.
    """
    body = request.body
    notice = read_known(_notice, _kind, body, _is_known)
    topic = _topic(notice)
    if topic is None or not isinstance(notice, Notice):
        return identify_unknown(notice.event, body, time="timestamp" if notice.event not in STATES else "updatedAt")
    session, which, at = str(notice.session_id), _which(topic, notice), _time(notice)
    if unix_s(at) is None:
        return Identity(topic, all_facts(notice.event, body), session, unix_s(notice.created_at))
    facts = (str(notice.event), session, which, notice.status if notice.event in STATES else None, at)
    return Identity(topic, facts, session, unix_s(at))


def _topic(kind: Kind) -> str | None:
    """What has happened; None for what becomes no event."""
    if kind.event in STATES:
        return STATES[str(kind.event)].get(kind.status or "")
    found = TYPES.get(str(kind.event))
    return found if isinstance(found, str) else None


def _is_known(kind: Kind) -> bool:
    return _topic(kind) is not None


def _time(notice: Notice) -> int | None:
    return notice.updated_at if notice.event in STATES else notice.timestamp


def _which(topic: str, notice: Notice) -> str | None:
    """What the event is about. Raises Unreadable if the callback does not name it."""
    match topic.partition(".")[0]:
        case "participant":
            return required(notice.connection.id, "connection")
        case "track":
            required(notice.stream.connection.id, "connection")
            return required(notice.stream.id, "stream")
        case "recording" | "stream":
            return required(notice.id, "id")
        case _:
            return None


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    notice = read_known_again(_notice, _kind, envelope.body, _is_known)
    topic = _topic(notice)
    if topic is None or not isinstance(notice, Notice):
        return normalise_unknown(envelope, notice.event)
    return (_event(envelope.head(notice.event), topic, notice),)


def _event(head: EventHead, topic: str, notice: Notice) -> Event:
    session = str(notice.session_id)
    match topic.partition(".")[0]:
        case "room":
            room = RoomCreated if topic == "room.created" else RoomEnded
            return room(**head, room_id=session)
        case "participant":
            return _participant_event(head, topic, notice)
        case "track":
            return _track_event(head, topic, notice)
        case "recording":
            return _recording_event(head, topic, notice)
        case _:
            return _stream_event(head, topic, notice)


def _participant_event(head: EventHead, topic: str, notice: Notice) -> Event:
    connection = required(notice.connection.id, "connection")
    who: dict[str, Any] = {"room_id": str(notice.session_id), "user_id": connection, "connection_id": connection}
    if topic == "participant.joined":
        return ParticipantJoined(**head, **who)
    start_s, end_s = unix_s(notice.connection.created_at), unix_s(notice.timestamp)
    lasted = None if start_s is None or end_s is None or end_s < start_s else round(end_s - start_s)
    return ParticipantLeft(**head, **who, reason=REASONS.get(notice.reason, "unknown"), duration_s=lasted)


def _track_event(head: EventHead, topic: str, notice: Notice) -> Event:
    stream = notice.stream
    connection = required(stream.connection.id, "connection")
    about: dict[str, Any] = {
        "room_id": str(notice.session_id),
        "user_id": connection,
        "connection_id": connection,
        "track_id": optional_text(stream.id),
        "kind": KINDS.get(stream.video_type),
        "name": stream.name or None,
    }
    if topic == "track.published":
        return TrackPublished(**head, **about)
    return TrackUnpublished(**head, **about, reason=REASONS.get(notice.reason, "unknown"))


def _recording_event(head: EventHead, topic: str, notice: Notice) -> Event:
    mixed = notice.output_mode == "composed"
    about: dict[str, Any] = {
        "room_id": str(notice.session_id),
        "recording_id": optional_text(notice.id),
        "mixed": mixed if notice.output_mode else None,
        "track": "mixed" if mixed else None,
        "started_at": unix_moment(notice.created_at),
    }
    ended: dict[str, Any] = {"duration_s": whole(notice.duration), "size_bytes": whole(notice.size)}
    match topic:
        case "recording.started":
            return RecordingStarted(**head, **about)
        case "recording.paused":
            return RecordingPaused(**head, **about)
        case "recording.completed":
            return RecordingCompleted(**head, **about, **ended)
        case "recording.uploaded":
            return RecordingUploaded(**head, **about, **ended, url=notice.url)
        case _:
            return RecordingFailed(**head, **about, error=notice.reason or None)


def _stream_event(head: EventHead, topic: str, notice: Notice) -> Event:
    about: dict[str, Any] = {"room_id": str(notice.session_id), "stream_id": required(notice.id, "id")}
    match topic:
        case "stream.started":
            return StreamStarted(**head, **about, direction="out")
        case "stream.stopped":
            return StreamStopped(**head, **about, direction="out", duration_s=whole(notice.duration))
        case _:
            return StreamFailed(**head, **about, direction="out", error=notice.reason or None)


def _sample(event: str, **fields: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        at_ms = int(at_s * 1000)
        times = (
            {"createdAt": at_ms, "updatedAt": at_ms, "id": f"{event}-{n}"} if event in STATES else {"timestamp": at_ms}
        )
        return {"sessionId": f"demo-{n}", "projectId": "123456", "event": event, **fields, **times}

    return Sample(event, body)


_CONNECTION = {"id": "student", "data": ""}
_STREAM = {"stream": {"id": "camera", "connection": _CONNECTION, "name": "", "videoType": "camera"}}
_ARCHIVE = {"name": "demo", "outputMode": "composed", "duration": 5, "size": 1_000_000, "reason": ""}
SAMPLES = (
    _sample("sessionCreated"),
    _sample("connectionCreated", connection=_CONNECTION),
    _sample("streamCreated", **_STREAM),
    _sample("archive", status="started", **_ARCHIVE),
    _sample("archive", status="paused", **_ARCHIVE),
    _sample("broadcast", status="started"),
    _sample("broadcast", status="failed", reason="the endpoint refused the stream"),
    _sample("broadcast", status="stopped"),
    _sample("archive", status="stopped", **_ARCHIVE),
    _sample("streamDestroyed", reason="clientDisconnected", **_STREAM),
    _sample("connectionDestroyed", connection=_CONNECTION, reason="clientDisconnected"),
    _sample("sessionDestroyed"),
    _sample("archive", status="uploaded", **_ARCHIVE),
    _sample("archive", status="failed", **_ARCHIVE | {"reason": "the recorder stopped"}),
)

PROVIDER = Provider(
    name="vonage",
    title="Vonage Video (OpenTok)",
    account=Account,
    example=Example("vonage-main", {}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the whole body and the time (a token with HMAC-SHA256), where the project has a signature secret",
    leaves_open="a copy within the tolerance, which is the same event",
    sign=sign,
    identify=identify,
    normalise=normalise,
    fault=fault,
    addresses=("216.147.0.0/18",),
    resends_for_s=24 * 3600,
    secret_fields=frozenset({"password", "streamname", "stream_name", "streamkey", "token"}),
    url_fields=frozenset({"url", "serverurl"}),
)
