"""LiveKit, the server and the cloud: rooms, participants, tracks, egress and ingress.

Sources: livekit/protocol at d74e7cdb (webhook/, auth/verifier.go, protobufs) and livekit/livekit at 788d4c35
(pkg/telemetry/events.go). A body is protobuf's JSON: 64-bit integers are text, and what is zero, empty or false is
absent. Agent jobs are kept as unknown. No event tells of muting. Open: the addresses of LiveKit Cloud, and whether it
hides the credentials in the request of an egress.
"""

import hashlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import msgspec

from hookline.schemas.drafts import Draft, draft_topic, finished
from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.errors import BadSignature
from hookline.schemas.events import (
    Event,
    LeaveReason,
    ParticipantJoined,
    ParticipantJoinFailed,
    ParticipantKind,
    ParticipantLeft,
    RecordingCompleted,
    RecordingFailed,
    RecordingStarted,
    RecordingUploaded,
    RoomCreated,
    RoomEnded,
    StreamFailed,
    StreamProtocol,
    StreamStarted,
    StreamStateChanged,
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
    number_s,
    optional_text,
    read,
    read_again,
    recheck,
    required,
    unix_moment,
    unknown_type,
)
from hookline.schemas.provider import Example, Outgoing, Provider, Request, Sample, Source
from hookline.schemas.signing import check_base64_of_body, check_fresh, check_not_expired
from hookline.schemas.stream_url import scheme_of, without_key
from hookline.schemas.unknown import all_facts, normalise_unknown

TYPES: Mapping[str, str | tuple[str, ...]] = {
    "room_started": "room.created",
    "room_finished": "room.ended",
    "participant_joined": "participant.joined",
    "participant_left": "participant.left",
    "participant_connection_aborted": "participant.join_failed",
    "track_published": "track.published",
    "track_unpublished": "track.unpublished",
    "egress_started": ("recording.started", "stream.started"),
    "egress_updated": "stream.state_changed",
    "egress_ended": (
        "recording.uploaded",
        "recording.completed",
        "recording.failed",
        "stream.stopped",
        "stream.failed",
    ),
    "ingress_started": "stream.started",
    "ingress_ended": ("stream.stopped", "stream.failed"),
}
# ROOM_DELETED and ROOM_CLOSED end the room for all of them.
REASONS: Mapping[str | None, LeaveReason] = {
    **dict.fromkeys(("CLIENT_INITIATED", "ROOM_DELETED", "ROOM_CLOSED"), "left"),
    **dict.fromkeys(("DUPLICATE_IDENTITY", "PARTICIPANT_REMOVED"), "removed"),
    **dict.fromkeys(
        (
            *("SERVER_SHUTDOWN", "STATE_MISMATCH", "JOIN_FAILURE", "MIGRATION", "SIGNAL_CLOSE"),
            *("CONNECTION_TIMEOUT", "MEDIA_FAILURE", "SIP_TRUNK_FAILURE", "AGENT_ERROR"),
        ),
        "disconnected",
    ),
}
# A standard participant has no kind. CONNECTOR and BRIDGE are not explained anywhere.
KINDS: Mapping[str | None, ParticipantKind] = {
    "INGRESS": "robot",
    "EGRESS": "robot",
    "SIP": "phone",
    "AGENT": "agent",
}
SOURCES: Mapping[str | None, TrackKind] = {"SCREEN_SHARE": "screen", "SCREEN_SHARE_AUDIO": "screen_audio"}
TRACKS: Mapping[str | None, TrackKind] = {None: "audio", "AUDIO": "audio", "VIDEO": "video", "DATA": "data"}
INPUTS: Mapping[str | None, StreamProtocol] = {None: "rtmp", "RTMP_INPUT": "rtmp", "WHIP_INPUT": "whip"}
FAILED_EGRESS = ("EGRESS_FAILED", "EGRESS_ABORTED")
LEEWAY_S = 60  # that of the official verifier
TOKEN_S = 300


Nanoseconds = Int | Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,19}\Z")]


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`api_key` is the key of the secret, or a list of keys: an egress may be signed with another key."""

    api_key: str | tuple[str, ...]


class Room(msgspec.Struct, frozen=True, rename="camel"):
    """`name` is ours, and `sid` is one life of the room."""

    name: Id | None = None
    sid: Id | None = None
    creation_time: Number | None = None
    creation_time_ms: Number | None = None


class Participant(msgspec.Struct, frozen=True, rename="camel"):
    """`identity` is the user, and `sid` one connection. The events of tracks have only these two."""

    identity: Id | None = None
    sid: Id | None = None
    name: str | None = None
    kind: str | None = None
    joined_at: Number | None = None
    joined_at_ms: Number | None = None
    disconnect_reason: str | None = None


class Track(msgspec.Struct, frozen=True, rename="camel"):
    sid: Id | None = None
    type: str | None = None
    source: str | None = None
    name: str | None = None
    muted: bool | None = None


class FileResult(msgspec.Struct, frozen=True, rename="camel"):
    """A file, or the playlist of segments. Times are Unix nanoseconds, and `duration` is nanoseconds, too."""

    filename: str | None = None
    playlist_name: str | None = None
    location: str | None = None
    playlist_location: str | None = None
    started_at: Nanoseconds | None = None
    ended_at: Nanoseconds | None = None
    duration: Nanoseconds | None = None
    size: Number | None = None


class StreamResult(msgspec.Struct, frozen=True, rename="camel"):
    """An active stream has no `status`."""

    url: str | None = None
    status: str | None = None
    error: str | None = None
    duration: Nanoseconds | None = None


class EgressRequest(msgspec.Struct, frozen=True, rename="camel"):
    """What the egress was asked for. `identity` is that of the only participant."""

    identity: Id | None = None
    stream: Any = None
    stream_outputs: Any = None
    websocket_url: Any = None
    file: Any = None
    segments: Any = None
    file_outputs: Any = None
    segment_outputs: Any = None
    image_outputs: Any = None

    @property
    def streams_only(self) -> bool:
        streams = self.stream or self.stream_outputs or self.websocket_url
        files = self.file or self.segments or self.file_outputs or self.segment_outputs or self.image_outputs
        return bool(streams and not files)


class Egress(msgspec.Struct, frozen=True, rename="camel"):
    """`file` and `segments` are the only results of older servers. `updated_at` is Unix nanoseconds."""

    egress_id: Id
    room_id: Id | None = None
    room_name: Id | None = None
    status: str | None = None
    updated_at: Nanoseconds | None = None
    room_composite: EgressRequest | None = None
    web: EgressRequest | None = None
    participant: EgressRequest | None = None
    track_composite: EgressRequest | None = None
    track: EgressRequest | None = None
    file_results: tuple[FileResult, ...] = ()
    segment_results: tuple[FileResult, ...] = ()
    image_results: Any = None
    stream_results: tuple[StreamResult, ...] = ()
    file: FileResult | None = None
    segments: FileResult | None = None
    error: str | None = None
    error_code: Int | None = None

    @property
    def files(self) -> tuple[FileResult, ...]:
        files = (*self.file_results, *self.segment_results)
        return files or tuple([result for result in (self.file, self.segments) if result is not None])

    @property
    def streams(self) -> tuple[StreamResult, ...]:
        """The streams; one of unknown URL where only the request tells of them."""
        if self.stream_results or self.files or self.image_results:
            return self.stream_results
        requests = (self.room_composite, self.web, self.participant, self.track_composite, self.track)
        return (StreamResult(),) if any(request and request.streams_only for request in requests) else ()


class IngressState(msgspec.Struct, frozen=True, rename="camel"):
    """Times are Unix nanoseconds."""

    status: str | None = None
    error: str | None = None
    room_id: Id | None = None
    started_at: Nanoseconds | None = None
    ended_at: Nanoseconds | None = None


class Ingress(msgspec.Struct, frozen=True, rename="camel"):
    ingress_id: Id
    room_name: Id | None = None
    participant_identity: Id | None = None
    input_type: str | None = None
    url: str | None = None
    state: IngressState = IngressState()


class Notice(msgspec.Struct, frozen=True, rename="camel"):
    """`created_at` is when the event was made, in Unix seconds."""

    event: Id
    id: Id | None = None
    created_at: Number | None = None
    room: Room = Room()
    participant: Participant = Participant()
    track: Track = Track()
    egress_info: Egress | None = None
    ingress_info: Ingress | None = None


_notice = msgspec.json.Decoder(Notice)


def verify(request: Request, source: Source[Account], now_s: float) -> None:
    """A token of HS256, with the API key, the SHA-256 of the body in base64, and five minutes to live.

    A token is made once and used for all attempts to send a callback. So `tolerance_s` counts from the first of them.
    """
    claims = check_jwt(request.header("Authorization"), source.keys)
    api_key = source.account.api_key
    if claim(claims, "iss") not in ((api_key,) if isinstance(api_key, str) else api_key):
        raise BadSignature("the API key is not that of this source")
    check_base64_of_body(claim(claims, "sha256"), hashlib.sha256(request.body).digest(), "SHA-256 in the token")
    check_fresh(time_claim(claims, "nbf"), now_s, source.tolerance_s)
    check_not_expired(time_claim(claims, "exp"), now_s, LEEWAY_S)


def sign(body: bytes, source: Source[Account], now_s: float) -> Outgoing:
    """The token that the server makes, with the first of the API keys."""
    api_key = source.account.api_key
    claims = {
        "exp": int(now_s) + TOKEN_S,
        "iss": api_key if isinstance(api_key, str) else api_key[0],
        "nbf": int(now_s),
        "sha256": b64encode(hashlib.sha256(body).digest()).decode(),
    }
    signed = b".".join(_part(msgspec.json.encode(part)) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    token = signed + b"." + _part(source.keys[0].hmac(signed, "sha256"))
    return Outgoing(body, {"Authorization": token.decode()})


def _part(content: bytes) -> bytes:
    return urlsafe_b64encode(content).rstrip(b"=")


def fault(source: Source[Account]) -> str | None:
    if not all(source.account.api_key) or not source.account.api_key:
        return "api_key: it is empty"
    return None if source.keys else "secrets: at least one is needed, that of the API key"


def identify(request: Request) -> Identity:
    """The only fact is the id of the event, which is made once for all attempts.

    Servers before 1.2 send none. Then all fields are facts: attempts repeat the body as it is.
    """
    notice = read(_notice, request.body)
    drafts = _drafts(notice)
    event_type = draft_topic(drafts[0]) if drafts else unknown_type(notice.event)
    facts = (str(notice.id),) if notice.id else all_facts(notice.event, request.body)
    return Identity(event_type, facts, _subject(notice), _occurred_s(notice))


def _subject(notice: Notice) -> str:
    """The room, or the egress or ingress that belongs to none."""
    egress, ingress = notice.egress_info, notice.ingress_info
    if egress is not None:
        return str(egress.room_name or egress.egress_id)
    if ingress is not None:
        return str(ingress.room_name or ingress.ingress_id)
    return str(notice.room.name or "")


def _occurred_s(notice: Notice) -> float | None:
    """The time of what happened where there is one: `createdAt` is the second in which the event was made."""
    match notice.event:
        case "room_started":
            exact = notice.room.creation_time_ms or notice.room.creation_time
        case "participant_joined":
            exact = notice.participant.joined_at_ms or notice.participant.joined_at
        case _:
            exact = notice.egress_info.updated_at if notice.egress_info else None
    return number_s(exact) or number_s(notice.created_at)


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    notice = read_again(_notice, envelope.body)
    drafts = _drafts(notice)
    return finished(envelope, notice.event, drafts) if drafts else normalise_unknown(envelope, notice.event)


def _drafts(notice: Notice) -> Sequence[Draft]:
    """The events of a callback; none for one of unknown type. Raises Unreadable."""
    match notice.event:
        case "participant_joined" | "participant_left" | "participant_connection_aborted":
            return (_of_participant(notice),)
        case "track_published" | "track_unpublished":
            return (_of_track(notice),)
        case "room_started" | "room_finished":
            return (_of_room(notice),)
        case "egress_started" | "egress_updated" | "egress_ended" if notice.egress_info is not None:
            return _of_egress(notice.event, notice.egress_info)
        case "ingress_started" | "ingress_ended" if notice.ingress_info is not None:
            return (_of_ingress(notice.event, notice.ingress_info),)
        case _:
            return ()


def _room(notice: Notice) -> dict[str, Any]:
    return {"room_id": required(notice.room.name, "name"), "session_id": optional_text(notice.room.sid)}


def _of_room(notice: Notice) -> Draft:
    room = _room(notice)
    if notice.event == "room_started":
        return partial(RoomCreated, name=room["room_id"], **room)
    return partial(RoomEnded, **room)


def _user(participant: Participant) -> dict[str, Any]:
    return {
        "user_id": required(participant.identity or participant.sid, "identity"),
        "connection_id": optional_text(participant.sid),
    }


def _of_participant(notice: Notice) -> Draft:
    who = notice.participant
    about = {**_room(notice), **_user(who), "display_name": who.name or None}
    match notice.event:
        case "participant_joined":
            return partial(ParticipantJoined, kind=KINDS.get(who.kind), role_name=who.kind, **about)
        case "participant_left":
            reason = REASONS.get(who.disconnect_reason, "unknown")
            return partial(ParticipantLeft, kind=KINDS.get(who.kind), role_name=who.kind, reason=reason, **about)
        case _:
            return partial(ParticipantJoinFailed, error=who.disconnect_reason, **about)


def _of_track(notice: Notice) -> Draft:
    track = notice.track
    return partial(
        TrackPublished if notice.event == "track_published" else TrackUnpublished,
        track_id=optional_text(track.sid),
        kind=SOURCES.get(track.source) or TRACKS.get(track.type),
        name=track.name or None,
        muted=track.muted,
        **_room(notice),
        **_user(notice.participant),
    )


def _of_egress(event: Id, egress: Egress) -> Sequence[Draft]:
    """The recording if there is one, and each stream: one egress may be both."""
    streams, files = egress.streams, egress.files
    recorded = bool(files or egress.image_results or not streams)
    match event:
        case "egress_started":
            started = [partial(RecordingStarted, **_task(egress))] if recorded else []
            return [*started, *(partial(StreamStarted, **_out(egress, stream)) for stream in streams)]
        case "egress_updated":
            return [
                partial(StreamStateChanged, state=(stream.status or "ACTIVE").lower(), **_out(egress, stream))
                for stream in streams
            ]
        case _:
            return [*(_of_files(egress) if recorded else ()), *(_end(egress, stream) for stream in streams)]


def _task(egress: Egress) -> dict[str, Any]:
    whose = egress.participant.identity if egress.participant else None
    return {"user_id": optional_text(whose), "task_id": str(egress.egress_id), **_where(egress)}


def _where(egress: Egress) -> dict[str, Any]:
    return {"room_id": optional_text(egress.room_name), "session_id": optional_text(egress.room_id)}


def _of_files(egress: Egress) -> Sequence[Draft]:
    """The files are uploaded when an egress ends. Images have no result of their own here."""
    if egress.status in FAILED_EGRESS:
        code = optional_text(egress.error_code)
        return [partial(RecordingFailed, error=egress.error, error_code=code, **_task(egress))]
    if not egress.files:
        return [partial(RecordingCompleted, **_task(egress))]
    return [
        partial(
            RecordingUploaded,
            segment=segment,
            file_name=file.filename or file.playlist_name,
            url=file.location or file.playlist_location,
            size_bytes=_whole(file.size),
            duration_s=_whole_s(file.duration),
            started_at=unix_moment(file.started_at),
            ended_at=unix_moment(file.ended_at),
            **_task(egress),
        )
        for segment, file in enumerate(egress.files)
    ]


def _out(egress: Egress, stream: StreamResult) -> dict[str, Any]:
    return {
        "stream_id": str(egress.egress_id),
        "direction": "out",
        "protocol": scheme_of(stream.url),
        "url": without_key(stream.url),
        **_where(egress),
    }


def _end(egress: Egress, stream: StreamResult) -> Draft:
    if stream.status == "FAILED" or (egress.status in FAILED_EGRESS and stream.status != "FINISHED"):
        return partial(StreamFailed, error=stream.error or egress.error, **_out(egress, stream))
    return partial(StreamStopped, duration_s=_whole_s(stream.duration), **_out(egress, stream))


def _of_ingress(event: Id, ingress: Ingress) -> Draft:
    state = ingress.state
    about: dict[str, Any] = {
        "room_id": optional_text(ingress.room_name),
        "session_id": optional_text(state.room_id),
        "stream_id": str(ingress.ingress_id),
        "direction": "in",
        "protocol": INPUTS.get(ingress.input_type) or scheme_of(ingress.url),
        "url": without_key(ingress.url, key_is_apart=True),
        "user_id": optional_text(ingress.participant_identity),
    }
    if event == "ingress_started":
        return partial(StreamStarted, **about)
    if state.status == "ENDPOINT_ERROR" or state.error:
        return partial(StreamFailed, error=state.error, **about)
    if state.started_at is None or state.ended_at is None:
        return partial(StreamStopped, **about)
    return partial(StreamStopped, duration_s=_whole_s(int(state.ended_at) - int(state.started_at)), **about)


def _whole(value: int | str | None) -> int | None:
    return None if value is None else int(value)


def _whole_s(nanoseconds: int | str | None) -> int | None:
    return None if nanoseconds is None else round(int(nanoseconds) / 1e9)


def _sample(event: str, **fields: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        filled = _filled(fields, n, at_s)
        who = filled.get("participant", {}).get("identity", "")
        return {"event": event, **filled, "id": f"EV_demo{n}at{at_s:.6f}{who}", "createdAt": str(int(at_s))}

    return Sample(event, body)


def _filled(value: Any, n: int, at_s: float) -> Any:
    """The value with the number of the story and the time where it says `{n}` and `{at}`."""
    match value:
        case dict():
            return {name: _filled(part, n, at_s) for name, part in value.items()}
        case list():
            return [_filled(part, n, at_s) for part in value]
        case str():
            return value.format(n=n, at=int(at_s), ms=int(at_s * 1000), ns=int(at_s * 1000) * 10**6)
        case _:
            return value


def _person(identity: str, **fields: Any) -> Any:
    return {"sid": f"PA_demo{{n}}{identity}", "identity": identity, **fields}


def _egress(event: str, status: str, **fields: Any) -> Sample:
    info = {"egressId": "EG_demo{n}", "roomId": "RM_demo{n}", "roomName": "demo-{n}", "status": status, **fields}
    return _sample(event, egressInfo={**info, "updatedAt": "{ns}"})


def _ingress(event: str, **state: Any) -> Sample:
    where = {"ingressId": "IN_demo{n}", "roomName": "demo-{n}", "participantIdentity": "camera"}
    return _sample(event, ingressInfo={**where, "state": {"roomId": "RM_demo{n}", "startedAt": "{ns}", **state}})


ROOM = {"sid": "RM_demo{n}", "name": "demo-{n}", "emptyTimeout": 300}
FILE = {"filename": "demo-{n}.mp4", "size": "1048576", "duration": "5000000000"}
CAMERA = {"sid": "TR_demo{n}", "type": "VIDEO", "source": "CAMERA", "mimeType": "video/vp8"}
SAMPLES = (
    _sample("room_started", room={**ROOM, "creationTime": "{at}", "creationTimeMs": "{ms}"}),
    _sample("participant_joined", room=ROOM, participant=_person("teacher", name="Teacher", joinedAtMs="{ms}")),
    _sample("participant_joined", room=ROOM, participant=_person("student", name="Student", joinedAtMs="{ms}")),
    _sample("participant_connection_aborted", room=ROOM, participant=_person("guest", disconnectReason="JOIN_FAILURE")),
    _sample("track_published", room=ROOM, participant=_person("teacher"), track=CAMERA),
    _ingress("ingress_started", status="ENDPOINT_PUBLISHING"),
    _egress("egress_started", "EGRESS_ACTIVE", fileResults=[{"filename": "demo-{n}.mp4"}]),
    _egress("egress_updated", "EGRESS_ACTIVE", streamResults=[{"url": "rtmp://live.example.com/app/demo-key"}]),
    _egress("egress_ended", "EGRESS_COMPLETE", fileResults=[{**FILE, "endedAt": "{ns}"}]),
    _ingress("ingress_ended", status="ENDPOINT_INACTIVE", endedAt="{ns}"),
    _sample("track_unpublished", room=ROOM, participant=_person("teacher"), track=CAMERA),
    _sample("participant_left", room=ROOM, participant=_person("student", disconnectReason="CLIENT_INITIATED")),
    _sample("participant_left", room=ROOM, participant=_person("teacher", disconnectReason="CLIENT_INITIATED")),
    _sample("room_finished", room=ROOM),
)

PROVIDER = Provider(
    name="livekit",
    title="LiveKit",
    account=Account,
    example=Example("classes", {"api_key": "APIexample"}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the whole body and the time (a JWT with HMAC-SHA256 and the SHA-256 of the body)",
    leaves_open="a copy within the tolerance, which counts as a repeat",
    sign=sign,
    identify=identify,
    normalise=normalise,
    content_type="application/webhook+json",
    fault=fault,
    secret_fields=frozenset(
        {
            *("turnpassword", "streamkey", "urls", "signingkey", "accesskey", "secret", "sessiontoken"),
            *("credentials", "accountkey", "accountname", "username", "password"),
        }
    ),
    url_fields=frozenset({"url", "location", "playlistlocation", "liveplaylistlocation", "manifestlocation"}),
)
