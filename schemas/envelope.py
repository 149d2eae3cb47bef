"""The envelope: one verified delivery on its way through the queue, and its form as a CloudEvent in binary mode.

The body is the exact bytes that the provider sent. Signatures and secrets never travel.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec

from hookline.schemas import topics
from hookline.schemas.errors import Unreadable
from hookline.schemas.events import EventHead

UNREADABLE = "unreadable"
SPEC_VERSION = "1.0"
ID_HEADER = "cloudEvents_id"
SOURCE_HEADER = "cloudEvents_source"
TYPE_HEADER = "cloudEvents_type"
SUBJECT_HEADER = "cloudEvents_subject"
TIME_HEADER = "cloudEvents_time"
SPEC_VERSION_HEADER = "cloudEvents_specversion"
RECEIVED_AT_HEADER = "hookline-received-at"
QUERY_HEADER = "hookline-query"
TRACE_HEADER = "traceparent"
_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
MAX_CONTENT_TYPE_CHARACTERS = 255  # RFC 6838, 4.2: a type and a subtype of up to 127 characters each, and a slash
_SOURCE_PREFIX = "/hookline/"
EARLIEST_S = 1_420_070_400.0  # 2015-01-01; the first of the providers' callbacks are younger
MAX_AHEAD = timedelta(hours=1)
_LATEST_S = 253_402_300_799.0  # 9999-12-31T23:59:59Z, the last second that a datetime can hold
_encode = msgspec.json.Encoder().encode
_from_unix = datetime.fromtimestamp  # quicker than to look it up
_fresh_hash = hashlib.blake2b(digest_size=16)  # to copy it takes half the time of another


class Identity(msgspec.Struct, frozen=True, gc=False):
    """What the ingress needs from a callback, by a partial decode.

    `event_type` is for example `room.created`, or `unknown.<word>`. `facts` distinguish the event from all others of
    its source, and are the same when the provider sends it again. Events are ordered by `subject`: a room or a
    recording task. `occurred_s` is the provider's time of the event in Unix seconds, or its sending time where it gives
    no other; None where it gives none.
    """

    event_type: str
    facts: tuple[str | int | None, ...]
    subject: str
    occurred_s: float | None = None


class OrderingFacts(msgspec.Struct, frozen=True, gc=False):
    """What a message is ordered by. `ordered_by` is that of its envelope: None for a message without an order."""

    event_id: str
    ordered_by: str | None
    occurred_s: float


class Envelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A verified delivery. `id` identifies the event: each re-send has the same, and no other event has it.

    `query` is what the provider's query string says of the event, undecoded and without the signature; mostly "".
    `traceparent` is the span of the request, while tracing is on.
    """

    id: str
    provider: str
    source: str
    event_type: str
    subject: str
    occurred_at: datetime
    received_at: datetime
    content_type: str
    body: bytes
    query: str = ""
    traceparent: str = ""

    @property
    def topic(self) -> str:
        return topics.topic(self.provider, self.source, self.event_type)

    @property
    def routing_key(self) -> str:
        return topics.routing_key(self.topic, self.subject)

    @property
    def ordered_by(self) -> str | None:
        """The subject with its source, since two sources may have rooms of the same name.

        None for an event without a subject, which has no order.
        """
        return _with_source(self.source, self.subject)

    def head(self, provider_type: str | int, member: int | None = None) -> EventHead:
        """The shared fields of an event made from this envelope.

        `member` counts from 0 where one callback names several members. Each becomes an event.
        """
        return {
            "id": self.id if member is None else f"{self.id}:{member}",
            "provider": self.provider,
            "source": self.source,
            "occurred_at": self.occurred_at,
            "received_at": self.received_at,
            "provider_type": str(provider_type),
        }


def moment(unix_s: float) -> datetime:
    """Unix seconds as an aware datetime, clamped to the years 1970 to 9999, since senders may send any number."""
    if not 0 <= unix_s <= _LATEST_S:
        unix_s = min(max(unix_s, 0), _LATEST_S)
    return _from_unix(unix_s, UTC)


def occurrence(occurred_s: float | None, received_at: datetime) -> datetime:
    """When an event occurred: at the provider's time, or at its receipt where that is absent or cannot be.

    A time before 2015, or more than an hour after the receipt, cannot be.
    """
    if occurred_s is not None and EARLIEST_S <= occurred_s <= _LATEST_S:
        occurred_at = _from_unix(occurred_s, UTC)
        if occurred_at <= received_at or occurred_at - received_at <= MAX_AHEAD:  # the first is true nearly always
            return occurred_at
    return received_at


def iso(time: datetime) -> str:
    """The same text as `isoformat`."""
    return iso_bytes(time).decode()


def iso_bytes(time: datetime) -> bytes:
    """The same as ASCII. For UTC msgspec writes it in a quarter of the time, except for the `Z`."""
    return _encode(time)[1:-2] + b"+00:00" if time.tzinfo is UTC else time.isoformat().encode()


class LastTime:
    """The text of a time that many envelopes in a row share, as those do that are sealed in one turn."""

    def __init__(self) -> None:
        self._last: tuple[datetime | None, bytes] = (None, b"")

    def iso_bytes(self, time: datetime) -> bytes:
        """As `iso_bytes`, in a quarter of the time for the same object as before."""
        last, text = self._last
        if last is not time:
            text = iso_bytes(time)
            self._last = (time, text)
        return text


def event_id(source: str, event_type: str, facts: tuple[str | int | None, ...]) -> str:
    """32 hexadecimal digits from the facts of an event, encoded so that different facts give different input."""
    hasher = _fresh_hash.copy()
    hasher.update(_encode((source, event_type, facts)))
    return hasher.hexdigest()


def seal(  # noqa: PLR0913  each is a field
    identity: Identity,
    body: bytes,
    *,
    provider: str,
    source: str,
    content_type: str,
    received_at: datetime,
    query: str = "",
) -> Envelope:
    """The envelope of a verified callback."""
    return Envelope(
        id=event_id(source, identity.event_type, identity.facts),
        provider=provider,
        source=source,
        event_type=identity.event_type,
        subject=identity.subject,
        occurred_at=occurrence(identity.occurred_s, received_at),
        received_at=received_at,
        content_type=content_type,
        body=body,
        query=query,
    )


def unreadable(body: bytes) -> Identity:
    """The identity of a genuine callback that cannot be read. Its bytes are its facts."""
    return Identity(UNREADABLE, (hashlib.sha256(body).hexdigest(),), "")


def origin(provider: str, source: str) -> str:
    """The CloudEvents `source` of a configured source."""
    return f"{_SOURCE_PREFIX}{provider}/{source}"


def to_headers(envelope: Envelope) -> dict[str, str]:
    """The message headers of an envelope: CloudEvents attributes for AMQP, the time of receipt, and a kept query.

    There is no header for a subject that there is not: CloudEvents has no empty ones.
    """
    headers = {
        ID_HEADER: envelope.id,
        SOURCE_HEADER: origin(envelope.provider, envelope.source),
        TYPE_HEADER: envelope.event_type,
        **({SUBJECT_HEADER: envelope.subject} if envelope.subject else {}),
        TIME_HEADER: iso(envelope.occurred_at),
        SPEC_VERSION_HEADER: SPEC_VERSION,
        RECEIVED_AT_HEADER: iso(envelope.received_at),
    }
    if envelope.query:
        headers[QUERY_HEADER] = envelope.query
    if envelope.traceparent:
        headers[TRACE_HEADER] = envelope.traceparent
    return headers


@lru_cache(maxsize=1024)  # one for each source
def _provider_and_source(origin: str) -> tuple[str, str]:
    """What `origin` was made of. Raises ValueError."""
    provider, source = origin.removeprefix(_SOURCE_PREFIX).split("/")
    return provider, source


def from_headers(headers: Mapping[str, Any], content_type: str, body: bytes) -> Envelope:
    """The envelope of a message. Raises Unreadable if the message was not sealed by us."""
    try:
        provider, source = _provider_and_source(headers[SOURCE_HEADER])
        return Envelope(
            id=str(headers[ID_HEADER]),
            provider=provider,
            source=source,
            event_type=str(headers[TYPE_HEADER]),
            subject=subject_of(headers),
            occurred_at=datetime.fromisoformat(headers[TIME_HEADER]),
            received_at=datetime.fromisoformat(headers[RECEIVED_AT_HEADER]),
            content_type=content_type,
            body=body,
            query=str(headers.get(QUERY_HEADER, "")),
            traceparent=str(headers.get(TRACE_HEADER, "")),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise Unreadable(f"the message is no envelope: {type(error).__name__}") from None


def envelope_of(headers: Mapping[str, Any], content_type: str, body: bytes) -> Envelope | None:
    """The envelope of a message, or None if the message was not sealed by us, as one whose time has no zone."""
    try:
        envelope = from_headers(headers, content_type, body)
    except Unreadable:
        return None
    return envelope if envelope.received_at.tzinfo is not None else None


class Trace(msgspec.Struct, frozen=True):
    """A span of a trace, in hexadecimal digits (W3C Trace Context, `traceparent`)."""

    trace_id: str
    span_id: str
    flags: str


def trace_of(traceparent: str) -> Trace | None:
    """The span that a `traceparent` names; None for one that is empty or malformed."""
    found = _TRACE.fullmatch(traceparent)
    if found is None or traceparent.startswith("ff") or not int(found[1], 16) or not int(found[2], 16):
        return None
    return Trace(found[1], found[2], found[3])


def ordering_facts(headers: Mapping[str, Any], *, with_time: bool = True) -> OrderingFacts:
    """What a message is ordered by, from its headers alone. One that was not sealed by us has no order, and time 0.

    Without `with_time` the time is not read.
    """
    return OrderingFacts(
        event_id=str(headers.get(ID_HEADER, "")),
        ordered_by=_ordered_by(headers),
        occurred_s=occurrence_s(headers) if with_time else 0.0,
    )


def _ordered_by(headers: Mapping[str, Any]) -> str | None:
    try:
        _, source = _provider_and_source(headers[SOURCE_HEADER])
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    return _with_source(source, subject_of(headers))


def _with_source(source: str, subject: str) -> str | None:
    return f"{source}/{subject}" if subject else None


def subject_of(headers: Mapping[str, Any]) -> str:
    """The subject of a message, from its headers alone; empty if it has none."""
    return str(headers.get(SUBJECT_HEADER, ""))


def occurrence_s(headers: Mapping[str, Any]) -> float:
    """When the event of a message occurred, in Unix seconds, from its headers alone; 0 if they do not say."""
    try:
        return _unix_s(headers[TIME_HEADER])
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return 0.0


@lru_cache(maxsize=1024)  # at high rates events share their times, most of which have no fraction of a second
def _unix_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
