"""What only Standard Webhooks do. The library of the specification signs here."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from standardwebhooks import Webhook

from hookline.events import Unknown
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import BadSignature, MissingSignature, StaleTimestamp
from hookline.schemas.provider import AnySource, Request
from hookline.schemas.providers.standard_webhooks import PROVIDER
from tests.providers.bodies import event_id, normalised
from tests.vector_cases import example_source, seal_request, sent

NOW_S = 1_700_000_000
SECRET = "whsec_c3RhbmRhcmQtd2ViaG9va3MtbWFkZS11cC1rZXktMjQ="
OTHER = "whsec_YW5vdGhlci1rZXktb2Ytc29tZWJvZHktZWxzZS0yNA=="
BODY = '{"type":"room.started","timestamp":"2023-11-14T22:00:00Z","data":{"room":"class"}}'


def source(*secrets: str) -> AnySource:
    return example_source(PROVIDER, *(secrets or (SECRET,)))


def signed(
    body: str = BODY, *secrets: str, message_id: str = "msg_1", at_s: int = NOW_S, prefix: str = "webhook"
) -> Request:
    """A request that the library of the specification signs, with each secret."""
    at = datetime.fromtimestamp(at_s, UTC)
    signatures = " ".join(Webhook(secret).sign(message_id, at, body) for secret in secrets or (SECRET,))
    headers = {f"{prefix}-id": message_id, f"{prefix}-timestamp": str(at_s), f"{prefix}-signature": signatures}
    return Request(body.encode(), CIMultiDict(headers))


def sealed(request: Request) -> Envelope:
    return seal_request(PROVIDER, request, NOW_S + 1)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=40), st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20))
def test_what_the_library_signs_is_verified(body: str, message_id: str) -> None:
    PROVIDER.verify(signed(body, message_id=message_id), source(), NOW_S)


def test_the_library_verifies_what_is_signed_here() -> None:
    now_s = datetime.now(UTC).timestamp()
    outgoing = PROVIDER.sign(BODY.encode(), source(), now_s)
    assert Webhook(SECRET).verify(outgoing.body, dict(outgoing.headers)) == msgspec.json.decode(BODY)


def test_either_secret_verifies_during_a_rotation() -> None:
    for secrets in ((SECRET,), (OTHER,), (OTHER, SECRET)):
        PROVIDER.verify(signed(BODY, SECRET, OTHER), source(*secrets), NOW_S)
        PROVIDER.verify(signed(BODY, OTHER, SECRET), source(*secrets), NOW_S)
    with pytest.raises(BadSignature):
        PROVIDER.verify(signed(BODY, OTHER), source(SECRET), NOW_S)


def _with_signature(text: str) -> Request:
    request = signed()
    names = {name: request.header(name) for name in ("webhook-id", "webhook-timestamp")}
    return Request(request.body, CIMultiDict({**names, "webhook-signature": text}))


def test_a_malformed_signature_hides_no_good_one_beside_it() -> None:
    good = signed().header("webhook-signature")
    for other in ("v1,", "v1,AAAA", "v1a,AAAA", "v2,x", "x", "v1,é"):
        PROVIDER.verify(_with_signature(f"{other} {good}"), source(), NOW_S)
        PROVIDER.verify(_with_signature(f"{good} {other}"), source(), NOW_S)
        with pytest.raises(BadSignature):
            PROVIDER.verify(_with_signature(other), source(), NOW_S)


def test_very_many_signatures_are_refused() -> None:
    good = signed().header("webhook-signature")
    with pytest.raises(BadSignature):
        PROVIDER.verify(_with_signature(" ".join([good] * 1000)), source(), NOW_S)


def test_the_version_of_the_signature_is_part_of_it() -> None:
    good = signed().header("webhook-signature")
    for text in (good.replace("v1,", "v1a,"), good.replace("v1,", "v0,"), good.replace("v1,", "")):
        with pytest.raises(BadSignature):
            PROVIDER.verify(_with_signature(text), source(), NOW_S)


@pytest.mark.parametrize("prefix", ["webhook", "svix"])
def test_a_part_of_a_body_is_no_body(prefix: str) -> None:
    """What is signed has full stops between its parts, and a body may have some, too."""
    inner = '{"type":"room.ended","data":{}}'
    request = signed(f'{{"type":"room.renamed","data":{{"name":"x.{NOW_S + 1}.{inner}', prefix=prefix)
    forged_id, found, forged_body = request.body.decode().partition(f".{NOW_S + 1}.")
    assert found
    headers = {
        f"{prefix}-id": f"{request.header(f'{prefix}-id')}.{NOW_S}.{forged_id}",
        f"{prefix}-timestamp": str(NOW_S + 1),
        f"{prefix}-signature": request.header(f"{prefix}-signature"),
    }
    with pytest.raises(BadSignature):
        PROVIDER.verify(Request(forged_body.encode(), CIMultiDict(headers)), source(), NOW_S)


def test_an_id_may_have_full_stops() -> None:
    for message_id in ("a.b", "msg.1700000000", "1700000000.1", "..", "a.17000000001.b"):
        PROVIDER.verify(signed(message_id=message_id), source(), NOW_S)


def test_the_names_of_svix_are_read() -> None:
    request = signed(prefix="svix")
    PROVIDER.verify(request, source(), NOW_S)
    assert sealed(request).id == sealed(signed()).id


def test_an_id_added_under_the_other_name_is_refused() -> None:
    """Or a copy of a request could pass for another event."""
    request = signed(prefix="svix")
    headers = CIMultiDict({name: request.header(name) for name in ("svix-id", "svix-timestamp", "svix-signature")})
    headers["webhook-id"] = "msg_2"
    with pytest.raises(BadSignature):
        PROVIDER.verify(Request(request.body, headers), source(), NOW_S)


def test_an_hour_away_is_stale_and_no_header_is_missing() -> None:
    for later_s in (3600, -3600):
        with pytest.raises(StaleTimestamp):
            PROVIDER.verify(signed(), source(), NOW_S + later_s)
    with pytest.raises(MissingSignature):
        PROVIDER.verify(Request(BODY.encode(), CIMultiDict()), source(), NOW_S)


def test_a_re_send_has_the_same_id_whatever_else_is_renewed() -> None:
    again = signed(BODY.replace("22:00", "22:05"), OTHER, at_s=NOW_S + 300)
    assert sealed(again).id == sealed(signed()).id


def test_another_message_of_the_same_content_is_another_event() -> None:
    assert sealed(signed(message_id="msg_2")).id != sealed(signed()).id


message_ids = st.sampled_from(["msg_1", "msg_2", "msg_10"])


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(message_ids, message_ids, st.sampled_from(["ann", "bo"]), st.integers(0, 299))
def test_ids_are_equal_exactly_for_the_same_message(one: str, other: str, user: str, later_s: int) -> None:
    body = BODY.replace("class", user)
    ids = [sealed(signed(BODY, message_id=one)).id, sealed(signed(body, message_id=other, at_s=NOW_S + later_s)).id]
    assert (ids[0] == ids[1]) == (one == other)


def test_without_its_header_a_message_is_told_apart_by_its_content() -> None:
    assert event_id(PROVIDER, BODY.encode()) == event_id(PROVIDER, BODY.replace(",", ", ").encode())
    assert event_id(PROVIDER, BODY.encode()) != event_id(PROVIDER, BODY.replace("class", "other").encode())


@pytest.mark.parametrize("body", [{"type": "x.y", "data": 1}, {"data": 1}, {"type": None}, {}])
def test_every_message_is_kept_whole(body: Any) -> None:
    (event,) = normalised(PROVIDER, body)
    assert isinstance(event, Unknown)
    assert event.payload == body


@pytest.mark.parametrize("secret", ["whsec_not base64", "whpk_AAAA", "é", "whsec_YQ=a"])
def test_a_secret_that_is_not_base64_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="base64") as refused:
        PROVIDER.key(secret)
    assert secret not in str(refused.value)


def test_a_sample_verifies() -> None:
    PROVIDER.verify(sent(PROVIDER.sign(b"{}", source(), NOW_S)), source(), NOW_S)
