"""Alibaba Cloud Live (阿里云视频直播): its cloud recording, and recordings and snapshots of live streams. Experimental.

Source: excerpts of Alibaba's pages on the callbacks of live cloud recording, and of recordings and snapshots of
live streams (417349). The two products sign alike, except that the latter put the host of the address in front. The
list of types of cloud recording ends in an ellipsis, and of the latter's bodies only a few fields are known.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import msgspec

from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.errors import Unreadable
from hookline.schemas.events import (
    Event,
    RecordingCompleted,
    RecordingFailed,
    RecordingStarted,
    event_topic,
)
from hookline.schemas.payload import (
    Id,
    Number,
    Whole,
    number,
    optional_text,
    read,
    read_again,
    read_whole,
    recheck,
    required,
    unix_s,
    unknown_type,
)
from hookline.schemas.provider import Example, Key, Outgoing, Provider, Reply, Request, Sample, Signatures, Source
from hookline.schemas.signing import check_fresh, check_hex, decimal
from hookline.schemas.unknown import all_facts, identify_unknown, normalise_unknown

EVENTS: Mapping[str, type[RecordingStarted | RecordingCompleted | RecordingFailed]] = {
    "TaskRunning": RecordingStarted,
    "TaskStopped": RecordingCompleted,
    "TaskStartFailed": RecordingFailed,  # the names of failures are inferred
    "TaskFailed": RecordingFailed,
}
FAILURES = ("TaskFail", "TaskStartFail")
TYPES = {name: event_topic(event) for name, event in EVENTS.items()}
TIME_HEADER = "ALI-LIVE-TIMESTAMP"
SIGNATURE_HEADER = "ALI-LIVE-SIGNATURE"
TIME_DIGITS = 10


class Notice(Whole, frozen=True, rename="camel"):
    """`callbackTs` is Unix milliseconds. `domain`, `app`, `stream` and `event` are those of a live stream."""

    app_id: Id | None = None
    channel_id: Id | None = None
    task_id: Id | None = None
    event_type: Id | None = None
    callback_ts: Number | None = None
    payload: Any = None
    domain: Id | None = None
    app: Id | None = None
    stream: Id | None = None
    event: Id | None = None


class Payload(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of the JSON within `payload`, whose fields are not known."""

    code: Id | None = None
    message: str | None = None
    reason: str | None = None


class WithPayload(msgspec.Struct, frozen=True):
    payload: str | None = None


_notice = msgspec.json.Decoder(Notice)
_with_payload = msgspec.json.Decoder(WithPayload)
_payload = msgspec.json.Decoder(Payload)


def verify(request: Request, source: Source[Any], now_s: float) -> None:
    """MD5 of time and key, or of host, time and key, with `|` between them, in hexadecimal. It covers the time alone.

    The host is that of `public_url`, or else the one that the request names.
    """
    time, signature = request.header(TIME_HEADER), request.header(SIGNATURE_HEADER)
    host = _host_of(source.public_url) or request.find("Host") or ""
    check_fresh(_signed_s(host, source.keys, time, signature), now_s, source.tolerance_s)


@lru_cache(maxsize=256)
def _host_of(url: str) -> str | None:
    return urlsplit(url).hostname


@lru_cache(maxsize=256)  # all callbacks of one second are signed alike; what raises is not remembered
def _signed_s(host: str, keys: tuple[Key, ...], time: str, signature: str) -> int:
    """The signed time in Unix seconds. Raises BadSignature."""
    sent_s = decimal(time, TIME_DIGITS)
    texts = [f"{time}|", f"{host}|{time}|"]
    check_hex(signature, [_digest(signed, key) for key in keys for signed in texts])
    return sent_s


def _digest(signed: str, key: bytes) -> bytes:
    """The provider chose MD5."""
    return hashlib.md5(signed.encode("utf-8", "surrogateescape") + key, usedforsecurity=False).digest()


def signature_of(request: Request) -> str:
    return request.header(SIGNATURE_HEADER).lower()


def sign(body: bytes, source: Source[Any], now_s: float) -> Outgoing:
    """As cloud recording does."""
    time = f"{int(now_s):0{TIME_DIGITS}}"
    return Outgoing(body, {TIME_HEADER: time, SIGNATURE_HEADER: _digest(f"{time}|", source.keys[0]).hex()})


def identify(request: Request) -> Identity:
    """The facts of cloud recording are application, task, type and time.

    A callback of a live stream has no time that is known, so that all its fields are its facts.
    """
    notice = read_whole(_notice, _notice, request.body)
    if notice.task_id is None:
        return _identify_stream(notice, request.body)
    kind, task = required(notice.event_type, "eventType"), str(notice.task_id)
    ms = None if notice.callback_ts is None else number(notice.callback_ts)
    facts: tuple[str | int | None, ...] = (optional_text(notice.app_id), task, kind, ms)
    occurred_s = unix_s(ms)
    if occurred_s is None:
        facts = all_facts(kind, request.body)
    event = _event(kind)
    event_type = unknown_type(kind) if event is None else event_topic(event)
    return Identity(event_type, facts, optional_text(notice.channel_id) or task, occurred_s)


def _identify_stream(notice: Notice, body: bytes) -> Identity:
    identity = identify_unknown(_kind(notice), body, time="")
    return msgspec.structs.replace(identity, subject=optional_text(notice.stream) or "")


def _kind(notice: Notice) -> str:
    return optional_text(notice.event_type) or optional_text(notice.event) or "none"


def _event(kind: str) -> type[RecordingStarted | RecordingCompleted | RecordingFailed] | None:
    return EVENTS.get(kind) or (RecordingFailed if kind.startswith(FAILURES) else None)


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    notice = read_again(_notice, envelope.body)
    kind = _kind(notice)
    event = None if notice.task_id is None else _event(kind)
    if event is None:
        return normalise_unknown(envelope, kind)
    failure: Any = _failure(envelope.body) if event is RecordingFailed else {}
    room, task = optional_text(notice.channel_id), optional_text(notice.task_id)
    return (event(**envelope.head(kind), room_id=room, task_id=task, **failure),)


def _failure(body: bytes) -> Mapping[str, Any]:
    try:
        said = read(_payload, (read_again(_with_payload, body).payload or "{}").encode())
    except Unreadable:
        return {}
    return {"error": said.message or said.reason, "error_code": optional_text(said.code)}


def _sample(kind: str, task: str, **payload: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        return {
            "appId": "example-app-id",
            "channelId": f"demo-{n}",
            "taskId": f"{task}-{n}",
            "eventType": kind,
            "callbackTs": int(at_s * 1000),
            "payload": msgspec.json.encode(payload).decode(),
        }

    return Sample(kind, body)


SAMPLES = (
    _sample("TaskRunning", "recording"),
    _sample("TaskStartFailed", "another", code="Forbidden", message="storage denied"),
    _sample("TaskFailed", "third", code="InternalError", message="the recorder stopped"),
    _sample("TaskStopped", "recording"),
)

PROVIDER = Provider(
    name="alibaba-live",
    title="Alibaba Cloud Live; experimental",
    example=Example("alibaba-live-main", {}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the time (MD5); for live streams the host of the address, too",
    strength="time only",
    leaves_open="the content: anyone who sees one request can send others with its signature until its time is too old",
    sign=sign,
    identify=identify,
    normalise=normalise,
    reply=Reply(b'{"Code":0,"Msg":"Success"}'),
    signatures=Signatures(signature_of),
    shown=frozenset({TIME_HEADER.lower()}),
)
