"""What only NetEase does."""

from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict

from hookline.events import (
    CallStarted,
    RoomCreated,
    Unknown,
)
from hookline.schemas.errors import BadSignature, Unreadable
from hookline.schemas.provider import Request
from hookline.schemas.providers.netease import PROVIDER
from tests.providers.bodies import as_bytes, event_id, normalised
from tests.vector_cases import challenge_of, example_source, sent

STORY_START_S = 1_700_000_000.0


def notice(**fields: Any) -> dict[str, Any]:
    return {"eventType": 20, "fromAccount": "a", "timestamp": "1700000000123", "toAccountList": ["b", "c"]} | fields


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a":1}', b"{}{}", b"{ }", b"null"], ids=repr)
def test_only_an_empty_object_is_a_url_check(body: bytes) -> None:
    request = sent(PROVIDER.sign(body, example_source(PROVIDER), STORY_START_S))
    assert challenge_of(example_source(PROVIDER), request, STORY_START_S) is None


@pytest.mark.parametrize("event_type", ["20", 1, None, "CREATE_ROOM", -20], ids="the type {!r}".format)
def test_callbacks_of_other_services_are_kept_as_unknown(event_type: Any) -> None:
    (event,) = normalised(PROVIDER, notice(eventType=event_type))
    assert isinstance(event, Unknown)
    assert event.payload == notice(eventType=event_type)


def test_a_callback_without_a_type_is_kept_as_unknown() -> None:
    assert PROVIDER.identify(Request(b'{"msgType":3}')).event_type == "unknown.none"


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
