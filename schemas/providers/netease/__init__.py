"""NetEase Yunxin (网易云信): the third-party callbacks of audio/video 1.0, and its copy services.

A: third-party callbacks, when a call starts and a room is created (音视频1.0相关回调). B: copies of audio/video 1.0
(消息抄送). C: copies of NERTC, audio/video 2.0. D: events of NERoom and NEMeeting. E: the old meeting component. F: the
online classroom. Their numbers of types collide: 5 is a finished call in B, and somebody who left in C and E. Nothing
names the service, so the form of the body tells them apart. The pages' samples hold placeholders for MD5 and CheckSum.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.errors import BadSignature, Unreadable
from hookline.schemas.events import Event
from hookline.schemas.payload import Id, read_again, read_whole, recheck
from hookline.schemas.provider import Example, Outgoing, Provider, Reply, Request, Source
from hookline.schemas.providers.netease import callbacks, classroom, copies, meeting, neroom, nertc
from hookline.schemas.providers.netease.reading import Reader
from hookline.schemas.signing import check_fresh, check_hex, check_hex_of_body, decimal
from hookline.schemas.unknown import identify_unknown, normalise_unknown

TIME_DIGITS = 13
NO_TYPE = "none"
MAX_NONCE_CHARACTERS = 64

Service: TypeAlias = Literal["callback", "copy", "nertc", "neroom", "meeting", "classroom"]


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`app_key` names the application; its AppSecret goes under `secrets`."""

    app_key: str


class Kind(msgspec.Struct, frozen=True, rename="camel"):
    """What tells the services and their types apart."""

    event_type: Id | None = None
    event_type_too: Id | None = msgspec.field(name="event_type", default=None)  # the list of C's types calls it so
    msg_type: Id | None = None
    cmd: Id | None = None
    request_id: Id | None = None
    room_uuid: Id | None = None
    data: msgspec.Raw = msgspec.Raw()


READERS: Mapping[Service, Mapping[str, Reader]] = {
    "callback": callbacks.READERS,
    "copy": copies.READERS,
    "nertc": nertc.READERS,
    "neroom": neroom.READERS,
    "meeting": meeting.READERS,
    "classroom": classroom.READERS,
}
TYPES: Mapping[str, str | tuple[str, ...]] = {
    "1": ("room.created", "room.updated"),
    "2": ("room.ended", "room.updated"),
    "3": ("recording.uploaded", "room.ended"),
    "4": "participant.joined",
    "5": ("call.ended", "participant.left", "participant.joined"),
    "6": ("recording.uploaded", "participant.join_failed", "participant.left"),
    "7": "recording.uploaded",
    "9": "participant.role_changed",
    "10": ("participant.role_changed", "room.updated"),
    "11": ("track.published", "room.updated"),
    "12": "track.unpublished",
    "13": "track.published",
    "14": "track.unpublished",
    "20": "call.started",
    "21": "room.created",
    "30": "participant.joined",
    "31": "participant.left",
    "40": ("track.published", "track.unpublished"),
    "41": "track.unpublished",
    "50": "room.created",
    "51": "room.ended",
    "CREATE_ROOM": "room.created",
    "CLOSE_ROOM": "room.ended",
    "USER_JOIN_ROOM": "participant.joined",
    "USER_LEAVE_ROOM": "participant.left",
    "MEETING_INFO_CHANGE": "room.updated",
}
_kind = msgspec.json.Decoder(Kind)
# The form that is tried first, by the key with which a body mostly begins, or by the value of `eventType`.
KEY, VALUE = slice(2, 11), slice(13, 15)
FIRST: Mapping[bytes, msgspec.json.Decoder[Any]] = {
    b"requestId": neroom.whole_notice,
    b'msgType":': meeting.whole_notice,
    b'sequence"': classroom.whole_notice,
    b'callType"': callbacks.whole_call,
    b"channelNa": callbacks.whole_room,
    b"channelId": copies.whole_call,
}
FIRST_BY_TYPE: Mapping[bytes, msgspec.json.Decoder[Any]] = {
    b"20": callbacks.whole_call,
    b"21": callbacks.whole_room,
    b'"5': copies.whole_call,
    b'"6': copies.whole_files,
}
SERVICES: Mapping[type, Service] = {
    callbacks.CallNotice: "callback",
    callbacks.RoomNotice: "callback",
    copies.CallNotice: "copy",
    copies.FilesNotice: "copy",
    nertc.Notice: "nertc",
    neroom.Notice: "neroom",
    meeting.Notice: "meeting",
    classroom.ClassNotice: "classroom",
}


def verify(request: Request, source: Source[Account], now_s: float) -> None:
    """SHA-1 of secret, MD5 of the body, and time, in hexadecimal. It covers the body and the time.

    E and F send a nonce instead of the MD5, and sign secret, nonce, time and MD5. The MD5 is computed from the body. If
    that of the header were trusted, any body would pass. The AppKey is not signed, and copies may come without it.
    """
    cur_time, check_sum = request.header("CurTime"), request.header("CheckSum")
    nonce = _nonce(request) if request.headers.getall("Nonce", ()) else None
    md5 = request.header("MD5") if nonce is None or request.headers.getall("MD5", ()) else None
    app_keys = request.headers.getall("AppKey", ())
    if app_keys and app_keys != [source.account.app_key] and request.header("AppKey") != source.account.app_key:
        raise BadSignature("the AppKey is not that of this source")
    sent_s = decimal(cur_time, TIME_DIGITS) / 1000
    body_md5 = _md5(request.body)
    if md5 is not None and md5 != body_md5:  # in capitals, or wrong
        check_hex_of_body(md5, bytes.fromhex(body_md5), "MD5")
    signed = [] if md5 is None else [f"{body_md5}{cur_time}"]
    if nonce is not None:
        signed.append(f"{nonce}{cur_time}{body_md5}")
    check_hex(check_sum, [_check_sum(key, text) for text in signed for key in source.keys], "CheckSum")
    check_fresh(sent_s, now_s, source.tolerance_s)


def _nonce(request: Request) -> str:
    nonce = request.header("Nonce")
    if len(nonce) > MAX_NONCE_CHARACTERS or not nonce.isascii():
        raise BadSignature(f"the Nonce is not up to {MAX_NONCE_CHARACTERS} ASCII characters")
    return nonce


# The provider chose both hashes.
def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def _check_sum(key: bytes, signed: str) -> bytes:
    return hashlib.sha1(key + signed.encode(), usedforsecurity=False).digest()


def sign(body: bytes, source: Source[Account], now_s: float) -> Outgoing:
    cur_time = f"{int(now_s * 1000):0{TIME_DIGITS}}"
    body_md5, key = _md5(body), source.keys[0]
    headers = {"AppKey": source.account.app_key, "CurTime": cur_time}
    if _signs_a_nonce(body):
        headers["Nonce"] = body_md5[:16]
        headers["CheckSum"] = _check_sum(key, f"{headers['Nonce']}{cur_time}{body_md5}").hex()
        return Outgoing(body, headers)
    headers["MD5"] = body_md5
    headers["CheckSum"] = _check_sum(key, f"{body_md5}{cur_time}").hex()
    return Outgoing(body, headers)


def _signs_a_nonce(body: bytes) -> bool:
    try:
        return _told_apart(read_again(_kind, body))[0] in ("meeting", "classroom")
    except Unreadable:
        return False


REPLY = Reply(b'{"errCode":0}')
"""The provider continues the call only after a reply of 0 (commonly described, not in the page)."""


def challenge(request: Request, source: Source[Account], now_s: float) -> Reply | None:
    """A URL check is a signed callback with the body `{}` (documented for its room and meeting events)."""
    if request.body.strip(b" \t\r\n") != b"{}":
        return None
    verify(request, source, now_s)
    return REPLY


def identify(request: Request) -> Identity:
    """The facts are those that the service's pages name, never what each attempt to send it renews."""
    body = request.body
    form = FIRST.get(body[KEY]) or FIRST_BY_TYPE.get(body[VALUE], nertc.whole_notice)
    notice: Any = read_whole(form, _kind, body)
    is_kind = type(notice) is Kind
    service, word = _told_apart(notice) if is_kind else (SERVICES[type(notice)], notice.word)
    name = str(word)
    reader = READERS[service].get(name)
    if reader is not None:
        identity = reader.identify(name, read_again(reader.form, body) if is_kind else notice, body)
        if identity is not None:
            return identity
    return identify_unknown(word, body, time="timestamp")


def _told_apart(kind: Kind) -> tuple[Service, Id]:
    """The service and its own type, by the form of the body: A has a number for a type, and B the same as a text."""
    if kind.cmd is not None and kind.room_uuid is not None:
        return "classroom", kind.cmd
    event_type = kind.event_type if kind.event_type is not None else kind.event_type_too
    if event_type is None:
        return ("callback", NO_TYPE) if kind.msg_type is None else ("meeting", kind.msg_type)
    if kind.request_id is not None:
        return "neroom", event_type
    if bytes(kind.data)[:1] == b"{":
        return "nertc", event_type
    return "copy" if isinstance(event_type, str) else "callback", event_type


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    service, word = _told_apart(read_again(_kind, envelope.body))
    name = str(word)
    reader = READERS[service].get(name)
    made_events = () if reader is None else reader.make(name, read_again(reader.form, envelope.body), envelope.body)
    if not made_events:
        return normalise_unknown(envelope, word)
    alone = len(made_events) == 1
    heads = [envelope.head(word, None if alone else place) for place in range(len(made_events))]
    events: Any = [made.event(**head, **made.fields) for made, head in zip(made_events, heads, strict=True)]
    return tuple(events)


SAMPLES = (
    *callbacks.SAMPLES,
    *copies.SAMPLES,
    *nertc.SAMPLES,
    *neroom.SAMPLES,
    *meeting.SAMPLES,
    *classroom.SAMPLES,
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
    resends_for_s=7212,  # E sends again after 2 s, 4 s, 6 s, 1 h and 1 h
    shown=frozenset({"appkey", "curtime", "md5", "nonce"}),
    url_fields=frozenset({"url"}),
)
