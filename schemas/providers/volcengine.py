"""Volcengine RTC (火山引擎) and BytePlus RTC: rooms, participants, recordings, and streams to a CDN. Experimental.

Source: Volcengine's pages on receiving callbacks (69820) and on their format (75124), and BytePlus's English ones. No
receiver is public. Which fields `EventData` has is documented for `RecordStarted` only, and inferred for all others: so
they are read in several spellings, and what names no room is kept as unknown. Every page lists `EventId` among what is
signed, but the published digest is that of the others without it: both recipes are accepted unless `recipe` names one.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from hookline.schemas.body_proof import BodyProof
from hookline.schemas.envelope import Envelope, Identity, iso, moment
from hookline.schemas.errors import BadSignature, MissingSignature, Unreadable
from hookline.schemas.events import (
    CanonicalEvent,
    Event,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantRoleChanged,
    RecordingCompleted,
    RecordingFailed,
    RecordingStarted,
    RoomCreated,
    RoomEnded,
    StreamStarted,
    StreamStateChanged,
    StreamStopped,
    Unknown,
    event_topic,
)
from hookline.schemas.payload import (
    Id,
    Int,
    Number,
    Whole,
    anything,
    number_s,
    optional_text,
    read_again,
    read_whole,
    recheck,
    text_s,
    unknown_type,
)
from hookline.schemas.provider import Example, Outgoing, Provider, Request, Sample, Source
from hookline.schemas.signing import check_fresh, check_hex

EVENTS: Mapping[str, type[CanonicalEvent]] = {
    "RoomCreate": RoomCreated,  # not in BytePlus's list
    "RoomDestroy": RoomEnded,
    "UserJoinRoom": ParticipantJoined,
    "UserLeaveRoom": ParticipantLeft,
    "InvisibleUserJoinRoom": ParticipantJoined,
    "InvisibleUserLeaveRoom": ParticipantLeft,
    "RoleChangeInvisible2Visible": ParticipantRoleChanged,
    "RoleChangeVisible2Invisible": ParticipantRoleChanged,
    "RecordStarted": RecordingStarted,
    "RecordStopped": RecordingCompleted,
    "TranscodeStarted": StreamStarted,
    "TranscodeStopped": StreamStopped,
    "TranscodeStateChanged": StreamStateChanged,
}
AUDIENCE = ("InvisibleUserJoinRoom", "InvisibleUserLeaveRoom", "RoleChangeVisible2Invisible")
OF_USERS = (ParticipantJoined, ParticipantLeft, ParticipantRoleChanged)
OF_RECORDINGS = (RecordingStarted, RecordingCompleted)
OF_STREAMS = (StreamStarted, StreamStopped, StreamStateChanged)
TYPES: Mapping[str, str | tuple[str, ...]] = {
    **{name: event_topic(event) for name, event in EVENTS.items()},
    "RecordStarted": ("recording.started", "recording.failed"),
}
SUCCEEDED = 0


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`app_id` names the application; the callback key of the console goes under `secrets`.

    `recipe` says whether `EventId` is signed. `check_time` refuses an `EventTime` beyond the tolerance: the pages
    prescribe no such check, and do not say how late the two repeats come.
    """

    app_id: str
    recipe: Literal["auto", "with_event_id", "without_event_id"] = "auto"
    check_time: bool = False


class Notice(Whole, frozen=True, kw_only=True, rename="pascal"):
    """`event_data` is JSON within a text."""

    event_type: Id
    event_data: str | None = None
    event_time: str | None = None
    event_id: Id
    app_id: Id
    version: Any = None
    nonce: Any = None
    noce: Any = None
    signature: Any = None


class Data(Whole, frozen=True, rename="pascal"):
    """The spellings of the ids are inferred, and so is `Timestamp`, in Unix milliseconds."""

    room_id: Id | None = None
    room_id_too: Id | None = msgspec.field(name="RoomID", default=None)
    room_id_three: Id | None = msgspec.field(name="room_id", default=None)
    user_id: Id | None = None
    user_id_too: Id | None = msgspec.field(name="UserID", default=None)
    user_id_three: Id | None = msgspec.field(name="user_id", default=None)
    task_id: Id | None = None
    business_id: Any = None
    timestamp: Number | None = None
    code: Int | None = None
    error_message: str | None = None
    state: Id | None = None

    @property
    def room(self) -> str | None:
        return _first(self.room_id, self.room_id_too, self.room_id_three)

    @property
    def user(self) -> str | None:
        return _first(self.user_id, self.user_id_too, self.user_id_three)

    @property
    def task(self) -> str | None:
        return _first(self.task_id)


def _first(*ids: Id | None) -> str | None:
    return next((str(each) for each in ids if each not in (None, "")), None)


_notice = msgspec.json.Decoder(Notice)
_data = msgspec.json.Decoder(Data)
_always_signed = BodyProof("EventType", "EventTime", "EventId", "AppId", "Version", "Signature")
_sometimes_named = BodyProof("EventData", "Nonce", "Noce")


def verify(request: Request, source: Source[Account], now_s: float) -> None:
    """SHA-256 of the secret and the texts of the fields, sorted by their bytes and joined, in hexadecimal.

    Newer pages call the random number `Nonce`, older ones and BytePlus's `Noce`. `EventData` is the text that the outer
    JSON holds.
    """
    event_type, event_time, event_id, app_id, version, signature = _always_signed.read(request.body)
    data, nonce, older_nonce = _sometimes_named.find(request.body)
    nonce = nonce if nonce is not None else older_nonce
    if data is None or nonce is None or not nonce.strip():
        raise MissingSignature("EventData or Nonce is missing")
    if app_id != source.account.app_id:
        raise BadSignature("the AppId is not that of this source")
    signed = [event_type, data, event_time, app_id, version, nonce]
    digests = [digest for key in source.keys for digest in _digests(signed, event_id, key, source.account.recipe)]
    check_hex(signature, digests)
    if source.account.check_time:
        check_fresh(_sent_s(event_time), now_s, source.tolerance_s)


def _sent_s(event_time: str) -> float:
    sent_s = text_s(event_time)
    if sent_s is None:
        raise BadSignature("the EventTime is no time")
    return sent_s


def _digests(signed: list[str], event_id: str, key: bytes, recipe: str) -> Iterator[bytes]:
    if recipe != "without_event_id":
        yield _digest([*signed, event_id], key)
    if recipe != "with_event_id":
        yield _digest(signed, key)


def _digest(signed: list[str], key: bytes) -> bytes:
    parts = sorted([key, *(part.encode() for part in signed)])
    return hashlib.sha256(b"".join(parts)).digest()


def sign(body: bytes, source: Source[Account], now_s: float) -> Outgoing:
    """Raises ValueError for a body that is no JSON object with texts in it."""
    content = msgspec.json.decode(body, type=dict[str, Any])
    content.setdefault("AppId", source.account.app_id)
    content.setdefault("Version", "2020-12-01")
    if "Noce" not in content:
        content.setdefault("Nonce", "4821")
    for name in ("EventType", "EventId", "EventTime", "EventData"):
        content.setdefault(name, "{}" if name == "EventData" else "none")
    names = ("EventType", "EventData", "EventTime", "AppId", "Version", "Nonce" if "Nonce" in content else "Noce")
    signed = [str(content[name]) for name in names]
    digest = next(_digests(signed, str(content["EventId"]), source.keys[0], source.account.recipe))
    return Outgoing(msgspec.json.encode({**content, "Signature": digest.hex()}))


def identify(request: Request) -> Identity:
    """The facts are the AppId and the EventId, by which the page says to tell repeats.

    The event's time is `Timestamp` where `EventData` has one, or else `EventTime`.
    """
    notice = read_whole(_notice, _notice, request.body)
    data = _read_data(notice)
    event = _event(notice, data)
    event_type = unknown_type(str(notice.event_type)) if event is None else event_topic(event)
    facts = (str(notice.app_id), str(notice.event_id))
    return Identity(event_type, facts, data.room or data.task or "", _occurred_s(notice, data))


def _read_data(notice: Notice) -> Data:
    """Without its fields where they cannot be read: they are not documented. `read` checks this inner JSON, too."""
    try:
        return read_whole(_data, _data, (notice.event_data or "{}").encode())
    except Unreadable:
        return Data()


def _occurred_s(notice: Notice, data: Data) -> float | None:
    occurred_s = number_s(data.timestamp)
    return text_s(notice.event_time) if occurred_s is None else occurred_s


def _event(notice: Notice, data: Data) -> type[CanonicalEvent] | None:
    """The event of this type, or None where its room, its user or its task is missing."""
    event = EVENTS.get(str(notice.event_type))
    if event is RecordingStarted and data.code not in (None, SUCCEEDED):
        return RecordingFailed
    if event in OF_STREAMS:
        return event if data.task is not None else None
    if data.room is None or (event in OF_USERS and data.user is None):
        return None
    return event


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    notice = read_again(_notice, envelope.body)
    data = _read_data(notice)
    event, head = _event(notice, data), envelope.head(notice.event_type)
    if event is None:
        return (Unknown(**head, payload=read_again(anything, envelope.body)),)
    made: Any = event(**head, **_fields(event, str(notice.event_type), data))
    return (made,)


def _fields(event: type[CanonicalEvent], kind: str, data: Data) -> Mapping[str, Any]:
    room = {"room_id": data.room}
    if event in OF_USERS:
        return {**room, "user_id": data.user, "role": "audience" if kind in AUDIENCE else "host"}
    if event in OF_RECORDINGS:
        return {**room, "task_id": data.task}
    if event is RecordingFailed:
        return {**room, "task_id": data.task, "error": data.error_message or None}
    if event in OF_STREAMS:
        state = {"state": optional_text(data.state)} if event is StreamStateChanged else {}
        return {**room, **state, "stream_id": data.task, "direction": "out"}
    return room


def _sample(kind: str, which: str = "", **fields: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        data = {"RoomId": f"demo-{n}", **fields, "Timestamp": int(at_s * 1000)}
        return {
            "EventType": kind,
            "EventData": msgspec.json.encode(data).decode(),
            "EventTime": iso(moment(at_s)),
            "EventId": f"{kind}{which}-{n}",
        }

    return Sample(kind, body)


SAMPLES = (
    _sample("RoomCreate"),
    _sample("UserJoinRoom", UserId="teacher"),
    _sample("InvisibleUserJoinRoom", UserId="student"),
    _sample("RecordStarted", TaskId="recording", BusinessId="", Code=0, ErrorMessage=""),
    _sample("RecordStarted", "-again", TaskId="another", BusinessId="", Code=1, ErrorMessage="no stream"),
    _sample("TranscodeStarted", TaskId="relay"),
    _sample("RoleChangeInvisible2Visible", UserId="student"),
    _sample("TranscodeStateChanged", TaskId="relay", State="running"),
    _sample("RoleChangeVisible2Invisible", UserId="student"),
    _sample("TranscodeStopped", TaskId="relay"),
    _sample("RecordStopped", TaskId="recording", BusinessId=""),
    _sample("InvisibleUserLeaveRoom", UserId="student"),
    _sample("UserLeaveRoom", UserId="teacher"),
    _sample("RoomDestroy"),
)

PROVIDER = Provider(
    name="volcengine",
    title="Volcengine RTC (火山引擎), BytePlus RTC; experimental",
    account=Account,
    example=Example("volcengine-main", {"app_id": "example-app-id"}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the texts of all fields (SHA-256); by the older recipe not the EventId",
    strength="fields",
    secret_fields=frozenset({"signature"}),
    leaves_open="where one field ends and the next begins; the age, unless `check_time` is set",
    sign=sign,
    identify=identify,
    normalise=normalise,
    checks_url_by_get=True,  # 75124, as of November 2025: a URL that does not answer GET cannot be entered
)
