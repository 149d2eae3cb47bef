"""Kingsoft Cloud KRTC (金山云): rooms, hosts and audience.

Source: KRTC's page on channel events (频道事件), the only one there is. Its format is that of Agora's notifications.
What the page leaves out is taken from Agora's documentation, and marked as inferred.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.events import (
    Event,
    LeaveReason,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantRoleChanged,
    Role,
    RoomCreated,
    RoomEnded,
)
from hookline.schemas.payload import (
    Id,
    Int,
    Whole,
    read_again,
    read_known_again,
    read_whole,
    recheck,
    required,
    unix_s,
)
from hookline.schemas.provider import Example, Outgoing, Provider, Request, Sample, Source
from hookline.schemas.signing import check_hmac, from_hex
from hookline.schemas.unknown import all_facts, identify_unknown, normalise_unknown

TYPES = {
    "101": "room.created",
    "102": "room.ended",
    "103": "participant.joined",
    "104": "participant.left",
    "105": "participant.joined",
    "106": "participant.left",
    "111": "participant.role_changed",
    "112": "participant.role_changed",
}
ROLES: Mapping[int, Role] = {103: "host", 104: "host", 105: "audience", 106: "audience", 111: "host", 112: "audience"}
REASONS: Mapping[int | None, LeaveReason] = {420: "left", 421: "disconnected", 469: "removed"}
# Only 1 and 2 are documented.
PLATFORMS: Mapping[int, str] = {1: "android", 2: "ios"}
REAL_TIME_COMMUNICATION = 1
WITHOUT_USER = (101, 102)
PER_ATTEMPT = ("noticeId", "notifyMs")


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """KRTC needs only its secret, `callBackSk`, which its operations staff hand out."""


class Payload(Whole, frozen=True, rename="camel"):
    """`ts` is the event's time in Unix seconds. The page calls it the time of joining for all types, by mistake."""

    channel_name: Id
    uid: Id | None = None
    platform: Int | None = None
    client_seq: Int | None = None
    reason: Int | None = None
    duration: Int | None = None
    ts: Int | None = None


class Kind(msgspec.Struct, frozen=True, rename="camel"):
    """The fields that tell a known notice from an unknown one."""

    event_type: Id
    product_id: Int = REAL_TIME_COMMUNICATION


class Notice(Whole, frozen=True, kw_only=True, rename="camel"):
    """Without a `product_id` it is of real-time communication."""

    notice_id: Any = None
    product_id: Int | None = None
    event_type: Int
    notify_ms: Any = None
    payload: Payload


class Attempt(msgspec.Struct, frozen=True, rename="camel"):
    """`notice_id` is said to identify the notice of an event; `notify_ms` is the sending time in milliseconds."""

    notice_id: Id | None = None
    notify_ms: Int | None = None


_kind = msgspec.json.Decoder(Kind)
_notice = msgspec.json.Decoder(Notice)
_attempt = msgspec.json.Decoder(Attempt)


def verify(request: Request, source: Source[Account], now_s: float) -> None:
    """HMAC-SHA256 of the body, in hexadecimal. It covers the body and no time."""
    check_hmac(from_hex(request.header("KRTC-Signature")), source.keys, request.body, "sha256")


def sign(body: bytes, source: Source[Account], now_s: float) -> Outgoing:
    return Outgoing(body, {"KRTC-Signature": source.keys[0].hmac(body, "sha256").hex()})


def identify(request: Request) -> Identity:
    """The facts are product, type, room, user, time, and `clientSeq` where it is not 0.

    `noticeId` is not a fact: it is "the time of the call", so a re-send may carry another. A user who changes role
    back and forth twice within one second passes for a re-send while `clientSeq` is 0, its only value up to now.
    """
    body = request.body
    notice = read_whole(_notice, _kind, body, _is_known)
    topic = _topic(notice)
    if topic is None or not isinstance(notice, Notice):
        return identify_unknown(notice.event_type, body, time="notifyMs", per_attempt=PER_ATTEMPT)
    payload, user = notice.payload, _user(notice)
    room, occurred_s = str(payload.channel_name), unix_s(payload.ts)
    if occurred_s is None:
        return _identify_without_time(notice, topic, room, body)
    facts: tuple[str | int | None, ...] = (REAL_TIME_COMMUNICATION, notice.event_type, room, user, payload.ts)
    if payload.client_seq:
        facts = (*facts, payload.client_seq)
    return Identity(topic, facts, room, occurred_s)


def _identify_without_time(notice: Notice, topic: str, room: str, body: bytes) -> Identity:
    """The identity of a notice without a time of its event, or with one that cannot be.

    All its fields are facts, or a user's second visit would pass for a re-send of the first. The sending time is a fact
    only where `noticeId` is absent. A re-send that renews what is a fact here counts as another event.
    """
    attempt = read_again(_attempt, body)
    per_attempt = () if attempt.notice_id is None else ("notifyMs",)
    facts = all_facts(notice.event_type, body, per_attempt)
    return Identity(topic, facts, room, unix_s(attempt.notify_ms))


def _topic(kind: Kind | Notice) -> str | None:
    """What has happened; None for what becomes no event."""
    return TYPES.get(str(kind.event_type)) if kind.product_id in (REAL_TIME_COMMUNICATION, None) else None


def _is_known(kind: Kind) -> bool:
    return _topic(kind) is not None


def _user(notice: Notice) -> str:
    return "" if notice.event_type in WITHOUT_USER else required(notice.payload.uid, "uid")


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    notice = read_known_again(_notice, _kind, envelope.body, _is_known)
    if _topic(notice) is None or not isinstance(notice, Notice):
        return normalise_unknown(envelope, notice.event_type)
    payload, number = notice.payload, notice.event_type
    head, room, user = envelope.head(number), str(payload.channel_name), _user(notice)
    match number:
        case 101:
            return (RoomCreated(**head, room_id=room),)
        case 102:
            return (RoomEnded(**head, room_id=room),)
        case 103 | 105:
            platform = _platform(payload.platform)
            return (ParticipantJoined(**head, room_id=room, user_id=user, role=ROLES[number], platform=platform),)
        case 104 | 106:
            return (
                ParticipantLeft(
                    **head,
                    room_id=room,
                    user_id=user,
                    role=ROLES[number],
                    reason=REASONS.get(payload.reason, "unknown"),
                    duration_s=payload.duration,  # inferred: the page gives no unit
                ),
            )
        case _:
            return (ParticipantRoleChanged(**head, room_id=room, user_id=user, role=ROLES[number]),)


def _platform(number: int | None) -> str | None:
    return None if number is None else PLATFORMS.get(number, str(number))


def _sample(number: int, **details: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        payload = {"channelName": f"demo-{n}", **details, "ts": int(at_s)}
        return {
            "noticeId": str(int(at_s * 1e9)),
            "productId": REAL_TIME_COMMUNICATION,
            "eventType": number,
            "notifyMs": int(at_s * 1000),
            "payload": payload,
        }

    return Sample(str(number), body)


SAMPLES = (
    _sample(101),
    _sample(103, uid="teacher", platform=1, clientSeq=0),
    _sample(105, uid="student", platform=2, clientSeq=0),
    _sample(111, uid="student", clientSeq=0),
    _sample(112, uid="student", clientSeq=0),
    _sample(106, uid="student", platform=2, clientSeq=0, reason=420, duration=3),
    _sample(104, uid="teacher", platform=1, clientSeq=0, reason=420, duration=5),
    _sample(102),
)

PROVIDER = Provider(
    name="krtc",
    title="Kingsoft KRTC (金山云)",
    account=Account,
    example=Example("krtc-main", {}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the whole body (HMAC-SHA256)",
    leaves_open="no time: an old callback can be sent again, and counts as a repeat",
    sign=sign,
    identify=identify,
    normalise=normalise,
)
