"""What `hookline new-provider` writes: an invented provider that works, to replace piece by piece.

`NAME`, `MODULE`, `TITLE` and `HEADER` stand for the provider's own words.
"""

IMPORTS_IN_HOOKLINE = """\
from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.events import Event, ParticipantJoined, ParticipantLeft, RoomCreated, RoomEnded
from hookline.schemas.payload import (
    Id,
    Number,
    number,
    optional_text,
    read,
    read_again,
    recheck,
    required,
    text,
    unix_s,
)
from hookline.schemas.provider import Example, NoSettings, Outgoing, Provider, Request, Sample, Source
from hookline.schemas.signing import check_fresh, check_hex, decimal
from hookline.schemas.unknown import identify_unknown, normalise_unknown
"""

IMPORTS_OUTSIDE = """\
from hookline.events import Event, ParticipantJoined, ParticipantLeft, RoomCreated, RoomEnded
from hookline.provider import (
    Envelope,
    Example,
    Id,
    Identity,
    NoSettings,
    Number,
    Outgoing,
    Provider,
    Request,
    Sample,
    Source,
    check_fresh,
    check_hex,
    decimal,
    identify_unknown,
    normalise_unknown,
    number,
    optional_text,
    read,
    read_again,
    recheck,
    required,
    text,
    unix_s,
)
"""

MODULE = '''\
"""TITLE: fill in whose callbacks these are, and the pages that say so with the day on which you read them.

Everything below is invented, and works. Mark what is not documented: observed, or inferred.
"""

import hashlib
import hmac
from typing import Any

import msgspec

IMPORTS

# Fill in: the provider's own types, and the topic of each (`hookline topics` lists them). Others are kept as unknown.
TYPES = {
    "room.opened": "room.created",
    "user.entered": "participant.joined",
    "user.gone": "participant.left",
    "room.closed": "room.ended",
}
TIME_HEADER, SIGNATURE_HEADER = "HEADER-Timestamp", "HEADER-Signature"
TIME_DIGITS = 10


class Kind(msgspec.Struct, frozen=True):
    """What every callback has, also one of a type that is not known here."""

    type: Id


class Notice(msgspec.Struct, frozen=True):
    """Fill in: only the fields that are used. One is optional unless the event is worthless without it.

    `at` is Unix milliseconds.
    """

    id: Id
    type: str
    room: Id
    at: Number | None = None
    user: Id | None = None
    name: str | None = None


_kind = msgspec.json.Decoder(Kind)
_notice = msgspec.json.Decoder(Notice)


def verify(request: Request, source: Source[NoSettings], now_s: float) -> None:
    """Fill in: HMAC-SHA256 of time, full stop and body, in hexadecimal. It covers the body and the time."""
    time, signature = request.header(TIME_HEADER), request.header(SIGNATURE_HEADER)
    sent_s = decimal(time, TIME_DIGITS)
    check_hex(signature, [_digest(key, time, request.body) for key in source.keys])
    check_fresh(sent_s, now_s, source.tolerance_s)


def _digest(key: bytes, time: str, body: bytes) -> bytes:
    return hmac.digest(key, time.encode() + b"." + body, hashlib.sha256)


def sign(body: bytes, source: Source[NoSettings], now_s: float) -> Outgoing:
    """The counterpart of `verify`, for samples and tests."""
    time = f"{int(now_s):0{TIME_DIGITS}}"
    return Outgoing(body, {TIME_HEADER: time, SIGNATURE_HEADER: _digest(source.keys[0], time, body).hex()})


def identify(request: Request) -> Identity:
    """Fill in: the facts are what a re-send repeats, and what no other event has. Here it is the provider's own id.

    Events are ordered by the subject, here the room.
    """
    kind = read(_kind, request.body)
    if kind.type not in TYPES:
        return identify_unknown(kind.type, request.body, time="at")
    notice = read_again(_notice, request.body)
    occurred_s = None if notice.at is None else unix_s(number(notice.at))
    _user(notice)
    return Identity(TYPES[notice.type], (text(notice.id),), text(notice.room), occurred_s)


def _user(notice: Notice) -> str:
    """The user whom a callback about one has to name. Raises Unreadable."""
    return required(notice.user, "user") if notice.type.startswith("user.") else ""


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    """Fill in: what each type says, in the fields of our events."""
    recheck(envelope, identify)
    kind = read_again(_kind, envelope.body)
    if kind.type not in TYPES:
        return normalise_unknown(envelope, kind.type)
    notice = read_again(_notice, envelope.body)
    head, room = envelope.head(notice.type), text(notice.room)
    match notice.type:
        case "room.opened":
            return (RoomCreated(**head, room_id=room, name=notice.name, owner_id=optional_text(notice.user)),)
        case "user.entered":
            return (ParticipantJoined(**head, room_id=room, user_id=_user(notice), display_name=notice.name),)
        case "user.gone":
            return (ParticipantLeft(**head, room_id=room, user_id=_user(notice)),)
        case _:
            return (RoomEnded(**head, room_id=room),)


def _sample(kind: str, **fields: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        return {"id": f"{kind}-{n}", "type": kind, "room": f"demo-{n}", "at": int(at_s * 1000), **fields}

    return Sample(kind, body)


# Fill in: a short story, which `hookline send` tells. Each sample has an id of its own.
SAMPLES = (
    _sample("room.opened", user="teacher", name="Demo"),
    _sample("user.entered", user="teacher", name="Teacher"),
    _sample("user.gone", user="teacher"),
    _sample("room.closed"),
)

PROVIDER = Provider(
    name="NAME",
    title="TITLE",
    example=Example("NAME-main", {}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="fill in: the whole body and the time (HMAC-SHA256)",
    leaves_open="fill in: a copy within the tolerance, which counts as a repeat",
    sign=sign,
    identify=identify,
    normalise=normalise,
    shown=frozenset({TIME_HEADER.lower()}),
)
'''

_TABLES = """

@pytest.mark.parametrize(
    "renewed",
    [{}, {"attempt": 2}],  # Fill in: what each attempt to send an event renews
    ids=str,
)
def test_a_re_send_has_the_same_id(renewed: dict[str, Any]) -> None:
    assert event_id(NOTICE) == event_id({**NOTICE, **renewed})


@pytest.mark.parametrize(
    "other",
    [{"id": "2"}, {"type": "user.gone"}],  # Fill in: another user in one second, a quick re-join, another file
    ids=str,
)
def test_another_event_that_looks_alike_has_another_id(other: dict[str, Any]) -> None:
    assert event_id(NOTICE) != event_id({**NOTICE, **other})


def test_a_callback_about_a_user_names_one() -> None:
    with pytest.raises(Unreadable, match="user"):
        event_id({**NOTICE, "user": None})
"""

_NOTICE = (
    'NOTICE = {"id": "1", "type": "user.entered", "room": "room", "at": 1_700_000_000_000, "user": "u", "name": "U"}\n'
)

TEST_IN_HOOKLINE = (
    '''\
"""What only TITLE does; tests/vectors/NAME has the rest."""

from typing import Any

import pytest

from hookline.schemas.errors import Unreadable
from hookline.schemas.providers.MODULE import PROVIDER
from tests.providers.bodies import event_id as id_of

'''
    + _NOTICE
    + """

def event_id(body: dict[str, Any]) -> str:
    return id_of(PROVIDER, body)
"""
    + _TABLES
)

TEST_OUTSIDE = (
    '''\
"""TITLE's vectors are accepted and become their events, forgeries made from them are refused."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from MODULE import PROVIDER
from multidict import CIMultiDict

from hookline.provider import BadSignature, MissingSignature, Request, Source, StaleTimestamp, Unreadable
from hookline.testing import seal_callback

VECTORS = sorted(path for path in (Path(__file__).parent / "vectors" / "NAME").iterdir() if path.is_dir())
'''
    + _NOTICE
    + '''
every_vector = pytest.mark.parametrize("folder", VECTORS, ids=lambda folder: folder.name)


def request_of(folder: Path) -> Request:
    head, _, body = (folder / "request.http").read_bytes().partition(b"\\r\\n\\r\\n")
    first, *lines = head.decode().split("\\r\\n")
    headers = CIMultiDict((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return Request(body, headers, first.split(" ")[1].partition("?")[2])


def case_of(folder: Path) -> Any:
    return json.loads((folder / "case.json").read_text(encoding="utf-8"))


def source_with(*secrets: str) -> Source[Any]:
    keys = tuple(PROVIDER.key(secret) for secret in secrets)
    return Source(name="NAME-main", provider=PROVIDER, account=PROVIDER.account(), keys=keys)


def source_of(folder: Path) -> Source[Any]:
    return source_with(*case_of(folder)["settings"]["secrets"])


def event_id(body: dict[str, Any]) -> str:
    return seal_callback(PROVIDER, Request(json.dumps(body).encode()), 1_700_000_000).id


@every_vector
def test_it_is_genuine_and_becomes_its_events(folder: Path) -> None:
    case, request = case_of(folder), request_of(folder)
    PROVIDER.verify(request, source_of(folder), case["now"])
    envelope = seal_callback(PROVIDER, request, case["now"])
    events = [json.loads(msgspec.json.encode(event)) for event in PROVIDER.normalise(envelope)]
    hidden = ("id", "provider", "source", "received_at")
    shown = [{key: each[key] for key in each if each[key] is not None and key not in hidden} for each in events]
    expected = case["expected"]
    assert (envelope.event_type, envelope.subject, envelope.id) == (
        expected["event_type"],
        expected["subject"],
        expected["id"],
    )
    assert shown == expected["events"]


@every_vector
def test_any_of_several_secrets_proves_it_and_no_other(folder: Path) -> None:
    case, request = case_of(folder), request_of(folder)
    (secret,) = case["settings"]["secrets"]
    PROVIDER.verify(request, source_with("another-secret", secret), case["now"])
    with pytest.raises(BadSignature):
        PROVIDER.verify(request, source_with("another-secret"), case["now"])


@every_vector
def test_every_byte_of_the_body_counts(folder: Path) -> None:
    """Fill in: where the signature does not cover the body, say so by a test that it passes."""
    request = request_of(folder)
    forged = Request(request.body.replace(b"room", b"roOm"), request.headers, request.query)
    with pytest.raises(BadSignature):
        PROVIDER.verify(forged, source_of(folder), case_of(folder)["now"])


@every_vector
def test_without_its_headers_it_is_refused(folder: Path) -> None:
    with pytest.raises(MissingSignature):
        PROVIDER.verify(Request(request_of(folder).body, CIMultiDict()), source_of(folder), case_of(folder)["now"])


@every_vector
@pytest.mark.parametrize("later_s", [-3600, 3600])
def test_an_hour_away_it_is_stale(folder: Path, later_s: int) -> None:
    with pytest.raises(StaleTimestamp):
        PROVIDER.verify(request_of(folder), source_of(folder), case_of(folder)["now"] + later_s)
'''
    + _TABLES
)

README = """\
# TITLE

Source: fill in the pages, and the day on which you read them. All values are invented.

| case | source |
| --- | --- |
| room-opened, user-entered, user-gone, room-closed | fill in: a sample of the page, or invented |
| unknown-type | invented |
"""
