"""What only Zoom does."""

import hashlib
import hmac
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from hookline.events import ParticipantLeft, RecordingUploaded, StreamStarted, Unknown
from hookline.schemas.errors import BadSignature, MissingSignature, StaleTimestamp, Unreadable
from hookline.schemas.event_redaction import Redaction
from hookline.schemas.provider import Request
from hookline.schemas.providers.zoom import PROVIDER
from tests.providers.bodies import as_bytes, event_id, normalised
from tests.vector_cases import challenge_of, example_source, sent

NOW_S = 1_767_225_600.0
ANN = {"user_id": "1", "participant_uuid": "ann", "user_name": "Ann", "join_time": "2026-01-01T00:00:01Z"}
URL_CHECK = b'{"event":"endpoint.url_validation","payload":{"plainToken":"token"}}'


def notice(event: str = "meeting.participant_joined", *, ts: Any = 1767225601123, **room: Any) -> dict[str, Any]:
    fields = {"id": "81234567890", "uuid": "u==", **room}
    return {"event": event, "event_ts": ts, "payload": {"account_id": "a", "object": fields}}


def joined(ts: int = 1767225601123, **person: Any) -> dict[str, Any]:
    return notice(ts=ts, participant=ANN | person)


def files(*names: str, ts: int = 1767229500123, token: str = "t") -> dict[str, Any]:  # noqa: S107  no password
    listed = [{"id": name, "file_type": "MP4", "download_url": f"https://x/{name}?{token}"} for name in names]
    return notice("recording.completed", ts=ts, recording_files=listed) | {"download_token": token}


@pytest.mark.parametrize(
    ("first", "again"),
    [
        pytest.param(files("f1", "f2"), files("f2", "f1", ts=1767229500999, token="u"), id="a recording, sent twice"),
        pytest.param(joined(), joined(email="", id=""), id="fields that masking leaves blank"),
        pytest.param(notice("meeting.started"), notice("meeting.started", id=81234567890), id="a number for a text"),
        pytest.param(
            notice("x.y", a=1) | {"download_token": "t"}, notice("x.y", a=1) | {"download_token": "u"}, id="a new token"
        ),
        pytest.param(notice("x.y", download_url="t"), notice("x.y", download_url="u"), id="a new URL, deep inside"),
    ],
)
def test_a_re_send_has_the_same_id(first: Any, again: Any) -> None:
    assert event_id(PROVIDER, first) == event_id(PROVIDER, again)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(joined(participant_uuid="bo", user_id="2"), id="another participant in the same millisecond"),
        pytest.param(joined(user_id="2"), id="a second device"),
        pytest.param(joined(1767225602123), id="a quick re-join"),
        pytest.param(notice("meeting.participant_left", participant=ANN), id="another type"),
        pytest.param(notice(uuid="v==", participant=ANN), id="another meeting of the same number"),
        pytest.param(files("f1"), id="a recording"),
    ],
)
def test_another_event_has_another_id(other: Any) -> None:
    assert event_id(PROVIDER, other) != event_id(PROVIDER, joined())


def test_recordings_with_other_files_are_other_events() -> None:
    assert len({event_id(PROVIDER, files(*names)) for names in (["f1"], ["f2"], ["f1", "f2"])}) == 3


def test_recordings_that_started_and_paused_again_are_other_events() -> None:
    paused = [notice("recording.paused", ts=ts) for ts in (1767225601123, 1767225601124)]
    assert event_id(PROVIDER, paused[0]) != event_id(PROVIDER, paused[1])


people: st.SearchStrategy[dict[str, str]] = st.fixed_dictionaries(
    {"user_id": st.integers(1, 3).map(str), "participant_uuid": st.sampled_from(["ann", "bo", ""])}
)
times = st.integers(1767225600000, 1767225600003)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.tuples(people, times), st.tuples(people, times))
def test_ids_are_equal_exactly_for_the_same_person_and_time(one: Any, other: Any) -> None:
    ids = [event_id(PROVIDER, joined(ts, **person)) for person, ts in (one, other)]
    assert (ids[0] == ids[1]) == (one == other)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("left the meeting.", "left"),
        ("Ann left the meeting.<br>Reason: Host ended the meeting.", "left"),
        ("Ann got disconnected from the meeting.<br>Reason: Network connection error.", "disconnected"),
        ("Ann left the meeting.<br>Reason: Removed by host.", "removed"),
        ("Ann left the meeting.<br>Reason: Free meeting minutes limit reached.", "expired"),
        ("Ann hat das Meeting verlassen.", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_reason_is_read_from_free_text(said: str | None, reason: str) -> None:
    (event,) = normalised(PROVIDER, notice("meeting.participant_left", participant=ANN | {"leave_reason": said}))
    assert isinstance(event, ParticipantLeft)
    assert event.reason == reason


@pytest.mark.parametrize(
    ("ids", "user"),
    [
        ({"customer_key": "c", "id": "i", "participant_uuid": "p"}, "c"),
        ({"id": "i", "participant_uuid": "p"}, "i"),
        ({"id": "", "participant_uuid": "p"}, "p"),
        ({"participant_uuid": ""}, "1"),
    ],
)
def test_a_user_is_named_by_what_lasts_longest(ids: dict[str, str], user: str) -> None:
    (event,) = normalised(PROVIDER, notice(participant=ANN | ids))
    assert getattr(event, "user_id", None) == user
    assert getattr(event, "connection_id", None) == "1"


def test_a_participant_without_any_id_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        PROVIDER.identify(Request(as_bytes(notice(participant={"user_name": "Ann"}))))


def test_each_file_of_a_recording_is_an_event_without_its_url() -> None:
    events = Redaction(PROVIDER, keep_urls=False)(normalised(PROVIDER, files("f1", "f2")))
    uploaded = [event for event in events if isinstance(event, RecordingUploaded)]
    assert [(event.segment, event.recording_id, event.url) for event in uploaded] == [(0, "f1", None), (1, "f2", None)]


@pytest.mark.parametrize("event", ["meeting.live_streaming_started", "x.live_streaming_started"])
def test_a_stream_key_is_in_no_event(event: str) -> None:
    target = {"stream_url": "rtmp://x/live", "stream_key": "SECRET"}
    body = notice(event, live_streaming={"custom_live_streaming_settings": target})
    (kept,) = Redaction(PROVIDER, keep_urls=True)(normalised(PROVIDER, body))
    assert isinstance(kept, StreamStarted | Unknown)
    assert b"SECRET" not in msgspec.json.encode(kept)


def test_a_stream_key_is_cut_out_of_its_url() -> None:
    target = {"stream_url": "rtmp://x/live/SECRET?k=SECRET", "stream_key": "SECRET"}
    body = notice("meeting.live_streaming_started", live_streaming={"custom_live_streaming_settings": target})
    (event,) = normalised(PROVIDER, body)
    assert getattr(event, "url", None) == "rtmp://x/live/"


def test_a_url_check_is_answered_with_the_secret_that_has_signed_it() -> None:
    request = sent(PROVIDER.sign(URL_CHECK, example_source(PROVIDER, "the-new-secret-of-zoom"), NOW_S))
    source = example_source(PROVIDER, "the-old-secret-of-zoom", "the-new-secret-of-zoom")
    reply = challenge_of(source, request, NOW_S)
    assert reply is not None
    encrypted = hmac.new(b"the-new-secret-of-zoom", b"token", hashlib.sha256).hexdigest()
    assert msgspec.json.decode(reply.body) == {"plainToken": "token", "encryptedToken": encrypted}


def test_a_url_check_needs_a_signature_that_is_fresh() -> None:
    source = example_source(PROVIDER)
    request = sent(PROVIDER.sign(URL_CHECK, source, NOW_S))
    with pytest.raises(StaleTimestamp):
        challenge_of(source, request, NOW_S + 3600)
    with pytest.raises(MissingSignature):
        challenge_of(source, Request(URL_CHECK, CIMultiDict()), NOW_S)
    with pytest.raises(BadSignature):
        challenge_of(source, Request(URL_CHECK.replace(b"token", b"other"), request.headers), NOW_S)


@pytest.mark.parametrize(
    "body",
    [b'{"event":"endpoint.url_validation"}', b'{"event":"x","payload":{"plainToken":"endpoint.url_validation"}}'],
)
def test_only_a_url_check_with_its_token_is_answered(body: bytes) -> None:
    source = example_source(PROVIDER)
    assert challenge_of(source, sent(PROVIDER.sign(body, source, NOW_S)), NOW_S) is None


def test_a_signature_of_another_version_is_refused() -> None:
    source = example_source(PROVIDER)
    signed = PROVIDER.sign(b"{}", source, NOW_S)
    headers = CIMultiDict(signed.headers)
    headers["x-zm-signature"] = headers["x-zm-signature"].replace("v0=", "v1=")
    with pytest.raises(BadSignature):
        PROVIDER.verify(Request(b"{}", headers), source, NOW_S)


def test_an_event_without_a_time_is_told_apart_by_its_content() -> None:
    one, other = (notice("meeting.alert", ts=None, issues=[issue]) for issue in ("a", "b"))
    assert event_id(PROVIDER, one) != event_id(PROVIDER, other)
    assert normalised(PROVIDER, one)[0].occurred_at == normalised(PROVIDER, one)[0].received_at


def test_a_callback_without_a_meeting_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        PROVIDER.identify(Request(as_bytes(notice(id=None))))
