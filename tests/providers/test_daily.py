"""What only Daily does."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from hookline.events import ParticipantJoined, RecordingUploaded, StreamStarted, TranscriptReady
from hookline.schemas.envelope import moment
from hookline.schemas.errors import BadSignature, StaleTimestamp, Unreadable
from hookline.schemas.event_redaction import Redaction
from hookline.schemas.provider import Reply, Request
from hookline.schemas.providers.daily import PROVIDER
from tests.providers.bodies import as_bytes, event_id, normalised
from tests.vector_cases import challenge_of, example_source, sent

NOW_S = 1_700_000_000.0
PERSON = {"room": "r", "user_id": "ann", "session_id": "s-1", "joined_at": 1699990001.25, "duration": 10.5}


def notice(kind: str = "participant.joined", /, *, id: Any = "e-1", ts: Any = 1699990002.5, **payload: Any) -> Any:  # noqa: A002  its name
    return {"version": "1.0.0", "type": kind, "id": id, "payload": PERSON | payload, "event_ts": ts}


@pytest.mark.parametrize(
    ("first", "again"),
    [
        pytest.param(notice(), notice(ts=1699991602.5), id="a later time of sending"),
        pytest.param(notice(), notice() | {"version": "1.0.1"}, id="a later version"),
        pytest.param(notice(id=None), notice(id=None, ts=1699991602.5), id="no id and a later time of sending"),
        pytest.param(notice("x.y"), notice("x.y", ts=1699991602.5), id="an unknown type"),
    ],
)
def test_a_re_send_has_the_same_id(first: Any, again: Any) -> None:
    assert event_id(PROVIDER, first) == event_id(PROVIDER, again)


@pytest.mark.parametrize(
    ("first", "other"),
    [
        pytest.param(notice(), notice(id="e-2", user_id="bo", session_id="s-2"), id="two who join in one second"),
        pytest.param(notice(), notice(id="e-2", session_id="s-2"), id="a quick re-join"),
        pytest.param(notice(id=None), notice(id=None, session_id="s-2"), id="a quick re-join without an id"),
        pytest.param(notice(id=None), notice(id="", joined_at=1699990001.5), id="another time without an id"),
        pytest.param(notice(), notice("participant.left"), id="another type"),
    ],
)
def test_another_event_has_another_id(first: Any, other: Any) -> None:
    assert event_id(PROVIDER, first) != event_id(PROVIDER, other)


visits = st.tuples(st.sampled_from(["ann", "bo"]), st.sampled_from(["s-1", "s-2"]), st.integers(0, 2))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(visits, visits, st.floats(1699990002, 1699999200))
def test_without_ids_those_of_the_visit_count(one: Any, other: Any, later: float) -> None:
    ids = [
        event_id(PROVIDER, notice(id=None, ts=ts, user_id=user, session_id=session, joined_at=1699990001 + second))
        for (user, session, second), ts in ((one, 1699990002), (other, later))
    ]
    assert (ids[0] == ids[1]) == (one == other)


def test_the_test_of_the_url_needs_no_signature_and_no_known_secret() -> None:
    source = example_source(PROVIDER)
    body = b'{"test":"test"}'
    foreign = sent(PROVIDER.sign(body, example_source(PROVIDER, "the-secret-of-another"), NOW_S))
    assert challenge_of(source, Request(body, CIMultiDict()), NOW_S) == Reply()
    assert challenge_of(source, foreign, NOW_S) == Reply()


@pytest.mark.parametrize("body", [b'{"test":"tests"}', b'{"test":"test","type":"x"}', b'{"test": "test"} ', b"{}"])
def test_nothing_else_is_answered_without_a_signature(body: bytes) -> None:
    assert challenge_of(example_source(PROVIDER), Request(body, CIMultiDict()), NOW_S) is None


@pytest.mark.parametrize("secret", ["not base64!", "YQ", "YQ===", "é"])
def test_a_secret_that_is_not_base64_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="base64") as refused:
        PROVIDER.key(secret)
    assert secret not in str(refused.value)


def test_a_time_in_seconds_is_read_as_such() -> None:
    source = example_source(PROVIDER)
    signed = PROVIDER.sign(b"{}", source, NOW_S)
    cut = CIMultiDict(signed.headers)
    cut["X-Webhook-Timestamp"] = cut["X-Webhook-Timestamp"][:10]
    with pytest.raises(BadSignature):
        PROVIDER.verify(Request(b"{}", cut), source, NOW_S)
    with pytest.raises(StaleTimestamp):
        PROVIDER.verify(sent(signed), source, NOW_S + 3600)


def test_a_body_with_numbers_that_javascript_would_write_otherwise_verifies() -> None:
    source = example_source(PROVIDER)
    PROVIDER.verify(sent(PROVIDER.sign(b'{"event_ts":1699990001.0}', source, NOW_S)), source, NOW_S)


def test_somebody_without_a_user_id_is_known_by_the_session() -> None:
    (event,) = normalised(PROVIDER, notice(user_id=""))
    assert isinstance(event, ParticipantJoined)
    assert (event.user_id, event.connection_id, event.role) == ("s-1", "s-1", None)


def test_somebody_leaves_at_the_end_of_the_visit() -> None:
    (event,) = normalised(PROVIDER, notice("participant.left"))
    assert event.occurred_at == moment(1699990011.75)


def test_each_track_of_a_recording_is_an_event() -> None:
    tracks = [{"size": 1, "type": "audio", "s3key": "a"}, {"size": 2, "type": "screen-video", "s3key": "b"}]
    events = normalised(PROVIDER, notice("recording.ready-to-download", type="raw-tracks", tracks=tracks))
    found = [(event.segment, event.file_name, event.track) for event in events if isinstance(event, RecordingUploaded)]
    assert found == [(0, "a", "audio"), (1, "b", "screen")]


def test_a_stream_without_a_room_is_ordered_by_its_instance() -> None:
    body = notice("streaming.started") | {"payload": {"instance_id": "i-1", "timestamp": 1699990002}}
    (event,) = normalised(PROVIDER, body)
    assert isinstance(event, StreamStarted)
    assert event.room_id is None
    assert PROVIDER.identify(Request(as_bytes(body))).subject == "i-1"


def test_a_summary_belongs_to_its_recording() -> None:
    job = {"id": "j", "preset": "summarize", "input": {"recordingId": "rec"}}
    (event,) = normalised(PROVIDER, notice("batch-processor.job-finished") | {"payload": job})
    assert isinstance(event, TranscriptReady)
    assert (event.kind, event.recording_id, event.room_id) == ("summary", "rec", None)


@pytest.mark.parametrize("kind", ["meeting.started", "participant.joined", "waiting-participant.joined"])
def test_an_event_of_a_room_without_its_name_is_unreadable(kind: str) -> None:
    with pytest.raises(Unreadable):
        PROVIDER.identify(Request(as_bytes(notice(kind, room=None))))


def test_telephone_numbers_are_hidden() -> None:
    number = {"from": "+49300000", "to": "+49300001", "dialin": {"phoneNumber": "+49300002"}}
    (kept,) = Redaction(PROVIDER, keep_urls=True)(normalised(PROVIDER, notice("dialin.connected", **number)))
    assert b"+49" not in msgspec.json.encode(kept)
