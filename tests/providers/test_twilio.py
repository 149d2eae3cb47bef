"""What only Twilio does. Its own library signs here."""

from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # the library has no types

from hookline.events import ParticipantJoined, RecordingUploaded
from hookline.schemas.errors import BadSignature, Unreadable, Unverified
from hookline.schemas.event_redaction import Redaction
from hookline.schemas.provider import AnySource, Request
from hookline.schemas.providers.twilio import PROVIDER
from tests.providers.bodies import event_id, normalised
from tests.vector_cases import source_of

TOKEN = "an-auth-token-of-twilio"
URL = "https://hooks.example.com/hooks/twilio-main"
HEADER = "X-Twilio-Signature"
ALGORITHM = "X-Twilio-Webhooks-Signature-Settings"
JOINED = {
    "AccountSid": "AC1",
    "RoomSid": "RM1",
    "RoomName": "class",
    "StatusCallbackEvent": "participant-connected",
    "ParticipantSid": "PA1",
    "ParticipantIdentity": "ann",
    "Timestamp": "2023-11-14T22:00:00.123Z",
}


def source(url: str = URL, *tokens: str) -> AnySource:
    return source_of(PROVIDER, {"secrets": tokens or (TOKEN,), "public_url": url})


def signed(fields: dict[str, str], url: str = URL, algorithm: str | None = None, query: str = "") -> Request:
    """A request that Twilio's own library signs."""
    signature = RequestValidator(TOKEN).compute_signature(url, fields, algorithm)
    headers = CIMultiDict({HEADER: signature})
    if algorithm:
        headers[ALGORITHM] = f"key=webhooks_sharedkey_1,algorithm={algorithm}"
    return Request(urlencode(fields).encode(), headers, query)


def form(fields: dict[str, Any]) -> bytes:
    return urlencode(fields).encode()


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(words.filter(bool), words, max_size=8))
def test_what_its_library_signs_is_verified(fields: dict[str, str]) -> None:
    PROVIDER.verify(signed(fields), source(), 0)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(words.filter(bool), words, min_size=1, max_size=8))
def test_its_library_verifies_what_is_signed_here(fields: dict[str, str]) -> None:
    outgoing = PROVIDER.sign(form(fields), source(), 0)
    assert RequestValidator(TOKEN).validate(URL, fields, outgoing.headers[HEADER])


@pytest.mark.parametrize(
    "url",
    [
        *(URL, "https://hooks.example.com:443/hooks/twilio-main", "http://hooks.example.com/x?a=b%2Fc&d="),
        *("http://hooks.example.com:80/x", "https://hooks.example.com:8443/x"),
    ],
)
def test_the_url_may_have_a_port_or_none(url: str) -> None:
    PROVIDER.verify(signed(JOINED, url), source(url), 0)
    shorter = url.replace(":443", "").replace(":80/", "/").replace(":8443", "")
    PROVIDER.verify(signed(JOINED, shorter), source(url), 0)


@pytest.mark.parametrize("algorithm", ["HMAC_SHA1", "HMAC_SHA256"])
def test_a_shared_key_names_its_algorithm(algorithm: str) -> None:
    PROVIDER.verify(signed(JOINED, algorithm=algorithm), source(), 0)


def test_an_unknown_or_wrong_algorithm_is_refused() -> None:
    request = signed(JOINED, algorithm="HMAC_SHA256")
    for other in ("algorithm=HMAC_MD5", "algorithm=HMAC_SHA1", "algorithm=none"):
        headers = CIMultiDict({HEADER: request.header(HEADER), ALGORITHM: other})
        with pytest.raises(BadSignature):
            PROVIDER.verify(Request(request.body, headers), source(), 0)


@pytest.mark.parametrize("name", JOINED)
def test_each_parameter_is_signed(name: str) -> None:
    request = signed(JOINED)
    changed = JOINED | {name: JOINED[name] + "x"}
    missing = {each: value for each, value in JOINED.items() if each != name}
    for fields in (changed, missing, JOINED | {"Added": ""}):
        with pytest.raises(BadSignature):
            PROVIDER.verify(Request(form(fields), request.headers), source(), 0)


@pytest.mark.parametrize(
    "url", ["https://hooks.example.com/hooks/other", "http://hooks.example.com/hooks/twilio-main", URL + "?a=b"]
)
def test_a_signature_for_another_url_is_refused(url: str) -> None:
    with pytest.raises(BadSignature):
        PROVIDER.verify(signed(JOINED, url), source(), 0)


def test_a_query_that_differs_between_rooms_is_signed_as_it_arrives() -> None:
    request = signed(JOINED, URL + "?class=9%2F1", query="class=9%2F1")
    PROVIDER.verify(request, source(), 0)
    with pytest.raises(BadSignature):
        PROVIDER.verify(Request(request.body, request.headers, "class=8"), source(), 0)


def test_an_hour_later_the_signature_is_still_good() -> None:
    """It covers no time of its own. The repeat is the same event."""
    PROVIDER.verify(signed(JOINED), source(), 1_700_003_600)


def test_another_token_verifies_beside_the_old_one() -> None:
    PROVIDER.verify(signed(JOINED), source(URL, "the-token-of-another", TOKEN), 0)
    with pytest.raises(BadSignature):
        PROVIDER.verify(signed(JOINED), source(URL, "the-token-of-another"), 0)


def test_a_source_needs_the_public_url() -> None:
    assert "public_url" in (PROVIDER.fault(source("")) or "")
    assert PROVIDER.fault(source()) is None


@pytest.mark.parametrize("body", [b"%ff=1", b"a=%c3", b"&".join([b"a=1"] * 300)], ids=["name", "value", "too many"])
def test_a_body_that_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(Unverified):
        PROVIDER.verify(Request(body, CIMultiDict({HEADER: "x"})), source(), 0)


@pytest.mark.parametrize(
    "again",
    [
        pytest.param({"SequenceNumber": "7"}, id="another sequence number"),
        pytest.param({"RoomStatus": "completed"}, id="the room has ended meanwhile"),
        pytest.param(dict(reversed(JOINED.items())), id="another order"),
    ],
)
def test_a_re_send_has_the_same_id(again: dict[str, str]) -> None:
    assert event_id(PROVIDER, form(again | JOINED)) == event_id(PROVIDER, form(JOINED))
    assert event_id(PROVIDER, form(JOINED | again)) == event_id(PROVIDER, form(JOINED))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"ParticipantSid": "PA2", "ParticipantIdentity": "bo"}, id="another one in the same millisecond"),
        pytest.param({"ParticipantSid": "PA2"}, id="a second device"),
        pytest.param({"Timestamp": "2023-11-14T22:00:00.124Z", "ParticipantSid": "PA2"}, id="a quick re-join"),
        pytest.param({"RoomSid": "RM2"}, id="another room of the same name"),
        pytest.param({"StatusCallbackEvent": "participant-disconnected"}, id="another type"),
        pytest.param({"StatusCallbackEvent": "track-added", "TrackSid": "MT1"}, id="a track"),
    ],
)
def test_another_event_has_another_id(other: dict[str, str]) -> None:
    assert event_id(PROVIDER, form(JOINED | other)) != event_id(PROVIDER, form(JOINED))


def test_files_of_one_recording_are_other_events() -> None:
    files = [{"StatusCallbackEvent": "recording-completed", "RecordingSid": f"RT{n}"} for n in range(3)]
    assert len({event_id(PROVIDER, form(JOINED | file)) for file in files}) == 3


def test_each_step_of_a_composition_is_another_event() -> None:
    steps = [{"StatusCallbackEvent": "composition-progress", "PercentageDone": str(done)} for done in range(3)]
    assert len({event_id(PROVIDER, form(JOINED | step)) for step in steps}) == 3


visits = st.tuples(st.sampled_from(["PA1", "PA2"]), st.sampled_from(["RM1", "RM2"]), st.integers(0, 2))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(visits, visits, st.integers(0, 99))
def test_ids_are_equal_exactly_for_the_same_visit(one: Any, other: Any, sequence: int) -> None:
    ids = []
    for (sid, room, second), number in ((one, 0), (other, sequence)):
        own = {"ParticipantSid": sid, "RoomSid": room, "Timestamp": f"2023-11-14T22:00:0{second}.000Z"}
        ids.append(event_id(PROVIDER, form(JOINED | own | {"SequenceNumber": str(number)})))
    assert (ids[0] == ids[1]) == (one == other)


def test_somebody_without_an_identity_is_known_by_the_connection() -> None:
    (event,) = normalised(PROVIDER, form(JOINED | {"ParticipantIdentity": ""}))
    assert isinstance(event, ParticipantJoined)
    assert (event.user_id, event.connection_id) == ("PA1", "PA1")


def test_the_url_of_a_recording_is_kept_on_request_only() -> None:
    uploaded = {"StatusCallbackEvent": "recording-completed", "RecordingSid": "RT1", "MediaUri": "/v1/x", "Size": "9"}
    events = normalised(PROVIDER, form(JOINED | uploaded))
    (without,), (kept,) = (Redaction(PROVIDER, keep_urls=keep)(events) for keep in (False, True))
    assert isinstance(without, RecordingUploaded)
    assert isinstance(kept, RecordingUploaded)
    assert (without.url, kept.url, kept.size_bytes) == (None, "/v1/x", 9)


@pytest.mark.parametrize("name", ["RoomSid", "StatusCallbackEvent"])
def test_a_callback_without_its_room_or_type_is_unreadable(name: str) -> None:
    with pytest.raises(Unreadable):
        PROVIDER.identify(Request(form({each: value for each, value in JOINED.items() if each != name})))


def test_a_body_that_is_neither_a_form_nor_json_cannot_be_signed() -> None:
    for body in (b"%ff", b"{", b'{"a":'):
        with pytest.raises(ValueError, match=r"."):
            PROVIDER.sign(body, source(), 0)
