"""NetEase Yunxin (网易云信): third-party callbacks of audio/video 1.0, when a call starts and a room is created.

Source: NetEase's page on these callbacks (音视频1.0相关回调) and its guide to third-party callbacks. Its copy services
(消息抄送) sign in the same way, but have their own numbers of event types: their callbacks are kept whole, as unknown.
The samples' MD5 and CheckSum are the same on every page, and match none of the bodies.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, assert_never

import msgspec

from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.errors import BadSignature
from hookline.schemas.events import CallStarted, Event, Media, RoomCreated
from hookline.schemas.payload import Id, Int, Number, number, optional_text, read, read_again, recheck, text, unix_s
from hookline.schemas.provider import Example, Outgoing, Provider, Reply, Request, Sample, Source
from hookline.schemas.signing import check_fresh, check_hex, decimal
from hookline.schemas.unknown import all_facts, identify_unknown, normalise_unknown

TYPES = {"20": "call.started", "21": "room.created"}
MEDIA: Mapping[int | None, Media] = {1: "audio", 2: "video"}
TIME_DIGITS = 13
NO_TYPE = "none"


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`app_key` names the application; its AppSecret goes under `secrets`."""

    app_key: str


class Kind(msgspec.Struct, frozen=True, rename="camel"):
    """The old meeting component sends no `eventType`."""

    event_type: Id | None = None


class Notice(msgspec.Struct, frozen=True, rename="camel", tag_field="eventType"):
    """The page says that any field may be absent or null. `timestamp` is Unix milliseconds, in quotes."""

    from_device_id: Id | None = None
    timestamp: Number | None = None


class Call(Notice, frozen=True, kw_only=True, tag=20):
    from_account: Id
    to_account_list: tuple[Id | None, ...] | None = None
    call_type: Int | None = None
    notify_attach: str | None = None


class Room(Notice, frozen=True, kw_only=True, tag=21):
    """`channelName` is in the sample but not in the table. It is required here: without it no room is named."""

    channel_name: Id
    from_account: Id | None = None
    self_config: str | None = None


_kind = msgspec.json.Decoder(Kind)
_notice: msgspec.json.Decoder[Call | Room] = msgspec.json.Decoder(Call | Room)


def verify(request: Request, source: Source[Account], now_s: float) -> None:
    """SHA-1 of secret, MD5 of the body, and time, in hexadecimal. It covers the body and the time.

    The MD5 is computed from the body. If that of the header were trusted, any body would pass. The AppKey is not
    signed, and copies may come without it.
    """
    cur_time, md5, check_sum = request.header("CurTime"), request.header("MD5"), request.header("CheckSum")
    if request.headers.getall("AppKey", ()) and request.header("AppKey") != source.account.app_key:
        raise BadSignature("the AppKey is not that of this source")
    sent_s = decimal(cur_time, TIME_DIGITS) / 1000
    body_md5 = _md5(request.body)
    check_hex(md5, [body_md5.digest()], "MD5 (of the body)")
    check_hex(check_sum, [_check_sum(key, body_md5, cur_time).digest() for key in source.keys], "CheckSum")
    check_fresh(sent_s, now_s, source.tolerance_s)


# The provider chose both hashes.
def _md5(body: bytes) -> "hashlib._Hash":
    return hashlib.md5(body, usedforsecurity=False)


def _check_sum(key: bytes, body_md5: "hashlib._Hash", cur_time: str) -> "hashlib._Hash":
    return hashlib.sha1(key + body_md5.hexdigest().encode() + cur_time.encode(), usedforsecurity=False)


def sign(body: bytes, source: Source[Account], now_s: float) -> Outgoing:
    cur_time = f"{int(now_s * 1000):0{TIME_DIGITS}}"
    body_md5 = _md5(body)
    headers = {
        "AppKey": source.account.app_key,
        "CurTime": cur_time,
        "MD5": body_md5.hexdigest(),
        "CheckSum": _check_sum(source.keys[0], body_md5, cur_time).hexdigest(),
    }
    return Outgoing(body, headers)


REPLY = Reply(b'{"errCode":0}')
"""The provider continues the call only after a reply of 0 (commonly described, not in the page)."""


def challenge(request: Request, source: Source[Account], now_s: float) -> Reply | None:
    """A URL check is a signed callback with the body `{}` (documented for its room and meeting events)."""
    if request.body.strip() != b"{}":
        return None
    verify(request, source, now_s)
    return REPLY


def identify(request: Request) -> Identity:
    """The facts are type, account, device, time, and the callees or the room.

    Without a time, or with one that cannot be, all fields of the callback are its facts. The provider sends each
    callback once, so a repeat can only be a copy. A second call that differs in no field passes for a copy, too.
    """
    body = request.body
    kind = read(_kind, body)
    if not _is_known(kind):
        return identify_unknown(_type_word(kind), body, time="timestamp")
    notice = read_again(_notice, body)
    ms = None if notice.timestamp is None else number(notice.timestamp)
    occurred_s = unix_s(ms)
    facts: tuple[str | int | None, ...] = (
        kind.event_type,
        optional_text(notice.from_account),
        optional_text(notice.from_device_id),
        ms,
        *_which(notice),
    )
    if occurred_s is None:
        facts = all_facts(str(kind.event_type), body)
    return Identity(TYPES[str(kind.event_type)], facts, _subject(notice), occurred_s)


def _is_known(kind: Kind) -> bool:
    return type(kind.event_type) is int and str(kind.event_type) in TYPES


def _which(notice: Call | Room) -> list[str]:
    return [text(notice.channel_name)] if isinstance(notice, Room) else sorted(_callees(notice))


def _callees(call: Call) -> tuple[str, ...]:
    return tuple(text(account) for account in call.to_account_list or () if account is not None)


def _subject(notice: Call | Room) -> str:
    return text(notice.channel_name if isinstance(notice, Room) else notice.from_account)


def _type_word(kind: Kind) -> Id:
    return NO_TYPE if kind.event_type is None else kind.event_type


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    kind = read_again(_kind, envelope.body)
    if not _is_known(kind):
        return normalise_unknown(envelope, _type_word(kind))
    notice = read_again(_notice, envelope.body)
    head = envelope.head(_type_word(kind))
    match notice:
        case Call():
            media, custom = MEDIA.get(notice.call_type), notice.notify_attach
            caller, callees = text(notice.from_account), _callees(notice)
            return (CallStarted(**head, caller_id=caller, callee_ids=callees, media=media, custom=custom),)
        case Room():
            # The page calls the account an operator and names no owner. "" means no attributes.
            room, operator = text(notice.channel_name), optional_text(notice.from_account)
            return (RoomCreated(**head, room_id=room, operator_id=operator, custom=notice.self_config or None),)
        case _:
            assert_never(notice)


def _sample(kind: int, account: str, **fields: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        own = {name: value.format(n=n) if isinstance(value, str) else value for name, value in fields.items()}
        origin = {"fromClientType": "WEB", "fromClientIp": "203.0.113.7", "fromClientPort": "46612"}
        return {
            "eventType": kind,
            "fromAccount": account,
            "fromDeviceId": f"device-{n}",
            **origin,
            **own,
            "timestamp": str(int(at_s * 1000)),
        }

    return Sample(str(kind), body)


SAMPLES = (
    _sample(21, "teacher", channelName="demo-{n}", roomConfig="", selfConfig=""),
    _sample(20, "teacher", callType=2, forceKeepCalling=True, toAccountList=["student"], notifyAttach=""),
)

PROVIDER = Provider(
    name="netease",
    title="NetEase Yunxin (网易云信)",
    account=Account,
    example=Example("calls", {"app_key": "example-app-key"}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the whole body and the time (SHA-1 over its MD5)",
    leaves_open="a copy within the tolerance, which counts as a repeat",
    sign=sign,
    identify=identify,
    normalise=normalise,
    reply=REPLY,
    challenge=challenge,
    min_secret_bytes=12,  # an AppSecret has twelve characters
    shown=frozenset({"appkey", "curtime", "md5"}),
)
