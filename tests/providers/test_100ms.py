"""What only 100ms does."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from hookline.events import (
    CanonicalEvent,
    ParticipantJoined,
    ParticipantJoinFailed,
    ParticipantLeft,
    RecordingStarted,
    RecordingUploaded,
    StreamStarted,
    Unknown,
)
from hookline.schemas.errors import BadSignature, MissingSignature, Unreadable
from hookline.schemas.event_redaction import Redaction
from hookline.schemas.provider import Request
from hookline.schemas.providers._100ms import PROVIDER, Account
from tests.providers.bodies import as_bytes, event_id, normalised
from tests.vector_cases import example_source, sent

NOW_S = 1_700_000_000.0
PEER = {"room_id": "r", "session_id": "s", "peer_id": "p-1", "user_id": "ann", "role": "host"}
RTMP = {"beam_id": "b", "rtmp": ["rtmp://live.example.com/app/SECRET?k=SECRET"]}


def notice(kind: str = "peer.join.success", /, *, id: Any = "e-1", **data: Any) -> Any:  # noqa: A002  its name
    time = "2023-11-14T22:00:00.123456789Z"
    return {"version": "2.0", "id": id, "timestamp": time, "type": kind, "data": PEER | {"joined_at": time} | data}


def test_a_password_covers_neither_body_nor_time() -> None:
    """The scheme leaves this open: a reader of one request can send others."""
    source = example_source(PROVIDER)
    request = sent(PROVIDER.sign(b"{}", source, NOW_S))
    PROVIDER.verify(Request(b'{"type":"another"}', request.headers), source, NOW_S)
    PROVIDER.verify(request, source, NOW_S + 3600)


def test_a_wrong_or_missing_password_is_refused() -> None:
    source = example_source(PROVIDER)
    with pytest.raises(MissingSignature):
        PROVIDER.verify(Request(b"{}", CIMultiDict()), source, NOW_S)
    for value in ("an-example-secreT", "an-example-secret ", "é", "another-secret"):
        with pytest.raises(BadSignature):
            PROVIDER.verify(Request(b"{}", CIMultiDict({"X-Hookline-Secret": value})), source, NOW_S)


def test_the_header_has_the_name_of_the_settings() -> None:
    source = replace(example_source(PROVIDER), account=Account(header="X-Own"))
    PROVIDER.verify(Request(b"{}", CIMultiDict({"x-own": "an-example-secret"})), source, NOW_S)
    with pytest.raises(MissingSignature):
        PROVIDER.verify(Request(b"{}", CIMultiDict({"X-Hookline-Secret": "an-example-secret"})), source, NOW_S)


@pytest.mark.parametrize("name", ["", "two words", "a:b", "é", "x\r\ny"])
def test_a_header_that_cannot_be_is_at_fault(name: str) -> None:
    source = replace(example_source(PROVIDER), account=Account(header=name))
    assert "header" in (PROVIDER.fault(source) or "")


def test_a_replay_has_the_same_id_whatever_else_changes() -> None:
    again = notice(user_data="{}") | {"timestamp": "2023-12-14T22:00:00Z", "version": "2.1"}
    assert event_id(PROVIDER, notice()) == event_id(PROVIDER, again)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(notice(id="e-2", peer_id="p-2", user_id="bo"), id="two who join in one nanosecond"),
        pytest.param(notice(id="e-2", peer_id="p-2"), id="a quick re-join"),
        pytest.param(notice("peer.leave.success"), id="another type"),
        pytest.param(notice(id=None), id="no id"),
        pytest.param(notice(id=None, peer_id="p-2"), id="no id, and another peer"),
    ],
)
def test_another_event_has_another_id(other: Any) -> None:
    assert event_id(PROVIDER, other) != event_id(PROVIDER, notice())


def test_files_of_one_recording_are_other_events() -> None:
    files = [notice("track.recording.success", id=f"e-{n}", recording_id="rec") for n in range(3)]
    assert len({event_id(PROVIDER, file) for file in files}) == 3


ids = st.sampled_from(["e-1", "e-2", None, ""])
peers = st.sampled_from(["p-1", "p-2"])


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(ids, peers, ids, peers)
def test_ids_are_equal_exactly_for_the_same_event(one: Any, peer: str, other: Any, other_peer: str) -> None:
    same = event_id(PROVIDER, notice(id=one, peer_id=peer)) == event_id(PROVIDER, notice(id=other, peer_id=other_peer))
    assert same == (one == other if one and other else (one, peer) == (other, other_peer))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        *(("client request", "left"), ("peer kicked", "removed"), ("Server removed peer", "removed")),
        *(("websocket closed", "disconnected"), ("ice connection state closed", "disconnected")),
        *(("something else", "unknown"), (None, "unknown")),
    ],
)
def test_the_reason_of_leaving(said: str | None, reason: str) -> None:
    (event,) = normalised(PROVIDER, notice("peer.leave.success", reason=said, left_at="2023-11-14T22:00:09Z"))
    assert isinstance(event, ParticipantLeft)
    assert event.reason == reason


def test_a_role_is_a_free_name() -> None:
    (event,) = normalised(PROVIDER, notice(user_id="", type="sip"))
    assert isinstance(event, ParticipantJoined)
    assert (event.user_id, event.role, event.role_name, event.kind) == ("p-1", None, "host", "phone")


def test_a_time_in_the_year_1_is_none() -> None:
    (event,) = normalised(PROVIDER, notice("peer.join.failure", joined_at="0001-01-01T00:00:00Z", error_message="x"))
    assert isinstance(event, ParticipantJoinFailed)
    assert event.error == "x"
    assert event.occurred_at.isoformat() == "2023-11-14T22:00:00.123456+00:00"


@pytest.mark.parametrize(
    ("beam", "kinds"),
    [
        ({"recording_enabled": True, "rtmp": []}, [RecordingStarted]),
        ({"recording_enabled": False}, [StreamStarted]),
        ({"recording_enabled": True}, [RecordingStarted, StreamStarted]),
    ],
)
def test_a_beam_records_or_streams_or_both(beam: dict[str, Any], kinds: list[type[CanonicalEvent]]) -> None:
    events = normalised(PROVIDER, notice("beam.started.success", **RTMP | beam))
    assert [type(event) for event in events] == kinds


@pytest.mark.parametrize("kind", ["beam.started.success", "beam.x"])
def test_the_key_of_a_stream_is_in_no_event(kind: str) -> None:
    events = Redaction(PROVIDER, keep_urls=True)(normalised(PROVIDER, notice(kind, **RTMP)))
    assert b"SECRET" not in msgspec.json.encode(events)
    assert b"rtmp://live.example.com/app" in msgspec.json.encode(events) or isinstance(events[0], Unknown)


def test_a_pre_signed_url_is_kept_on_request_only() -> None:
    fields = {"size": "9", "duration": "1", "recording_presigned_url": "https://x/?sig=1"}
    events = normalised(PROVIDER, notice("track.recording.success", **fields))
    (without,), (kept,) = (Redaction(PROVIDER, keep_urls=keep)(events) for keep in (False, True))
    assert isinstance(without, RecordingUploaded)
    assert isinstance(kept, RecordingUploaded)
    assert (without.url, kept.url, kept.size_bytes, kept.duration_s) == (None, "https://x/?sig=1", 9, 1)


def test_the_end_of_a_room_is_told_once() -> None:
    (event,) = normalised(PROVIDER, notice("room.end.success"))
    assert isinstance(event, Unknown)


@pytest.mark.parametrize("kind", ["peer.join.success", "session.open.success"])
def test_an_event_without_its_room_is_unreadable(kind: str) -> None:
    with pytest.raises(Unreadable):
        PROVIDER.identify(Request(as_bytes(notice(kind, room_id=None))))
