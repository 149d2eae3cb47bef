"""CloudRoom (云屋): rooms, their participants, and finished recordings.

Source: CloudRoom's page on callbacks (回调服务), last changed in 2022. The one signature in its samples is that of
company 1 with secret 1 and a blank after the time. A JSON number has no blank; the rest of the recipe is confirmed.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias, assert_never

import msgspec

from hookline.schemas.body_proof import BodyProof
from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.events import (
    Event,
    ParticipantJoined,
    ParticipantLeft,
    RecordingCompleted,
    RoomCreated,
    RoomEnded,
)
from hookline.schemas.payload import (
    Id,
    Number,
    Whole,
    number,
    read_known_again,
    read_whole,
    recheck,
    tags,
    unix_s,
)
from hookline.schemas.provider import Example, Key, Outgoing, Provider, Reply, Request, Sample, Signatures, Source
from hookline.schemas.signing import check_fresh, check_hex, decimal
from hookline.schemas.unknown import identify_unknown, normalise_unknown

TYPES = {
    "ROOM_CREATE": "room.created",
    "ROOM_DELETE": "room.ended",
    "ROOM_JOIN": "participant.joined",
    "ROOM_LEAVE": "participant.left",
    "RECORD_FINISH": "recording.completed",
}
TIME_DIGITS = 10


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`comp_id` is the company's id (CompID), which the console shows beside its secret (CompSecret)."""

    comp_id: str | int


class Kind(msgspec.Struct, frozen=True, rename="pascal"):
    """`time` is when the notice was made, in Unix seconds. There is no time of the event itself."""

    event_type: Id
    time: Number


class Room(Whole, frozen=True, rename="pascal"):
    room_id: Id


class Member(Whole, frozen=True, rename="pascal"):
    room_id: Id
    uid: Id = msgspec.field(name="UID")


class File(Whole, frozen=True, rename="pascal"):
    room_id: Id
    dir_path: str | None = None
    file_name: str | None = None


class Notice(Whole, frozen=True, kw_only=True, rename="pascal", tag_field="EventType"):
    time: Number
    signature: Any = None


class RoomCreate(Notice, frozen=True, kw_only=True, tag="ROOM_CREATE"):
    details: Room


class RoomDelete(Notice, frozen=True, kw_only=True, tag="ROOM_DELETE"):
    details: Room


class RoomJoin(Notice, frozen=True, kw_only=True, tag="ROOM_JOIN"):
    details: Member


class RoomLeave(Notice, frozen=True, kw_only=True, tag="ROOM_LEAVE"):
    details: Member


class RecordFinish(Notice, frozen=True, kw_only=True, tag="RECORD_FINISH"):
    details: File


AnyNotice: TypeAlias = RoomCreate | RoomDelete | RoomJoin | RoomLeave | RecordFinish
NAMES: Mapping[type, str] = tags(AnyNotice)

_proof = BodyProof("Time", "Signature")
_kind = msgspec.json.Decoder(Kind)
_notice: msgspec.json.Decoder[AnyNotice] = msgspec.json.Decoder(AnyNotice)


def verify(request: Request, source: Source[Account], now_s: float) -> None:
    """MD5 of company, secret and time, in hexadecimal. It covers the time and nothing else of the body."""
    time, signature = _proof.read(request.body)
    sent_s = _signed_s(source.account.comp_id, source.keys, time, signature)
    check_fresh(sent_s, now_s, source.tolerance_s)


@lru_cache(maxsize=256)  # all callbacks of one second are signed alike; what raises is not remembered
def _signed_s(comp_id: str | int, keys: tuple[Key, ...], time: str, signature: str) -> int:
    """The signed time in Unix seconds. Raises BadSignature."""
    sent_s = decimal(time, TIME_DIGITS)  # exactly ten: more would let a forger extend the text of a known MD5
    check_hex(signature, _digests(comp_id, keys, time))
    return sent_s


def signature(request: Request) -> str:
    return (_proof.find(request.body)[1] or "").lower()  # never "", since the request is verified


def _digests(comp_id: str | int, keys: tuple[Key, ...], time: str) -> Sequence[bytes]:
    """What each key signs the time with."""
    texts = [f"{comp_id}&".encode() + key + f"&{time}".encode() for key in keys]
    return [hashlib.md5(text, usedforsecurity=False).digest() for text in texts]  # the provider chose MD5


def sign(body: bytes, source: Source[Account], now_s: float) -> Outgoing:
    """The body with `Time` and `Signature` set; ValueError if it is not a JSON object."""
    content = json.loads(body)
    if not isinstance(content, dict):
        raise ValueError("the signature goes into the body, which must be a JSON object")  # noqa: TRY004  as documented
    sent_s = int(now_s)
    signature = _digests(source.account.comp_id, source.keys, f"{sent_s:0{TIME_DIGITS}}")[0].hex()
    return Outgoing(msgspec.json.encode({**content, "Time": sent_s, "Signature": signature}))


def identify(request: Request) -> Identity:
    """The facts are type, room, user or file, and time.

    The time is that of the notice, the only one there is. Without it, a user's second visit would pass for a re-send
    of the first. The page does not say whether a re-send carries a new time; if it does, it counts as another event.
    """
    body = request.body
    notice = read_whole(_notice, _kind, body, _is_known)
    if isinstance(notice, Kind):
        return identify_unknown(notice.event_type, body, time="Time", per_attempt=("Signature",))
    name, room, time = NAMES[type(notice)], str(notice.details.room_id), number(notice.time)
    return Identity(TYPES[name], (name, room, *_which(notice.details), time), room, unix_s(time))


def _is_known(kind: Kind) -> bool:
    return kind.event_type in TYPES


def _which(details: Room | Member | File) -> tuple[str | None, ...]:
    match details:  # the most frequent first: each case that does not match costs some time
        case Member():
            return (str(details.uid),)
        case Room():
            return ()
        case File():
            return (details.dir_path, details.file_name)
        case _:
            assert_never(details)


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    notice = read_known_again(_notice, _kind, envelope.body, _is_known)
    if isinstance(notice, Kind):
        return normalise_unknown(envelope, notice.event_type)
    head, room = envelope.head(NAMES[type(notice)]), str(notice.details.room_id)
    match notice:
        case RoomJoin():
            return (ParticipantJoined(**head, room_id=room, user_id=str(notice.details.uid)),)
        case RoomLeave():
            return (ParticipantLeft(**head, room_id=room, user_id=str(notice.details.uid)),)
        case RoomCreate():
            return (RoomCreated(**head, room_id=room),)
        case RoomDelete():
            return (RoomEnded(**head, room_id=room),)
        case RecordFinish():
            file = notice.details
            return (RecordingCompleted(**head, room_id=room, directory=file.dir_path, file_name=file.file_name),)
        case _:
            assert_never(notice)


def _sample(kind: str, **details: str) -> Sample:
    def body(n: int, at_s: float) -> Any:
        head = {"EventType": kind, "Time": int(at_s), "Signature": ""}
        return {**head, "Details": {"RoomId": 12345600 + n, **details}}

    return Sample(kind, body)


SAMPLES = (
    _sample("ROOM_CREATE"),
    _sample("ROOM_JOIN", UID="teacher"),
    _sample("ROOM_JOIN", UID="student"),
    _sample("ROOM_LEAVE", UID="student"),
    _sample("ROOM_LEAVE", UID="teacher"),
    _sample("ROOM_DELETE"),
    _sample("RECORD_FINISH", DirPath="/", FileName="lesson.mp4"),
)

PROVIDER = Provider(
    name="cloudroom",
    title="CloudRoom (云屋)",
    account=Account,
    example=Example("classroom", {"comp_id": "10001"}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the company and the time (MD5)",
    strength="time only",
    leaves_open="the content: anyone who sees one request can send others with its signature until its time is too old",
    sign=sign,
    identify=identify,
    normalise=normalise,
    signatures=Signatures(signature),
    reply=Reply(b'{"RspCode":"0","RspDesc":"OK"}'),  # inferred from the style of its API; the page names no reply
    secret_fields=frozenset({"signature"}),
)
