"""What only Volcengine does."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from hookline.schemas.errors import BadSignature, MissingSignature, StaleTimestamp
from hookline.schemas.provider import AnySource, Request
from hookline.schemas.providers.volcengine import PROVIDER, Account
from tests.providers.bodies import event_id, normalised
from tests.vector_cases import example_source

NOW_S = 1_700_000_000.0
APP_ID = "example-app-id"


def notice(**fields: Any) -> dict[str, Any]:
    return {
        "EventType": "UserJoinRoom",
        "EventData": '{"RoomId":"room","UserId":"ann"}',
        "EventTime": "2023-11-14T22:13:20Z",
        "EventId": "e1",
        "AppId": APP_ID,
        "Version": "2020-12-01",
        "Nonce": "4821",
    } | fields


def source(**settings: Any) -> AnySource:
    return replace(example_source(PROVIDER), account=Account(app_id=APP_ID, **settings))


def signed(by: AnySource, **fields: Any) -> Request:
    return Request(PROVIDER.sign(msgspec.json.encode(notice(**fields)), by, NOW_S).body)


def changed(request: Request, **fields: Any) -> Request:
    return Request(msgspec.json.encode({**msgspec.json.decode(request.body), **fields}))


@pytest.mark.parametrize("recipe", ["with_event_id", "without_event_id"])
def test_both_recipes_are_accepted_and_one_that_is_named_alone(recipe: Any) -> None:
    other = {"with_event_id": "without_event_id", "without_event_id": "with_event_id"}[recipe]
    request = signed(source(recipe=recipe))
    PROVIDER.verify(request, source(), NOW_S)
    PROVIDER.verify(request, source(recipe=recipe), NOW_S)
    with pytest.raises(BadSignature):
        PROVIDER.verify(request, source(recipe=other), NOW_S)


@pytest.mark.parametrize("name", ["EventType", "EventData", "EventTime", "EventId", "AppId", "Version", "Nonce"])
def test_a_changed_field_is_refused(name: str) -> None:
    request = signed(source())
    with pytest.raises(BadSignature):
        PROVIDER.verify(changed(request, **{name: notice()[name] + "1"}), source(), NOW_S)


@pytest.mark.parametrize("name", ["EventType", "EventData", "EventTime", "EventId", "AppId", "Version", "Nonce"])
def test_a_field_without_a_value_is_refused(name: str) -> None:
    with pytest.raises(MissingSignature):
        PROVIDER.verify(changed(signed(source()), **{name: None}), source(), NOW_S)


@pytest.mark.parametrize("later_s", [0, 3600, 10**8])
def test_the_age_does_not_matter_unless_it_is_checked(later_s: float) -> None:
    PROVIDER.verify(signed(source()), source(), NOW_S + later_s)


@pytest.mark.parametrize("later_s", [-3600, 3600])
def test_an_age_beyond_the_tolerance_is_refused_where_it_is_checked(later_s: float) -> None:
    checking = source(check_time=True)
    PROVIDER.verify(signed(checking), checking, NOW_S)
    with pytest.raises(StaleTimestamp):
        PROVIDER.verify(signed(checking), checking, NOW_S + later_s)


def test_a_time_that_cannot_be_read_is_refused_where_it_is_checked() -> None:
    checking = source(check_time=True)
    with pytest.raises(BadSignature):
        PROVIDER.verify(signed(checking, EventTime="soon"), checking, NOW_S)


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ({"Nonce": "1234", "EventTime": "2023-11-14T22:13:25Z"}, True),
        ({"EventId": "e2"}, False),
        ({"AppId": "another"}, False),
    ],
    ids=str,
)
def test_the_event_id_tells_repeats_from_other_events(fields: dict[str, str], *, same: bool) -> None:
    assert (event_id(PROVIDER, notice()) == event_id(PROVIDER, notice(**fields))) is same


@pytest.mark.parametrize(
    ("code", "topic"), [(0, "started"), (1, "failed"), (None, "started"), ("1", "failed")], ids=str
)
def test_the_code_says_whether_a_recording_started(code: Any, topic: str) -> None:
    data = msgspec.json.encode({"RoomId": "room", "TaskId": "t", "Code": code}).decode()
    (event,) = normalised(PROVIDER, notice(EventType="RecordStarted", EventData=data))
    assert event.__struct_config__.tag == f"recording.{topic}"
