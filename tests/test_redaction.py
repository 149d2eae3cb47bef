"""Tokens, and URLs that let anybody in, stay out of events, logs and the record of refused requests."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from hookline.events import (
    EVENT_TYPES,
    ModerationFlagged,
    Recording,
    RecordingUploaded,
    RoomUpdated,
    Stream,
    Transcript,
    TranscriptReady,
    Unknown,
)
from hookline.runtime.outcome_log import _SHOWN
from hookline.schemas.envelope import Envelope, Identity, moment, seal
from hookline.schemas.event_redaction import Redaction
from hookline.schemas.events import Event, EventHead
from hookline.schemas.provider import Provider, Request
from hookline.schemas.redaction import redacted, redacted_body, redacted_headers, redacted_query
from hookline.workers.normaliser import normaliser

HEAD: EventHead = {
    "id": "1",
    "provider": "acme",
    "source": "main",
    "occurred_at": moment(1_700_000_000),
    "received_at": moment(1_700_000_001),
    "provider_type": "theirs",
}
URL = "https://files.example/recording.mp4?signature=let-me-in"
NAMES = frozenset({"download_token", "streamkey"})


def unchecked(request: Request, source: Any, now_s: float) -> None:
    """Accepts anything."""


def provider_of(*events: Event) -> Provider[Any]:
    return Provider(
        name="acme",
        title="Acme RTC",
        verify=unchecked,
        identify=lambda _: Identity("unknown.theirs", (), ""),
        normalise=lambda _: events,
        secret_fields=NAMES,
        url_fields=frozenset({"download_url"}),
    )


def envelope() -> Envelope:
    identity = Identity("unknown.theirs", (), "")
    return seal(identity, b"{}", provider="acme", source="main", content_type="", received_at=moment(1_700_000_001))


def kept(event: Event, *, keep_urls: bool = False) -> Any:
    """The event as a worker gets it."""
    (found,) = normaliser({"acme": provider_of(event)}, keep_urls=keep_urls)(envelope())
    return found


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"download_token": "t", "a": 1}, {"download_token": "***", "a": 1}),
        ({"a": {"b": [{"Download_Token": "t"}]}}, {"a": {"b": [{"Download_Token": "***"}]}}),
        ({"streamKey": {"any": "thing"}}, {"streamKey": "***"}),
        ({"streamKey": "", "download_token": None}, {"streamKey": "", "download_token": None}),
        ({"data": '{"streamKey":"t","b":1}'}, {"data": '{"streamKey":"***","b":1}'}),
        ({"data": '{"c":"{\\"streamKey\\":\\"t\\"}"}'}, {"data": '{"c":"{\\"streamKey\\":\\"***\\"}"}'}),
        ({"data": '{"streamKey":"t"'}, {"data": "***"}),
        ({"data": "{not json"}, {"data": "{not json"}),
        (["streamKey"], ["streamKey"]),
        (5, 5),
    ],
)
def test_secret_fields_are_hidden_at_any_depth(content: Any, expected: Any) -> None:
    assert redacted(content, NAMES) == expected


def test_what_is_nested_too_deep_is_hidden() -> None:
    content: Any = {"streamKey": "secret-text"}
    for _ in range(500):
        content = [content]
    assert "secret-text" not in str(redacted(content, NAMES))


def test_an_unknown_event_loses_tokens_and_urls() -> None:
    payload = {"object": {"download_token": "t", "download_url": URL, "topic": "lesson"}}
    assert kept(Unknown(**HEAD, payload=payload)).payload == {
        "object": {"download_token": "***", "download_url": "***", "topic": "lesson"}
    }


def test_with_keep_urls_it_loses_only_tokens() -> None:
    payload = {"download_token": "t", "download_url": URL}
    assert kept(Unknown(**HEAD, payload=payload), keep_urls=True).payload == {
        "download_token": "***",
        "download_url": URL,
    }


def test_what_an_update_says_of_a_room_loses_tokens() -> None:
    assert kept(RoomUpdated(**HEAD, room_id="r", changes={"streamKey": "t"})).changes == {"streamKey": "***"}


WITH_URL = [
    RecordingUploaded(**HEAD, url=URL),
    TranscriptReady(**HEAD, url=URL),
    ModerationFlagged(**HEAD, media="audio", level="reject", url=URL),
]


URL_FAMILIES = (Recording, Transcript, ModerationFlagged)  # the URL of a stream is without its key


@pytest.mark.parametrize("event", WITH_URL, ids=lambda event: type(event).__name__)
def test_urls_that_let_anybody_in_are_kept_only_by_setting(event: Any) -> None:
    assert kept(event).url is None
    assert kept(event, keep_urls=True) == event


def test_every_event_with_such_a_url_loses_it() -> None:
    with_url = {kind for kind in EVENT_TYPES.values() if "url" in kind.__struct_fields__}
    assert with_url == {kind for kind in EVENT_TYPES.values() if issubclass(kind, (*URL_FAMILIES, Stream))}


def test_events_without_anything_to_hide_are_passed_on_as_they_are() -> None:
    events = (EVENT_TYPES["room.ended"](**HEAD, room_id="r"),)  # type: ignore[call-arg]  # of that event
    assert Redaction(provider_of(), keep_urls=False)(events) is events  # type: ignore[arg-type]


def test_the_log_shows_no_url_and_no_payload() -> None:
    assert not {"url", "payload", "changes", "custom", "error", "text"} & set(_SHOWN)


def test_a_kept_body_is_redacted_json() -> None:
    body = b'{"streamKey":"t","a":"\xc3\xa9"}'
    assert msgspec.json.decode(redacted_body(body, NAMES, 100) or "") == {"streamKey": "***", "a": "é"}


def test_headers_and_parameters_are_hidden_unless_they_are_known() -> None:
    assert redacted_headers([("HOST", "h"), ("X-Any", "t"), ("X-Time", "1")], {"x-time"}) == (
        ("HOST", "h"),
        ("X-Any", "*** (1 characters)"),
        ("X-Time", "1"),
    )
    assert redacted_query("a=1&B=2&c", {"b"}) == "a=*** (1 characters)&B=2&*** (1 characters)"


def test_a_settings_file_cannot_turn_the_hiding_of_tokens_off() -> None:
    provider = replace(provider_of(Unknown(**HEAD, payload={"streamkey": "t"})), url_fields=frozenset())
    (event,) = normaliser({"acme": provider}, keep_urls=True)(envelope())
    assert isinstance(event, Unknown)
    assert event.payload == {"streamkey": "***"}
