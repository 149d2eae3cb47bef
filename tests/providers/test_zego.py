"""What only ZEGOCLOUD does."""

import hashlib
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.events import (
    ModerationFlagged,
    ParticipantJoined,
    ParticipantLeft,
    RecordingFailed,
    RecordingUploaded,
    TrackUnpublished,
    Unknown,
)
from hookline.schemas.errors import BadSignature, MalformedRequest, MissingSignature, StaleTimestamp, Unreadable
from hookline.schemas.provider import AnySource, Outgoing, Request
from hookline.schemas.providers.zego import PROVIDER
from tests.providers.bodies import as_bytes, event_id, normalised
from tests.vector_cases import example_source, sent, source_of

NOW_S = 1_700_000_000.0
STAMPS = {"timestamp": "1700000000", "nonce": "1", "signature": "x"}
LATER = {"timestamp": "1700000032", "nonce": "2", "signature": "y"}
USER = {"room_id": "r", "room_seq": "858012925204410401", "user_account": "ann", "session_id": "s-1"}


def login(**fields: Any) -> dict[str, Any]:
    about = {"event": "room_login", "user_update_seq": "1", "login_time": "1700000000027"}
    return {**about, **USER, **STAMPS, **fields}


def recorded(*files: dict[str, Any], **fields: Any) -> dict[str, Any]:
    about = {"app_id": 1, "task_id": "t", "room_id": "r", "event_type": 1, "sequence": 1}
    return {**about, **STAMPS, "detail": {"file_info": list(files)}, **fields}


def signed(body: dict[str, Any], source: AnySource | None = None) -> Outgoing:
    return PROVIDER.sign(as_bytes(body), source or example_source(PROVIDER), NOW_S)


def test_the_documented_signature_verifies() -> None:
    """The one of its page, for the secret `secret`."""
    proof = {"timestamp": 1470820198, "nonce": "123412", "signature": "5bd59fd62953a8059fb7eaba95720f66d19e4517"}
    PROVIDER.verify(Request(as_bytes(proof)), example_source(PROVIDER, "secret"), 1470820199)


@pytest.mark.parametrize("secret", ["0secret", "15secret", "9secret", "secret", "ключ"])
def test_secret_time_and_nonce_are_sorted_by_their_bytes(secret: str) -> None:
    parts = sorted(part.encode() for part in (secret, "1700000000", "42"))
    proof = {"timestamp": 1700000000, "nonce": 42, "signature": hashlib.sha1(b"".join(parts)).hexdigest()}  # noqa: S324  its scheme
    PROVIDER.verify(Request(as_bytes(proof)), example_source(PROVIDER, secret), NOW_S)


def test_another_body_with_the_same_proof_passes() -> None:
    """The signature covers the time only. The scheme leaves this open; the ingress counts such bodies."""
    proof = msgspec.json.decode(signed(login()).body)
    forged = Request(as_bytes({**proof, "user_account": "mallory", "event": "room_logout"}))
    PROVIDER.verify(forged, example_source(PROVIDER), NOW_S)
    with pytest.raises(StaleTimestamp):
        PROVIDER.verify(forged, example_source(PROVIDER), NOW_S + 3600)


@pytest.mark.parametrize("name", ["timestamp", "nonce", "signature"])
@pytest.mark.parametrize("capitalised", [False, True])
def test_each_part_of_the_proof_is_needed(name: str, capitalised: bool) -> None:  # noqa: FBT001  a parameter
    outgoing = signed({"Event": "transcode_start"} if capitalised else login())
    name = name.capitalize() if capitalised else name
    content = msgspec.json.decode(outgoing.body)
    with pytest.raises(MissingSignature):
        PROVIDER.verify(Request(as_bytes({**content, name: None})), example_source(PROVIDER), NOW_S)
    with pytest.raises(BadSignature):
        PROVIDER.verify(Request(as_bytes({**content, name: "1700000001"})), example_source(PROVIDER), NOW_S)


def test_a_time_that_is_not_ten_digits_is_refused() -> None:
    """Or a part of the nonce could be read as a part of the time."""
    joined = b"".join(sorted([b"an-example-secret", b"1700000000123", b"9"]))
    proof = {"timestamp": "1700000000123", "nonce": "9", "signature": hashlib.sha1(joined).hexdigest()}  # noqa: S324  its scheme
    with pytest.raises(BadSignature):
        PROVIDER.verify(Request(as_bytes(proof)), example_source(PROVIDER), NOW_S)


def test_a_callback_of_another_application_is_refused_where_one_is_named() -> None:
    source = source_of(PROVIDER, {"secrets": ["an-example-secret"], "app_id": 7})
    for name in ("appid", "app_id"):
        PROVIDER.verify(sent(signed({**login(), name: "7"})), source, NOW_S)
        with pytest.raises(BadSignature):
            PROVIDER.verify(sent(signed({**login(), name: 8})), source, NOW_S)


def test_percent_encoded_json_is_read() -> None:
    plain = signed(login()).body
    encoded = Request(quote(plain, safe="").encode())
    PROVIDER.verify(encoded, example_source(PROVIDER), NOW_S)
    assert PROVIDER.identify(encoded) == PROVIDER.identify(Request(plain))
    assert [type(event) for event in normalised(PROVIDER, encoded.body)] == [ParticipantJoined]
    with pytest.raises(Unreadable):
        PROVIDER.identify(Request(b"%7Bno"))
    with pytest.raises(MalformedRequest):
        PROVIDER.verify(Request(b"%7Bno"), example_source(PROVIDER), NOW_S)


def test_a_form_is_read() -> None:
    plain = signed(login()).body
    form = Request(urlencode(msgspec.json.decode(plain)).encode())
    PROVIDER.verify(form, example_source(PROVIDER), NOW_S)
    assert PROVIDER.identify(form) == PROVIDER.identify(Request(plain))
    assert [type(event) for event in normalised(PROVIDER, form.body)] == [ParticipantJoined]
    for body in (b"event=a&event=b", b"event=%ff"):
        with pytest.raises(MalformedRequest):
            PROVIDER.verify(Request(body), example_source(PROVIDER), NOW_S)
        with pytest.raises(Unreadable):
            PROVIDER.identify(Request(body))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(login(), id="a user"),
        pytest.param(recorded({"status": 3}), id="a recording"),
        pytest.param({"event": "room_create", "room_id": "r", "room_session_id": 9, **STAMPS}, id="a room"),
        pytest.param({"event": "snapshot", "task_id": "t", **STAMPS}, id="an unknown type"),
        pytest.param({k: v for k, v in login().items() if k != "room_seq"} | {"login_time": None}, id="no session"),
    ],
)
def test_a_re_send_has_the_same_id(body: dict[str, Any]) -> None:
    assert event_id(PROVIDER, body) == event_id(PROVIDER, {**body, **LATER})


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(login(user_account="bo", session_id="s-2", user_update_seq="2"), id="another one in that second"),
        pytest.param(login(user_update_seq="3"), id="a quick re-join in one session"),
        pytest.param(login(session_id="s-2"), id="another session of the user"),
        pytest.param(login(room_seq="858012925204410402"), id="another life of the room, beyond 2^53"),
        pytest.param(login(event="room_logout"), id="another type"),
    ],
)
def test_another_event_has_another_id(other: dict[str, Any]) -> None:
    assert event_id(PROVIDER, other) != event_id(PROVIDER, login())


def test_results_of_one_recording_task_are_other_events() -> None:
    assert len({event_id(PROVIDER, recorded({"status": 3}, sequence=number)) for number in range(3)}) == 3


def test_the_files_of_a_recording_are_events_of_their_own() -> None:
    events = normalised(PROVIDER, recorded({"file_id": "a", "status": 3}, {"file_id": "b", "status": 5}))
    assert [(type(event), event.id[-2:]) for event in events] == [(RecordingUploaded, ":0"), (RecordingFailed, ":1")]


visits = st.tuples(st.sampled_from(["s-1", "s-2"]), st.integers(1, 3), st.integers(2**62, 2**62 + 1))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(visits, visits, st.booleans())
def test_ids_are_equal_exactly_for_the_same_change(one: Any, other: Any, quoted: bool) -> None:  # noqa: FBT001  generated
    ids = [
        event_id(PROVIDER, login(session_id=session, user_update_seq=seq, room_seq=room) | stamps)
        for (session, seq, room), stamps in ((one, STAMPS), (other, LATER))
    ]
    text = login(session_id=one[0], user_update_seq=str(one[1]), room_seq=str(one[2]))
    assert (ids[0] == ids[1]) == (one == other)
    assert not quoted or event_id(PROVIDER, text) == ids[0]


@pytest.mark.parametrize(
    ("number", "reason"),
    [("0", "left"), (1, "disconnected"), ("2", "disconnected"), (3, "removed"), (4, "expired"), (9, "unknown")],
)
def test_the_reason_of_leaving(number: Any, reason: str) -> None:
    (event,) = normalised(PROVIDER, login(event="room_logout", reason=number, logout_time="1700000001027"))
    assert isinstance(event, ParticipantLeft)
    assert (event.reason, event.duration_s) == (reason, 1)


def test_a_stream_that_ends_says_why() -> None:
    (event,) = normalised(PROVIDER, {**login(event="stream_close"), "user_id": "ann", "stream_sid": "x", "type": "100"})
    assert isinstance(event, TrackUnpublished)
    assert event.reason == "removed"


@pytest.mark.parametrize("level", ["REVIEW", "REJECT", "PASS", None])
def test_only_what_moderation_objects_to_is_an_event(level: str | None) -> None:
    body = {"Event": "censor_audio_v2_result", "TaskId": "t", "ResultTaskId": "u", "Detail": {"RiskLevel": level}}
    (event,) = normalised(PROVIDER, body)
    assert isinstance(event, ModerationFlagged if level in ("REVIEW", "REJECT") else Unknown)


def test_rooms_of_the_messaging_product_are_kept_as_unknown() -> None:
    body = {"event": "room_create", "room_id": "r", "operator_account": "ann", **STAMPS}
    (event,) = normalised(PROVIDER, body)
    assert isinstance(event, Unknown)


@pytest.mark.parametrize("body", [{"room_id": "r"}, {"event": "room_login", "room_id": "r"}, {"event": "call_accept"}])
def test_a_callback_without_what_it_is_about_is_unreadable(body: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        PROVIDER.identify(Request(as_bytes(body)))
