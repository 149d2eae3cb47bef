"""Jaas's vectors are accepted and become their events, forgeries made from them are refused."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jaas import PROVIDER
from multidict import CIMultiDict

from hookline.provider import BadSignature, MissingSignature, Request, Source, StaleTimestamp, Unreadable
from hookline.testing import seal_callback

VECTORS = sorted(path for path in (Path(__file__).parent / "vectors" / "jaas").iterdir() if path.is_dir())
NOTICE: dict[str, Any] = {
    "idempotencyKey": "1",
    "eventType": "PARTICIPANT_JOINED",
    "fqn": "app/room",
    "sessionId": "s",
    "timestamp": 1_700_000_000_000,
    "data": {"id": "u", "participantId": "c"},
}

every_vector = pytest.mark.parametrize("folder", VECTORS, ids=lambda folder: folder.name)


def request_of(folder: Path) -> Request:
    head, _, body = (folder / "request.http").read_bytes().partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = CIMultiDict((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return Request(body, headers, first.split(" ")[1].partition("?")[2])


def case_of(folder: Path) -> Any:
    return json.loads((folder / "case.json").read_text(encoding="utf-8"))


def source_with(*secrets: str) -> Source[Any]:
    keys = tuple(PROVIDER.key(secret) for secret in secrets)
    return Source(name="jaas-main", provider=PROVIDER, account=PROVIDER.account(), keys=keys)


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
    request = request_of(folder)
    forged = Request(request.body.replace(b"data", b"daTa"), request.headers, request.query)
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


@pytest.mark.parametrize(
    "renewed",
    [{}, {"attempt": 2}, {"timestamp": 1_700_000_000_001}],
    ids=str,
)
def test_a_re_send_has_the_same_id(renewed: dict[str, Any]) -> None:
    assert event_id(NOTICE) == event_id({**NOTICE, **renewed})


@pytest.mark.parametrize(
    "other",
    [{"idempotencyKey": "2"}, {"eventType": "PARTICIPANT_LEFT"}],
    ids=str,
)
def test_another_event_that_looks_alike_has_another_id(other: dict[str, Any]) -> None:
    assert event_id(NOTICE) != event_id({**NOTICE, **other})


def test_a_callback_about_a_user_names_one() -> None:
    with pytest.raises(Unreadable, match=r"data\.id"):
        event_id({**NOTICE, "data": {}})


@pytest.mark.parametrize("header", ["t=1", "v1=aaaa", "t=x,v1=aaaa", "t=1,t=1,v1=aaaa", "t=1700000000,v0=aaaa", ","])
def test_a_header_of_another_form_is_refused(header: str) -> None:
    with pytest.raises(BadSignature):
        PROVIDER.verify(Request(b"{}", CIMultiDict({"X-Jaas-Signature": header})), source_with("s"), 1_700_000_000)


def test_its_samples_are_a_story_that_verifies() -> None:
    source = source_with("a-secret")
    for place, sample in enumerate(PROVIDER.samples):
        body = json.dumps(sample.body(1, 1_700_000_000 + place)).encode()
        signed = PROVIDER.sign(body, source, 1_700_000_000)
        request = Request(signed.body, CIMultiDict(signed.headers))
        PROVIDER.verify(request, source, 1_700_000_000)
        (event,) = PROVIDER.normalise(seal_callback(PROVIDER, request, 1_700_000_000))
        assert event.provider_type == sample.type
