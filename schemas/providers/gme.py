"""Tencent Cloud GME: server-side recording of voice rooms.

Source: GME's page on the recording callback (607/53749, and 607/87648 in Chinese). No revision names the text form of
the signature. The callback for voice moderation uses base64 and signs `POST` + body (607/64861). So both forms are
accepted here, and a setting switches the prefix on.
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import msgspec

from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.events import Event, RecordingCompleted, RecordingStarted, RecordingUploaded
from hookline.schemas.payload import Id, Int, optional_text, read, read_again, recheck, text, unix_s
from hookline.schemas.provider import Example, Key, Outgoing, Provider, Request, Sample, Source
from hookline.schemas.signing import check_base64, check_hex
from hookline.schemas.unknown import identify_unknown, normalise_unknown

RECORDINGS: Mapping[int, type[RecordingStarted | RecordingCompleted | RecordingUploaded]] = {
    1: RecordingStarted,
    2: RecordingCompleted,
    3: RecordingUploaded,
}
TYPES = {"1": "recording.started", "2": "recording.completed", "3": "recording.uploaded"}
KNOWN = {*RECORDINGS, *TYPES}  # also in quotes
MIXED: Mapping[int | None, bool] = {0: False, 1: True}
HEX_CHARACTERS = 40


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`biz_id` is the application's AppID.

    `sign_post_prefix` is for a service that signs `POST` + body, as documented for the moderation callback.
    """

    biz_id: int
    sign_post_prefix: bool = False


class Kind(msgspec.Struct, frozen=True, rename="pascal"):
    event_type: Id


class Detail(msgspec.Struct, frozen=True, rename="pascal"):
    seq_no: Int | None = None
    file_name: str | None = None


class Notice(msgspec.Struct, frozen=True, rename="pascal"):
    """`timestamp` is when the callback was sent, in Unix seconds. There is no time of the event itself.

    `task_id` is a bare number beyond 2^53 in the page's sample, and text in other calls of the product.
    """

    event_type: Int
    room_id: Id = msgspec.field(name="RoomID")
    task_id: Id = msgspec.field(name="TaskID")
    biz_id: Id | None = msgspec.field(name="BizID", default=None)
    detail: Detail = Detail()
    timestamp: Int | None = None
    user_id: Id | None = msgspec.field(name="UserID", default=None)
    record_mode: Int | None = None


_kind = msgspec.json.Decoder(Kind)
_notice = msgspec.json.Decoder(Notice)


def verify(request: Request, source: Source[Account], now_s: float) -> None:
    """HMAC-SHA1 of the body, in base64 or hexadecimal. It covers the body and no time.

    A callback with another `BizID` is accepted: the key proves the sender, and a signed callback is kept.
    """
    signature = request.header("Signature")
    check = check_hex if len(signature) == HEX_CHARACTERS else check_base64
    check(signature, [_digest(request.body, source.account, key) for key in source.keys])


def _digest(body: bytes, account: Account, key: Key) -> bytes:
    return hmac.digest(key, b"POST" + body if account.sign_post_prefix else body, "sha1")


def sign(body: bytes, source: Source[Account], now_s: float) -> Outgoing:
    """The base64 form, which the product's other callbacks use."""
    return Outgoing(body, {"Signature": b64encode(_digest(body, source.account, source.keys[0])).decode()})


def identify(request: Request) -> Identity:
    """The facts are application, task, user, segment and type.

    The user is a fact because a task in single mode may make a file for each user. The time is not, because it is the
    time of sending. Without a segment number, the file name is the fact instead.
    """
    body = request.body
    kind = read(_kind, body)
    if kind.event_type not in KNOWN:
        return identify_unknown(kind.event_type, body, time="Timestamp", per_attempt=("Timestamp",))
    notice = read_again(_notice, body)
    task, segment = text(notice.task_id), notice.detail.seq_no
    which = notice.detail.file_name if segment is None else segment
    facts = (optional_text(notice.biz_id), task, optional_text(notice.user_id), which, notice.event_type)
    return Identity(TYPES[str(notice.event_type)], facts, task, unix_s(notice.timestamp))


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    kind = read_again(_kind, envelope.body)
    if kind.event_type not in KNOWN:
        return normalise_unknown(envelope, kind.event_type)
    notice = read_again(_notice, envelope.body)
    directory, file_name = _place(notice.detail.file_name)
    recording = RECORDINGS[notice.event_type](
        **envelope.head(kind.event_type),
        room_id=text(notice.room_id),
        user_id=optional_text(notice.user_id) or None,  # the page does not say whose it is in mixed mode
        task_id=text(notice.task_id),
        segment=notice.detail.seq_no,
        directory=directory,
        file_name=file_name,
        mixed=MIXED.get(notice.record_mode),
    )
    return (recording,)


def _place(path: str | None) -> tuple[str | None, str | None]:
    """Directory and file name: `FileName` is a whole path here, while other providers send the two apart."""
    if path is None:
        return None, None
    directory, slash, name = path.rpartition("/")
    return (directory if slash else None), name


def _sample(kind: int) -> Sample:
    def body(n: int, at_s: float) -> Any:
        task = 446946705284000000 + n
        return {
            "BizID": 1400000000,
            "RoomID": f"demo-{n}",
            "UserID": "999",
            "TaskID": task,
            "RecordMode": 1,
            "Timestamp": int(at_s),
            "EventType": kind,
            "Detail": {"SeqNo": 0, "FileName": f"1400000000_demo-{n}_999/{task}_audio.mp3"},
        }

    return Sample(str(kind), body)


SAMPLES = tuple(_sample(kind) for kind in RECORDINGS)

PROVIDER = Provider(
    name="gme",
    title="Tencent Cloud GME",
    account=Account,
    example=Example("voice", {"biz_id": 1400000000}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the whole body (HMAC-SHA1)",
    leaves_open="no time: an old callback can be sent again, and counts as a repeat",
    sign=sign,
    identify=identify,
    normalise=normalise,
)
