"""Tencent Cloud GME: server-side recording of voice rooms, and voice moderation.

Sources: GME's page on the recording callback (607/53749, and 607/87648 in Chinese), and that on voice moderation
(607/64861). No revision of the first names the text form of the signature. The callback for voice moderation uses
base64, signs `POST` + body, and carries the signature in the query. So both forms are accepted for recordings, and a
setting switches the prefix on.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlencode

import msgspec

from hookline.schemas.drafts import finished
from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.events import (
    Event,
    ModerationFlagged,
    RecordingCompleted,
    RecordingStarted,
    RecordingUploaded,
    event_topic,
)
from hookline.schemas.payload import (
    Flag,
    Id,
    Int,
    Number,
    Whole,
    flag,
    number_s,
    optional_text,
    read_again,
    read_whole,
    recheck,
    required,
    unix_moment,
    unix_s,
    unknown_type,
)
from hookline.schemas.provider import Example, Key, Outgoing, Provider, Request, Sample, Source
from hookline.schemas.query import parameter, parameters
from hookline.schemas.signing import check_hmac, from_base64, from_hex
from hookline.schemas.unknown import identify_unknown, normalise_unknown

RECORDINGS: Mapping[int, type[RecordingStarted | RecordingCompleted | RecordingUploaded]] = {
    1: RecordingStarted,
    2: RecordingCompleted,
    3: RecordingUploaded,
}
TOPICS: Mapping[int, str] = {kind: event_topic(event) for kind, event in RECORDINGS.items()}
MODERATION = "moderation"  # our name: the callback has no type
TYPES = {**{str(kind): topic for kind, topic in TOPICS.items()}, MODERATION: "moderation.flagged"}
KNOWN = {*TOPICS, *map(str, TOPICS)}  # also in quotes
MIXED: Mapping[int | None, bool] = {0: False, 1: True}
HEX_CHARACTERS = 40
POST = b"POST"
# The form of moderation is tried first on a body that begins as the page's sample does.
FIRST_KEY, OF_MODERATION = slice(2, 6), b"Code"


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`biz_id` is the application's AppID.

    `sign_post_prefix` is for a service that signs `POST` + body, as documented for the moderation callback.
    """

    biz_id: int
    sign_post_prefix: bool = False


class Kind(msgspec.Struct, frozen=True, rename="pascal"):
    """A callback about moderation has no type."""

    event_type: Id | None = None
    scan_piece: Any = None
    scenes: Any = None


class Detail(Whole, frozen=True, rename="pascal"):
    seq_no: Int | None = None
    file_name: str | None = None


class Notice(Whole, frozen=True, kw_only=True, rename="pascal"):
    """`timestamp` is when the callback was sent, in Unix seconds. There is no time of the event itself.

    `task_id` is a bare number beyond 2^53 in the page's sample, and text in other calls of the product.
    """

    biz_id: Id | None = msgspec.field(name="BizID", default=None)
    room_id: Id = msgspec.field(name="RoomID")
    user_id: Id | None = msgspec.field(name="UserID", default=None)
    task_id: Id = msgspec.field(name="TaskID")
    record_mode: Int | None = None
    timestamp: Int | None = None
    event_type: Int
    detail: Detail = Detail()


class Finding(Whole, frozen=True, rename="pascal"):
    end_time: Any = None
    key_word: str | None = None
    label: Any = None
    rate: Any = None
    start_time: Any = None


class Piece(Whole, frozen=True, rename="pascal"):
    """`duration` and `offset` are milliseconds, `piece_start_time` is Unix seconds."""

    dump_url: str | None = None
    hit_flag: Flag | None = None
    main_type: str | None = None
    room_id: Id | None = None
    open_id: Id | None = None
    info: Any = None
    offset: Int | None = None
    duration: Int | None = None
    piece_start_time: Number | None = None
    sub_label: str | None = None
    scan_detail: tuple[Finding, ...] = ()


class Scan(Whole, frozen=True, kw_only=True, rename="pascal"):
    """`scan_finish_time` is Unix seconds. The scan of a live room sends many callbacks for one task."""

    event_type: None = None
    code: Any = None
    data_id: Id | None = None
    scan_finish_time: Number | None = None
    hit_flag: Any = None
    live: Any = None
    msg: Any = None
    scan_piece: tuple[Piece, ...] | None = None
    scan_start_time: Any = None
    scenes: Any = None
    status: Any = None
    task_id: Id
    url: Any = None

    @property
    def pieces(self) -> tuple[Piece, ...]:
        return self.scan_piece or ()


_scan = msgspec.json.Decoder(Scan)
_kind = msgspec.json.Decoder(Kind)
_notice = msgspec.json.Decoder(Notice)


def verify(request: Request, source: Source[Account], now_s: float) -> None:
    """HMAC-SHA1 of the body, in base64 or hexadecimal. It covers the body and no time.

    A callback with another `BizID` is accepted: the key proves the sender, and a signed callback is kept.
    """
    if request.query and not request.headers.getall("Signature", ()):
        _verify_moderation(request, source)
        return
    signature = request.header("Signature")
    given = from_hex(signature) if len(signature) == HEX_CHARACTERS else from_base64(signature)
    check_hmac(given, source.keys, _signed(request.body, source.account), "sha1")


def _verify_moderation(request: Request, source: Source[Account]) -> None:
    """The same of `POST` + body, in base64. A `+` that was not encoded is a blank after decoding."""
    signature = parameter(parameters(request.query), "signature").replace(" ", "+")
    check_hmac(from_base64(signature), source.keys, POST + request.body, "sha1")


def _signed(body: bytes, account: Account) -> bytes:
    return POST + body if account.sign_post_prefix else body


def sign(body: bytes, source: Source[Account], now_s: float) -> Outgoing:
    """The base64 form, which the product's other callbacks use. Moderation is signed in the query."""
    if b'"ScanPiece"' in body or b'"Scenes"' in body:
        return Outgoing(body, query=urlencode({"Signature": _signature(POST + body, source.keys[0])}))
    return Outgoing(body, {"Signature": _signature(_signed(body, source.account), source.keys[0])})


def _signature(signed: bytes, key: Key) -> str:
    return b64encode(key.hmac(signed, "sha1")).decode()


def identify(request: Request) -> Identity:
    body = request.body
    form: msgspec.json.Decoder[Any] = _scan if body[FIRST_KEY] == OF_MODERATION else _notice
    notice = _known(read_whole(form, _kind, body), body)
    match notice:
        case Notice():
            return _identify_recording(notice)
        case Scan():
            return _identify_scan(notice)
        case _:
            return identify_unknown(notice, body, time="Timestamp", per_attempt=("Timestamp",))


def _known(found: Notice | Scan | Kind, body: bytes) -> Notice | Scan | Id:
    """A known callback in its form, or the type of an unknown one. Raises Unreadable."""
    if isinstance(found, Notice):
        return found if found.event_type in RECORDINGS else found.event_type
    if found.event_type is None and (found.scan_piece is not None or found.scenes is not None):
        return found if isinstance(found, Scan) else read_again(_scan, body)
    if found.event_type in KNOWN:
        return read_again(_notice, body)
    return required(found.event_type, "EventType")


def _identify_recording(notice: Notice) -> Identity:
    """The facts are application, task, user, segment and type.

    The user is a fact because a task in single mode may make a file for each user. The time is not, because it is the
    time of sending. Without a segment number, the file name is the fact instead.
    """
    task, segment = str(notice.task_id), notice.detail.seq_no
    which = notice.detail.file_name if segment is None else segment
    facts = (optional_text(notice.biz_id), task, optional_text(notice.user_id), which, notice.event_type)
    return Identity(TOPICS[notice.event_type], facts, task, unix_s(notice.timestamp))


def _identify_scan(scan: Scan) -> Identity:
    """The facts are task, data, and the place of each piece. The time of the scan is not one."""
    pieces = [f"{piece.piece_start_time}:{piece.offset}:{piece.room_id}:{piece.open_id}" for piece in scan.pieces]
    event_type = TYPES[MODERATION] if _flagged(scan) else unknown_type(MODERATION)
    room = next((piece.room_id for piece in scan.pieces if piece.room_id), scan.task_id)
    return Identity(event_type, (str(scan.task_id), optional_text(scan.data_id), *pieces), str(room), _finished_s(scan))


def _finished_s(scan: Scan) -> float | None:
    return number_s(scan.scan_finish_time)


def _flagged(scan: Scan) -> Sequence[Piece]:
    return [piece for piece in scan.pieces if flag(piece.hit_flag)]


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    notice = _known(read_again(_kind, envelope.body), envelope.body)
    match notice:
        case Notice():
            return (_recording(envelope, notice),)
        case Scan():
            return _of_scan(envelope, notice)
        case _:
            return normalise_unknown(envelope, notice)


def _recording(envelope: Envelope, notice: Notice) -> Event:
    directory, file_name = _place(notice.detail.file_name)
    return RECORDINGS[notice.event_type](
        **envelope.head(notice.event_type),
        room_id=str(notice.room_id),
        user_id=optional_text(notice.user_id) or None,  # the page does not say whose it is in mixed mode
        task_id=str(notice.task_id),
        segment=notice.detail.seq_no,
        directory=directory,
        file_name=file_name,
        mixed=MIXED.get(notice.record_mode),
    )


def _of_scan(envelope: Envelope, scan: Scan) -> tuple[Event, ...]:
    """An event for each piece with a hit. GME has no levels, so a hit is a reason to reject."""
    drafts = [
        partial(
            ModerationFlagged,
            room_id=optional_text(piece.room_id),
            user_id=optional_text(piece.open_id),
            task_id=str(scan.task_id),
            media="audio",
            level="reject",
            labels=tuple(label for label in (piece.main_type, piece.sub_label) if label),
            text=", ".join(finding.key_word for finding in piece.scan_detail if finding.key_word) or None,
            url=piece.dump_url or None,
            starts_at=unix_moment(piece.piece_start_time),
            duration_s=None if piece.duration is None else round(piece.duration / 1000),
        )
        for piece in _flagged(scan)
    ]
    return finished(envelope, MODERATION, drafts) if drafts else normalise_unknown(envelope, MODERATION)


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


def _scanned(n: int, at_s: float) -> Any:
    piece = {
        "HitFlag": True,
        "RoomId": f"demo-{n}",
        "OpenId": "999",
        "MainType": "abuse",
        "Offset": 0,
        "Duration": 3400,
    }
    scan = {"Code": 0, "DataId": f"demo-{n}", "HitFlag": True, "Live": True, "ScanFinishTime": int(at_s)}
    return {**scan, "ScanPiece": [{**piece, "PieceStartTime": int(at_s) - 5}], "TaskId": f"scan-{n}"}


SAMPLES = (*(_sample(kind) for kind in RECORDINGS), Sample(MODERATION, _scanned))

PROVIDER = Provider(
    name="gme",
    title="Tencent Cloud GME, recording and moderation",
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
    url_fields=frozenset({"dumpurl", "url"}),
)
