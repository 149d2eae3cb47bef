"""What only NetEase does."""

import hashlib
from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict

from hookline.events import (
    CallStarted,
    RoomCreated,
    Unknown,
    event_topic,
)
from hookline.schemas.errors import BadSignature, Unreadable
from hookline.schemas.provider import Request
from hookline.schemas.providers.netease import PROVIDER
from tests.providers.bodies import as_bytes, event_id, normalised
from tests.vector_cases import challenge_of, example_source, seal_request, sent

STORY_START_S = 1_700_000_000.0


def notice(**fields: Any) -> dict[str, Any]:
    return {"eventType": 20, "fromAccount": "a", "timestamp": "1700000000123", "toAccountList": ["b", "c"]} | fields


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a":1}', b"{}{}", b"{ }", b"null"], ids=repr)
def test_only_an_empty_object_is_a_url_check(body: bytes) -> None:
    request = sent(PROVIDER.sign(body, example_source(PROVIDER), STORY_START_S))
    assert challenge_of(example_source(PROVIDER), request, STORY_START_S) is None


@pytest.mark.parametrize("event_type", ["20", 1, 5, None, "MEETING_RECORD", -20, "5x"], ids="the type {!r}".format)
def test_other_callbacks_are_kept_as_unknown(event_type: Any) -> None:
    (event,) = normalised(PROVIDER, notice(eventType=event_type))
    assert isinstance(event, Unknown)
    assert event.payload == notice(eventType=event_type)


def test_a_callback_without_a_type_is_kept_as_unknown() -> None:
    assert PROVIDER.identify(Request(b'{"fromAccount":"a"}')).event_type == "unknown.none"


RTC = {"channelId": 1, "channelName": "room", "uid": 2, "timestamp": 1700000000000}
MEETING = {"meetingId": "room", "meetingUniqueId": 1, "accountId": "2", "time": 1700000000000}
CLASS = {"roomUuid": "room", "sequence": 3, "data": {"members": [{"userUuid": "2"}]}, "timestamp": 1700000000000}


@pytest.mark.parametrize(
    ("body", "topic"),
    [
        ({"eventType": "5", "channelId": "1", "members": "[]"}, "call.ended"),
        ({"eventType": 5, "data": RTC}, "participant.left"),
        ({"eventType": "5", "data": RTC}, "participant.left"),
        ({"msgType": 5, "msgBody": MEETING}, "participant.joined"),
        ({"cmd": 30, **CLASS}, "participant.joined"),
        ({"requestId": "r", "eventType": "CREATE_ROOM", "body": {"roomUuid": "room"}}, "room.created"),
    ],
    ids=str,
)
def test_the_form_of_a_body_tells_the_services_apart(body: Any, topic: str) -> None:
    assert {event_topic(event) for event in normalised(PROVIDER, body)} == {topic}


IDENTITIES: list[tuple[Any, Any]] = [
    ({"eventType": 4, "data": RTC}, {"eventType": 4, "data": {**RTC, "uid": 3}}),
    ({"eventType": 4, "data": RTC}, {"eventType": 4, "data": {**RTC, "timestamp": 1700000000001}}),
    ({"eventType": 11, "data": RTC}, {"eventType": 13, "data": RTC}),
    ({"eventType": 3, "data": {**RTC, "filename": "a"}}, {"eventType": 3, "data": {**RTC, "filename": "b"}}),
    ({"msgType": 5, "msgBody": MEETING}, {"msgType": 5, "msgBody": {**MEETING, "accountId": "3"}}),
    ({"msgType": 5, "msgBody": MEETING}, {"msgType": 5, "msgBody": {**MEETING, "time": 1700000000001}}),
    ({"cmd": 30, **CLASS}, {"cmd": 30, **CLASS, "sequence": 4}),
    (
        {"eventType": "6", "fileinfo": '[{"channelid":"1","filename":"a"}]'},
        {"eventType": "6", "fileinfo": '[{"channelid":"1","filename":"b"}]'},
    ),
]


@pytest.mark.parametrize(("one", "other"), IDENTITIES, ids=str)
def test_events_that_look_alike_have_other_ids(one: Any, other: Any) -> None:
    assert event_id(PROVIDER, one) != event_id(PROVIDER, other)


@pytest.mark.parametrize("body", [body for pair in IDENTITIES for body in pair], ids=str)
def test_a_re_send_with_new_headers_has_the_same_id(body: Any) -> None:
    source, raw = example_source(PROVIDER), as_bytes(body)
    first, second = (sent(PROVIDER.sign(raw, source, STORY_START_S + later_s)) for later_s in (0, 3600))
    assert first.headers.getall("CurTime", ()) != second.headers.getall("CurTime", ())
    assert seal_request(PROVIDER, first).id == seal_request(PROVIDER, second).id


def with_headers(body: bytes, **headers: str | None) -> Request:
    signed = PROVIDER.sign(body, example_source(PROVIDER), STORY_START_S)
    merged = {**signed.headers, **headers}
    return Request(body, CIMultiDict((name, value) for name, value in merged.items() if value is not None))


MD5_OF_MEETING = hashlib.md5(as_bytes({"msgType": 5, "msgBody": MEETING}), usedforsecurity=False).hexdigest()


def test_a_meeting_may_also_send_the_md5() -> None:
    request = with_headers(as_bytes({"msgType": 5, "msgBody": MEETING}), MD5=MD5_OF_MEETING)
    PROVIDER.verify(request, example_source(PROVIDER), STORY_START_S)


@pytest.mark.parametrize(
    "headers",
    [{"Nonce": "another"}, {"MD5": "0" * 32}, {"Nonce": None, "MD5": MD5_OF_MEETING}, {"Nonce": "n" * 65}],
    ids=str,
)
def test_a_nonce_or_md5_that_does_not_fit_is_refused(headers: dict[str, str | None]) -> None:
    request = with_headers(as_bytes({"msgType": 5, "msgBody": MEETING}), **headers)
    with pytest.raises(BadSignature):
        PROVIDER.verify(request, example_source(PROVIDER), STORY_START_S)


@pytest.mark.parametrize("body", [b'{"eventType":20,"fromAccount":"a"}', b"{}"], ids=repr)
def test_a_nonce_does_not_replace_the_md5_of_another_service(body: bytes) -> None:
    with pytest.raises(BadSignature):
        PROVIDER.verify(with_headers(body, Nonce="n", MD5=None), example_source(PROVIDER), STORY_START_S)


def test_callees_in_another_order_are_the_same_call() -> None:
    assert event_id(PROVIDER, notice()) == event_id(PROVIDER, notice(toAccountList=["c", "b"]))


@pytest.mark.parametrize(("number", "media"), [(1, "audio"), (2, "video"), (3, None), (None, None)], ids=str)
def test_the_call_type_becomes_the_media(number: int | None, media: str | None) -> None:
    (event,) = normalised(PROVIDER, notice(callType=number))
    assert isinstance(event, CallStarted)
    assert event.media == media


@pytest.mark.parametrize("time", ["1e3", "-1", " 1", "1\n", "\uff11", "", "9" * 19, 2**63, "0"], ids=ascii)
def test_a_time_that_cannot_be_is_that_of_the_receipt(time: Any) -> None:
    (event,) = normalised(PROVIDER, notice(timestamp=time))
    assert isinstance(event, CallStarted)
    assert event.occurred_at == event.received_at


def test_calls_without_a_time_differ_by_any_field() -> None:
    one, other = (notice(timestamp=None, notifyAttach=text) for text in "ab")
    assert event_id(PROVIDER, one) != event_id(PROVIDER, other)


def test_callees_that_cannot_be_read_are_left_out() -> None:
    (event,) = normalised(PROVIDER, notice(toAccountList=["b", None, {}, 5]))
    assert isinstance(event, CallStarted)
    assert event.callee_ids == ("b", "5")


def test_a_call_without_a_caller_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="fromAccount"):
        PROVIDER.identify(Request(as_bytes(notice(fromAccount=None))))


def test_a_room_has_an_operator_and_its_custom_text() -> None:
    body = notice(eventType=21, channelName="room", selfConfig="x")
    (event,) = normalised(PROVIDER, body)
    assert isinstance(event, RoomCreated)
    assert (event.room_id, event.owner_id, event.operator_id, event.custom) == ("room", None, "a", "x")


def test_the_app_key_of_another_application_is_refused() -> None:
    source = example_source(PROVIDER)
    request = sent(PROVIDER.sign(b"{}", source, STORY_START_S))
    headers = CIMultiDict({**PROVIDER.sign(b"{}", source, STORY_START_S).headers, "AppKey": "example-app-keY"})
    with pytest.raises(BadSignature):
        PROVIDER.verify(msgspec.structs.replace(request, headers=headers), source, STORY_START_S)
