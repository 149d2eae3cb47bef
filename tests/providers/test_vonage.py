"""What only Vonage does. Its own library reads the tokens that are signed here, and the one that it uses signs."""

import hashlib
import time
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import jwt
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from vonage_jwt.verify_jwt import verify_signature  # type: ignore[import-untyped]  # the library has no types

from hookline.events import ParticipantLeft, RecordingUploaded, Unknown
from hookline.schemas.errors import BadSignature, MissingSignature, StaleTimestamp, Unreadable
from hookline.schemas.event_redaction import Redaction
from hookline.schemas.provider import AnySource, Request
from hookline.schemas.providers.vonage import PROVIDER, Account
from tests.providers.bodies import as_bytes, event_id, normalised
from tests.vector_cases import example_source, sent, source_of

NOW_S = 1_700_000_000
SECRET = "a-signature-secret-of-vonage-32b" * 2
BODY = b'{"sessionId":"s","event":"sessionCreated","timestamp":1700000000000}'
PRESENT: dict[str, Any] = {"iat": NOW_S, "jti": "j", "iss": "Vonage", "payload_hash": hashlib.sha256(BODY).hexdigest()}


def source(*secrets: str, **account: Any) -> AnySource:
    return source_of(PROVIDER, {"secrets": secrets or (SECRET,), **account})


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token that the library under Vonage's library signs; a claim of None is left out."""
    kept = {name: value for name, value in {**PRESENT, **claims}.items() if value is not None}
    return jwt.encode(kept, secret, algorithm=algorithm)


def request(given: str, body: bytes = BODY) -> Request:
    return Request(body, CIMultiDict({"Authorization": given}))


def notice(event: str = "connectionCreated", **fields: Any) -> dict[str, Any]:
    connection = {"id": "c-1", "createdAt": 1699999990000, "data": "ann"}
    return {"sessionId": "s", "event": event, "timestamp": 1700000000123, "connection": connection} | fields


def archive(status: str = "uploaded", **fields: Any) -> dict[str, Any]:
    about = {"sessionId": "s", "event": "archive", "id": "a", "createdAt": 1699999990000, "updatedAt": 1700000000123}
    return about | {"status": status} | fields


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", ""])
def test_what_the_library_signs_is_verified(scheme: str) -> None:
    PROVIDER.verify(request(scheme + token()), source(), NOW_S)


def test_its_own_library_verifies_what_is_signed_here() -> None:
    header = PROVIDER.sign(BODY, source(), NOW_S).headers["Authorization"]
    assert verify_signature(header.removeprefix("Bearer "), SECRET)
    assert not verify_signature(header.removeprefix("Bearer "), "another-signature-secret-of-32-by")


def test_another_algorithm_is_refused() -> None:
    for other in (token(algorithm="HS512"), token(algorithm="HS384"), token("", algorithm="none")):
        with pytest.raises(BadSignature):
            PROVIDER.verify(request(other), source(), NOW_S)


def test_a_token_that_only_says_another_algorithm_is_refused() -> None:
    _, claims, signature = token().split(".")
    for algorithm in ("none", "None", "RS256", "hs256", "HS512"):
        forged_head = jwt.utils.base64url_encode(msgspec.json.encode({"alg": algorithm, "typ": "JWT"})).decode()
        for end in (signature, ""):
            with pytest.raises(BadSignature):
                PROVIDER.verify(request(f"{forged_head}.{claims}.{end}"), source(), NOW_S)


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"payload_hash": None}, id="no hash"),
        pytest.param({"payload_hash": hashlib.sha256(b"{}").hexdigest()}, id="the hash of another body"),
        pytest.param({"payload_hash": ""}, id="a blank hash"),
        pytest.param({"payload_hash": 1}, id="a hash that is a number"),
        pytest.param({"iat": None}, id="no time"),
        pytest.param({"iat": "1700000000"}, id="a time in quotes"),
        pytest.param({"exp": NOW_S + 3601}, id="a life above an hour"),
        pytest.param({"exp": "soon"}, id="an end that is no time"),
        pytest.param({"iat": 10**400}, id="a time beyond all floats"),
        pytest.param({"exp": -(10**400)}, id="an end beyond all floats"),
    ],
)
def test_claims_that_prove_nothing_are_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(BadSignature):
        PROVIDER.verify(request(token(**claims)), source(), NOW_S)


def test_a_token_lives_for_as_long_as_it_says() -> None:
    PROVIDER.verify(request(token(exp=NOW_S + 900)), source(), NOW_S)
    with pytest.raises(StaleTimestamp):
        PROVIDER.verify(request(token(exp=NOW_S - 400, iat=NOW_S - 500)), source(), NOW_S)


def test_an_hour_away_is_stale() -> None:
    for later_s in (3600, -3600):
        with pytest.raises(StaleTimestamp):
            PROVIDER.verify(request(token()), source(), NOW_S + later_s)


def test_a_day_is_allowed_where_the_settings_allow_it() -> None:
    PROVIDER.verify(request(token()), replace(source(), tolerance_s=86_400), NOW_S + 86_000)


def test_each_kind_of_callback_may_have_a_secret_of_its_own() -> None:
    PROVIDER.verify(request(token()), source("the-secret-of-archives-32-bytes!", SECRET), NOW_S)
    with pytest.raises(BadSignature):
        PROVIDER.verify(request(token()), source("the-secret-of-archives-32-bytes!"), NOW_S)


def test_a_token_without_a_hash_is_accepted_only_where_the_settings_say_so() -> None:
    lax = source(require_payload_hash=False)
    PROVIDER.verify(request(token(payload_hash=None)), lax, NOW_S)
    with pytest.raises(BadSignature):
        PROVIDER.verify(request(token(), b"{}"), lax, NOW_S)


def test_a_body_with_blanks_may_be_hashed_without_them() -> None:
    spaced = b'{ "a" : "b \\" : c",\r\n\t"d": [1, 2] }'
    compact = hashlib.sha256(b'{"a":"b \\" : c","d":[1,2]}').hexdigest()
    PROVIDER.verify(request(token(payload_hash=compact), spaced), source(), NOW_S)
    for other in (spaced.replace(b"b ", b"b"), spaced + b" ", spaced.replace(b"1", b"3")):
        with pytest.raises(BadSignature):
            PROVIDER.verify(request(token(payload_hash=compact), other), source(), NOW_S)


def test_a_body_with_a_text_that_is_not_closed_costs_no_time() -> None:
    """A sender that has seen one token can send it with such a body."""
    began_s = time.thread_time()
    with pytest.raises(BadSignature):
        PROVIDER.verify(request(token(), b'{"' + b'\\"' * 12_000 + b"}"), source(), NOW_S)
    assert time.thread_time() - began_s < 1


@pytest.mark.parametrize("name", ["api_key", "application_id"])
def test_a_token_for_another_account_is_refused_where_one_is_named(name: str) -> None:
    PROVIDER.verify(request(token(**{name: "ours"})), source(**{name: "ours"}), NOW_S)
    for claims in ({name: "theirs"}, {}):
        with pytest.raises(BadSignature):
            PROVIDER.verify(request(token(**claims)), source(**{name: "ours"}), NOW_S)


def test_no_signature_needs_a_setting_and_addresses() -> None:
    unsigned = replace(source(), keys=(), account=Account(insecure_no_signature=True))
    assert "allow_from" in (PROVIDER.fault(unsigned) or "")
    limited = replace(unsigned, allow_from=tuple(ip_network(each) for each in PROVIDER.addresses))
    assert PROVIDER.fault(limited) is None
    PROVIDER.verify(Request(BODY, CIMultiDict()), limited, NOW_S)
    assert "contradicts" in (PROVIDER.fault(replace(limited, keys=source().keys)) or "")
    with pytest.raises(MissingSignature):
        PROVIDER.verify(Request(BODY, CIMultiDict()), source(), NOW_S)


def test_another_token_for_the_same_callback_is_the_same_event() -> None:
    body = as_bytes(notice())
    requests = [sent(PROVIDER.sign(body, example_source(PROVIDER), at_s)) for at_s in (NOW_S, NOW_S + 60)]
    assert requests[0].headers != requests[1].headers
    assert PROVIDER.identify(requests[0]) == PROVIDER.identify(requests[1])


@pytest.mark.parametrize(
    ("first", "other"),
    [
        pytest.param(notice(), notice(connection={"id": "c-2"}), id="two who connect in one millisecond"),
        pytest.param(notice(), notice("connectionDestroyed"), id="another type"),
        pytest.param(notice(), notice(sessionId="t"), id="another session"),
        pytest.param(notice("sessionCreated"), notice("sessionCreated", timestamp=1700000900123), id="created again"),
        pytest.param(archive(), archive("available"), id="another status"),
        pytest.param(archive("started"), archive("started", updatedAt=1700000000124), id="started again after a pause"),
        pytest.param(archive(), archive(id="b"), id="another archive of the session"),
        pytest.param(archive(updatedAt=None), archive("stopped", updatedAt=None), id="another status without a time"),
    ],
)
def test_another_event_has_another_id(first: Any, other: Any) -> None:
    assert event_id(PROVIDER, first) != event_id(PROVIDER, other)


visits = st.tuples(st.sampled_from(["c-1", "c-2"]), st.sampled_from(["s", "t"]), st.integers(0, 2))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(visits, visits)
def test_ids_are_equal_exactly_for_the_same_connection_and_time(one: Any, other: Any) -> None:
    ids = [
        event_id(PROVIDER, notice(connection={"id": connection}, sessionId=session, timestamp=1700000000000 + ms))
        for connection, session, ms in (one, other)
    ]
    assert (ids[0] == ids[1]) == (one == other)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        *(("clientDisconnected", "left"), ("forceDisconnected", "removed"), ("networkDisconnected", "disconnected")),
        *(("another", "unknown"), (None, "unknown")),
    ],
)
def test_the_reason_of_leaving(said: str | None, reason: str) -> None:
    (event,) = normalised(PROVIDER, notice("connectionDestroyed", reason=said))
    assert isinstance(event, ParticipantLeft)
    assert (event.reason, event.duration_s) == (reason, 10)


def test_the_url_of_an_archive_is_kept_on_request_only() -> None:
    events = normalised(PROVIDER, archive(url="https://x/?sig=1", size="9", duration=2, password="p"))
    (without,), (kept,) = (Redaction(PROVIDER, keep_urls=keep)(events) for keep in (False, True))
    assert isinstance(without, RecordingUploaded)
    assert isinstance(kept, RecordingUploaded)
    assert (without.url, kept.url, kept.size_bytes, kept.duration_s) == (None, "https://x/?sig=1", 9, 2)


@pytest.mark.parametrize("body", [archive("expired"), archive("deleted"), notice("x"), {"status": "started"}])
def test_what_becomes_no_event_is_kept_as_unknown(body: dict[str, Any]) -> None:
    (event,) = normalised(PROVIDER, body)
    assert isinstance(event, Unknown)
    assert event.payload == body


@pytest.mark.parametrize("missing", ["sessionId", "connection"])
def test_a_callback_without_what_it_is_about_is_unreadable(missing: str) -> None:
    with pytest.raises(Unreadable):
        PROVIDER.identify(Request(as_bytes({name: value for name, value in notice().items() if name != missing})))
