"""The steps that `hookline verify` tries: what fits, what fails, and by how much, for every provider."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from hookline.diagnosis.captured import read_request
from hookline.diagnosis.refused import diagnose_refused, source_now
from hookline.diagnosis.steps import Circumstances, Diagnosis, Step, diagnose
from hookline.schemas.provider import AnySource, Outgoing
from tests.audit.refused_requests import refused
from tests.by_provider import each_of
from tests.ingress.callbacks import post, sample, signed
from tests.ingress.sources import CALLS, KRTC, NOW_S, OLD_SECRET, SOURCES
from tests.vector_cases import Vector, all_vectors, with_secrets

every_source = pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)


def around(sources: Mapping[str, AnySource] = SOURCES, **changed: Any) -> Circumstances:
    return replace(Circumstances(sources, (), NOW_S), **changed)


def diagnosed(source: AnySource, request: bytes, **changed: Any) -> Diagnosis:
    return diagnose(read_request(request), source, around(**changed))


def step(found: Diagnosis, name: str) -> Step:
    (one,) = [each for each in found.steps if each.step == name]
    return one


def forged(source: AnySource) -> Outgoing:
    return source.provider.sign(sample(source), with_secrets(source, ["the-secret-of-another"]), NOW_S)


@every_source
def test_a_genuine_callback_is_accepted_with_its_event(source: AnySource) -> None:
    found = diagnosed(source, post(source))
    assert (found.accepted, found.reason) == (True, "")
    assert {each.result for each in found.steps} == {"fits"}
    assert step(found, "signature").text.startswith("secret 1 of 2 fits")
    assert step(found, "event").text.startswith(f"{source.provider.name}.{source.name}.")


@every_source
def test_the_steps_are_those_of_the_ingress_in_its_order(source: AnySource) -> None:
    names = [each.step for each in diagnosed(source, post(source)).steps]
    assert names == ["path", "head", "body", "signature", "time", "event"]


@every_source
def test_the_secret_that_fits_is_named(source: AnySource) -> None:
    old = with_secrets(source, [OLD_SECRET])
    found = diagnosed(source, post(source, signed(old)))
    assert step(found, "signature").text.startswith("secret 2 of 2 fits")


@every_source
def test_a_forgery_is_refused_at_the_signature(source: AnySource) -> None:
    found = diagnosed(source, post(source, forged(source)))
    assert (found.accepted, found.reason) == (False, "bad_signature")
    assert "of this source" in step(found, "signature").text
    assert step(found, "time").result == "unknown"


@every_source
def test_a_late_callback_fits_but_for_its_time(source: AnySource) -> None:
    """Where the provider signs a time that is checked, and otherwise it is accepted."""
    found = diagnosed(source, post(source, signed(source, at_s=NOW_S - 3604)))
    assert step(found, "signature").result == "fits"
    if step(found, "time").result == "fits":
        assert step(found, "time").text == "no time stamp is checked"
        assert found.accepted
    else:
        assert found.reason == "stale_timestamp"
        assert step(found, "time").text.endswith("is the clock right?")
        assert "3,6" in step(found, "time").text or "expired" in step(found, "time").text


@every_source
def test_the_age_of_a_fresh_time_stamp_is_said(source: AnySource) -> None:
    found = diagnosed(source, post(source, signed(source, at_s=NOW_S - 7)))
    assert step(found, "time").text in (
        "no time stamp is checked", "7 s old, and 300 s are allowed", "fresh, and 300 s are allowed",
    )  # fmt: skip
    ahead = step(diagnosed(CALLS, post(CALLS, signed(CALLS, at_s=NOW_S + 7))), "time")
    assert ahead.text == "7 s in the future, and 300 s are allowed"


@each_of(all_vectors())
def test_every_vector_would_be_accepted(vector: Vector) -> None:
    source = vector.source
    sources = {source.name: source}
    found = diagnose(read_request(vector.raw), source, around(sources, now_s=vector.case.now))
    assert {each.step: each.result for each in found.steps if each.step != "path"}.keys() >= {"head", "signature"}
    assert [each for each in found.steps if each.result == "fails" and each.step != "path"] == []


def test_a_time_stamp_in_seconds_for_one_in_milliseconds_is_said() -> None:
    call = signed(CALLS)
    seconds = replace(call, headers={**call.headers, "CurTime": str(int(NOW_S))})
    text = step(diagnosed(CALLS, post(CALLS, seconds)), "signature").text
    assert text == "the time stamp has 10 characters, and 13 digits are expected"


def test_a_signature_that_was_cut_is_said() -> None:
    call = signed(KRTC)
    cut = replace(call, headers={name: value[:40] for name, value in call.headers.items()})
    text = step(diagnosed(KRTC, post(KRTC, cut)), "signature").text
    assert text == "the signature has 20 bytes, and 32 are expected: is it cut?"


@pytest.mark.parametrize(
    ("name", "digest"), [("calls", "MD5"), ("vonage-main", "payload_hash"), ("classes", "SHA-256 in the token")]
)
def test_a_changed_body_is_said_where_the_hash_is_sent(name: str, digest: str) -> None:
    source, call = SOURCES[name], signed(SOURCES[name])
    text = step(diagnosed(source, post(source, replace(call, body=call.body + b" "))), "signature").text
    assert text.startswith(f"the body does not match its {digest}: has something changed it on the way?")


@pytest.mark.parametrize(
    ("body", "change"),
    [
        (b'{"a":\r\n1}', "with LF for CRLF"),
        (b'{"a": 1}', "as JSON without blanks"),
        (b'{"a":\n1}\r\n', "without the line end"),
    ],
)
def test_a_body_that_was_reformatted_on_the_way_is_recognised(body: bytes, change: str) -> None:
    originals = {"with LF for CRLF": b'{"a":\n1}', "as JSON without blanks": b'{"a":1}'}
    call = signed(KRTC, originals.get(change, b'{"a":\n1}'))
    text = step(diagnosed(KRTC, post(KRTC, call, body=body)), "signature").text
    assert f"it fits the body {change}" in text


def test_the_source_whose_secret_would_fit_is_named() -> None:
    other = with_secrets(replace(CALLS, name="calls-b"), ["the-secret-of-the-other"])
    sources = {CALLS.name: CALLS, other.name: other}
    found = diagnosed(CALLS, post(CALLS, signed(other)), sources=sources)
    assert "a secret of calls-b fits" in step(found, "signature").text


def test_a_path_of_another_source_fails_and_one_outside_is_for_a_proxy() -> None:
    of_other = diagnosed(CALLS, post(replace(CALLS, name="krtc-main"), signed(CALLS)))
    assert step(of_other, "path").text == "/hooks/krtc-main is that of the source krtc-main"
    assert (of_other.accepted, of_other.reason) == (False, "unknown_source")
    misspelt = diagnosed(CALLS, post(replace(CALLS, name="call"), signed(CALLS)))
    assert step(misspelt, "path").text == "no source has /hooks/call; did you mean /hooks/calls?"
    outside = diagnosed(CALLS, post(CALLS).replace(b"/hooks/calls", b"/8f2c"))
    assert (outside.accepted, step(outside, "path").result) == (True, "unknown")


def test_what_the_head_alone_shows_is_said_by_how_much() -> None:
    small = replace(CALLS, max_body_bytes=100)
    found = diagnosed(small, post(small))
    assert (found.accepted, found.reason) == (False, "body_too_large")
    assert step(found, "head").text == f"the body has {len(sample(CALLS)):,} bytes, and 100 are allowed"
    get = diagnosed(CALLS, post(CALLS).replace(b"POST", b"GET"))
    assert (step(get, "head").reason, get.accepted) == ("method_not_allowed", False)


def test_a_body_that_was_not_captured_whole_is_said() -> None:
    found = diagnosed(CALLS, post(CALLS)[:-5])
    size = len(sample(CALLS))
    text = f"{size - 5:,} bytes, and Content-Length says {size:,}: was all of it captured?"
    assert step(found, "body").text == text
    assert found.accepted is False


def test_the_address_is_checked_where_the_source_names_some() -> None:
    source = replace(CALLS, allow_from=(ip_network("203.0.113.0/24"),))
    results = {
        peer: (step(found, "address").result, found.accepted)
        for peer in ("", "203.0.113.9", "198.51.100.1")
        for found in [diagnosed(source, post(source), peer=peer)]
    }
    assert results == {"": ("unknown", True), "203.0.113.9": ("fits", True), "198.51.100.1": ("fails", False)}


def test_the_client_is_the_one_that_a_trusted_proxy_names() -> None:
    source = replace(CALLS, allow_from=(ip_network("203.0.113.0/24"),))
    request = post(source, add=["X-Forwarded-For: 203.0.113.9"])
    trusted = (ip_network("10.0.0.0/8"),)
    assert diagnosed(source, request, peer="10.0.0.1", trusted_proxies=trusted).accepted is True
    assert diagnosed(source, request, peer="10.0.0.1").accepted is False


def test_a_check_of_the_url_is_answered_and_no_event() -> None:
    source = SOURCES["daily-main"]
    found = diagnosed(source, post(source, Outgoing(b'{"test":"test"}')))
    assert found.accepted is True
    assert step(found, "signature").text == "it is the provider's check of the URL, which is answered 200"


def test_a_genuine_callback_that_cannot_be_read_is_accepted() -> None:
    found = diagnosed(KRTC, post(KRTC, signed(KRTC, b"not json")))
    assert found.accepted is True
    assert step(found, "event").text.startswith("it is genuine and kept, and cannot be read")


def test_a_stale_record_is_judged_by_the_present_tolerance() -> None:
    record = refused(reason="stale_timestamp", source="calls", path="/hooks/calls", age_s=3604.0, headers=SENT)
    patient = {"calls": replace(CALLS, tolerance_s=4000)}
    now, before = (
        diagnose_refused(record, source_now(record, sources), around(sources)) for sources in (patient, SOURCES)
    )
    assert (now.accepted, before.accepted) == (True, False)
    assert step(now, "time").text == "it was 3,604 s old at the receipt, and 4000 s are allowed now"
    assert step(before, "time").text.endswith("is the clock right?")


def test_a_record_without_the_request_says_what_would_be_needed() -> None:
    record = refused(source="calls", path="/hooks/calls", hint="a secret of x fits", headers=SENT)
    found = diagnose_refused(record, CALLS, around())
    assert found.accepted is None
    assert "this source; a secret of x fits; the audit keeps no signature" in step(found, "signature").text


def test_a_signature_that_was_missing_is_still_missing() -> None:
    record = refused(source="calls", path="/hooks/calls", reason="missing_signature", headers=SENT)
    found = diagnose_refused(record, CALLS, around())
    assert (found.accepted, found.reason) == (False, "missing_signature")
    assert step(found, "signature").text == "the header CurTime is missing"


def test_a_whole_request_is_tried_with_the_present_secrets() -> None:
    exact = post(CALLS, forged(CALLS))
    record = refused(source="calls", path="/hooks/calls", exact=exact)
    renewed = {"calls": with_secrets(CALLS, ["the-secret-of-another"])}
    assert diagnose_refused(record, CALLS, around()).accepted is False
    assert diagnose_refused(record, renewed["calls"], around(renewed)).accepted is True


def test_a_path_that_a_source_has_now_is_accepted_as_a_path() -> None:
    record = refused(source="", reason="unknown_source", path="/hooks/calls", headers=SENT)
    assert source_now(record, {}) is None
    assert diagnose_refused(record, None, around({})).reason == "unknown_source"
    found = diagnose_refused(record, source_now(record, SOURCES), around())
    assert step(found, "path").result == "fits"


def test_no_step_quotes_the_signature() -> None:
    for source in SOURCES.values():
        call = signed(source)
        said = msgspec.json.encode(diagnosed(source, post(source, call))).decode()
        assert not [value for value in call.headers.values() if len(value) > 32 and value in said]


SENT = (("Host", "ingress.example"), ("Content-Length", "2"), ("Content-Type", "application/json"))
