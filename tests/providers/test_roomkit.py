"""What only RoomKit does."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any
from urllib.parse import parse_qs

import pytest
from multidict import CIMultiDict

from hookline.events import (
    ParticipantJoined,
    ParticipantLeft,
    RoomUpdated,
    SeatsChanged,
    Unknown,
)
from hookline.schemas.envelope import from_headers, moment, seal, to_headers
from hookline.schemas.errors import BadSignature, MissingSignature, Unreadable
from hookline.schemas.provider import AnySource, Request
from hookline.schemas.providers.roomkit import PROVIDER
from tests.providers.bodies import as_bytes, event_id, normalised
from tests.vector_cases import example_source, source_of

STORY_START_S = 1_700_000_000.0


def notice(command: str = "Room.CallbackAfterMemberEnter", **fields: Any) -> dict[str, Any]:
    members = {"RoomId": "r", "MemberList_Account": ["a"], "EventTime": 1700000000123}
    return {"CallbackCommand": command, "Operator_Account": "o"} | members | fields


def verify_query(query: str, source: AnySource | None = None) -> None:
    PROVIDER.verify(Request(b"{}", CIMultiDict(), query), source or example_source(PROVIDER), STORY_START_S)


def signed_query() -> str:
    return PROVIDER.sign(b"{}", example_source(PROVIDER), STORY_START_S).query


@pytest.mark.parametrize(
    "query",
    [
        *("%", "%ff", "SdkAppid=%ff", "=", "\udcff=1", "SdkAppid", "é", "%zz=%", ";"),
        pytest.param("&" * 1000, id="1,000 empty parameters"),
        pytest.param("a=1&" * 1000, id="1,000 parameters"),
    ],
)
def test_a_query_that_cannot_be_read_is_refused(query: str) -> None:
    with pytest.raises((BadSignature, MissingSignature)):
        verify_query(query)
    with pytest.raises((BadSignature, MissingSignature)):
        verify_query(query + "&" + signed_query().replace("Sign=", "Sign=0"))


def test_a_signed_query_with_very_many_parameters_is_refused() -> None:
    with pytest.raises(BadSignature):
        verify_query("x=1&" * 1000 + signed_query())


@pytest.mark.parametrize("parameter", ["x=%ff", "%c0%af=1", "GroupName=%B2%E2%CA%D4", "GroupName=\udcb2\udce2"])
def test_unused_parameters_may_be_in_another_encoding(parameter: str) -> None:
    verify_query(f"{parameter}&{signed_query()}")


@pytest.mark.parametrize("query", ["sdkappid=1400000000%ff", "SdkAppid=1400000000&Sign=%ff&RequestTime=1700000000"])
def test_parameters_that_are_compared_may_not(query: str) -> None:
    with pytest.raises(BadSignature):
        verify_query(query)


CALL = b'{"CallInfo":{"CallId":"c1"},"EventTime":1700000000123}'
KEPT = "SdkAppid=1400000000&CallbackCommand=Call.CallbackAfterStartCall&OptPlatform=RESTAPI"


def test_a_command_that_only_the_query_names_is_the_type_of_the_event() -> None:
    assert PROVIDER.keep_query is not None
    identity = PROVIDER.identify(Request(CALL, query=KEPT))
    assert identity.event_type == "unknown.call-callbackafterstartcall"
    envelope = seal(identity, CALL, provider="roomkit", source="x", content_type="", received_at=moment(0), query=KEPT)
    travelled = from_headers(to_headers(envelope), "", CALL)
    (event,) = PROVIDER.normalise(travelled)
    assert isinstance(event, Unknown)
    assert event.provider_type == "Call.CallbackAfterStartCall"


def test_the_command_of_the_body_goes_before_that_of_the_query() -> None:
    assert PROVIDER.keep_query is not None
    body = as_bytes(notice())
    assert PROVIDER.identify(Request(body, query=KEPT)) == PROVIDER.identify(Request(body))


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("", id="no query"),
        pytest.param("CallbackCommand=", id="an empty one"),
        pytest.param("CallbackCommand=a&callbackcommand=b", id="two"),
        pytest.param("CallbackCommand=" + "x" * 600, id="a very long one"),
    ],
)
def test_a_callback_without_one_command_is_unreadable(query: str) -> None:
    assert PROVIDER.keep_query is not None
    with pytest.raises(Unreadable):
        PROVIDER.identify(Request(CALL, query=query))


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        pytest.param(f"{KEPT}&Sign=abc&RequestTime=1700000000", KEPT, id="at the end"),
        pytest.param(f"S%69gn=abc&{KEPT}&requesttime=1&SIGN=def", KEPT, id="in other spellings"),
        pytest.param(f"{KEPT}&GroupName=%B2%E2", f"{KEPT}&GroupName=%B2%E2", id="with a name in GBK"),
        pytest.param(f"{KEPT}&GroupName=\udcb2", f"{KEPT}&GroupName=%B2", id="with a byte that is no text"),
    ],
)
def test_the_query_is_kept_without_its_signature(query: str, kept: str) -> None:
    assert PROVIDER.keep_query is not None
    assert PROVIDER.keep_query(query) == kept


def test_unused_parameters_may_have_any_value() -> None:
    verify_query("contenttype=&ClientIP=%00&&OptPlatform=%F0%9F%98%80&x&" + signed_query())


@pytest.mark.parametrize(
    "app",
    [
        "01400000000",
        "+1400000000",
        "1400000001",
        "1400000000.0",
        " 1400000000",
        "\uff11\uff14\uff10\uff10\uff10\uff10\uff10\uff10\uff10\uff10",
    ],
)
def test_another_application_is_refused(app: str) -> None:
    with pytest.raises(BadSignature):
        verify_query(signed_query().replace("SdkAppid=1400000000", f"SdkAppid={app}"))


def test_a_digit_moved_from_the_time_to_the_token_is_refused() -> None:
    query = parse_qs(signed_query())
    time = query["RequestTime"][0]
    source = example_source(PROVIDER, "an-example-secret" + time[:1])
    with pytest.raises(BadSignature):
        verify_query(f"SdkAppid=1400000000&Sign={query['Sign'][0]}&RequestTime={time[1:]}", source)


def source_with(secrets: list[str], **settings: Any) -> AnySource:
    return source_of(PROVIDER, {"sdk_app_id": 1400000000, "secrets": secrets, **settings})


def test_a_source_without_a_token_needs_the_setting_and_addresses() -> None:
    source = source_with([], insecure_no_signature=True)
    assert "allow_from" in (PROVIDER.fault(source) or "")
    assert PROVIDER.fault(replace(source, allow_from=(ip_network("203.0.113.0/24"),))) is None


def test_a_source_without_a_token_is_at_fault_even_with_addresses() -> None:
    source = source_with([], allow_from=["203.0.113.0/24"])
    assert "secrets" in (PROVIDER.fault(source) or "")


def test_a_source_with_a_token_contradicts_insecure_no_signature() -> None:
    source = source_with(["s" * 16], insecure_no_signature=True, allow_from=["203.0.113.0/24"])
    assert "insecure_no_signature" in (PROVIDER.fault(source) or "")


def test_a_source_at_fault_accepts_nothing_unsigned() -> None:
    for source in (source_with([]), source_with(["s" * 16], insecure_no_signature=True)):
        with pytest.raises((MissingSignature, BadSignature)):
            verify_query("SdkAppid=1400000000", source)


def test_several_members_become_several_events() -> None:
    events = normalised(PROVIDER, notice(MemberList_Account=["b", "a", 9007199254740993]))
    assert [event.user_id for event in events if isinstance(event, ParticipantJoined)] == ["9007199254740993", "a", "b"]


def test_a_member_named_twice_enters_once() -> None:
    (event,) = normalised(PROVIDER, notice(MemberList_Account=["a", "a"]))
    assert ":" not in event.id


@pytest.mark.parametrize("time", [1700000000123, None], ids=["with a time", "without a time"])
def test_an_empty_member_list_is_unreadable(time: int | None) -> None:
    with pytest.raises(Unreadable):
        PROVIDER.identify(Request(as_bytes(notice(MemberList_Account=[], EventTime=time))))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("Leave", "left"), ("Kicked", "removed"), ("Expired", "expired"), ("x", "unknown"), (None, "unknown")],
    ids=str,
)
def test_the_type_of_a_leave_becomes_its_reason(kind: str | None, reason: str) -> None:
    (event,) = normalised(PROVIDER, notice("Room.CallbackAfterMemberLeave", Type=kind))
    assert isinstance(event, ParticipantLeft)
    assert event.reason == reason


def test_a_leave_and_a_kick_in_one_millisecond_are_two_events() -> None:
    left, kicked = (notice("Room.CallbackAfterMemberLeave", Type=kind) for kind in ("Leave", "Kicked"))
    assert event_id(PROVIDER, left) != event_id(PROVIDER, kicked)


@pytest.mark.parametrize("member", ["", 0, None], ids="the member {!r}".format)
def test_a_seat_may_be_empty(member: Any) -> None:
    seats = [{"Index": 1, "Member_Account": member, "IsTakenDisabled": "true"}]
    (event,) = normalised(PROVIDER, notice("Mic.CallbackAfterSeatInfoChanged", SeatList=seats))
    assert isinstance(event, SeatsChanged)
    assert (event.seats[0].user_id, event.seats[0].taken_disabled) == (None, True)


def test_the_order_of_seats_does_not_change_the_event_id() -> None:
    seats = [{"Index": 1, "Member_Account": 5}, {"Index": 0, "Member_Account": "5"}]
    one, other = (
        notice("Mic.CallbackAfterSeatInfoChanged", SeatList=order)
        for order in (seats, [{"Index": 0, "Member_Account": 5}, seats[0]])
    )
    assert event_id(PROVIDER, one) == event_id(PROVIDER, other)


def test_different_updates_in_one_millisecond_are_different_events() -> None:
    one, other = (
        notice("Room.CallbackAfterUpdateRoomInfo", RoomInfo={"RoomId": "r", "MaxMemberCount": count})
        for count in (1, 2)
    )
    assert event_id(PROVIDER, one) != event_id(PROVIDER, other)


def test_an_update_keeps_text_that_only_looks_like_a_switch() -> None:
    info = {"RoomId": "r", "RoomName": "true", "IsAudioDisabled": "true", "New": [1]}
    (event,) = normalised(PROVIDER, notice("Room.CallbackAfterUpdateRoomInfo", RoomInfo=info))
    assert isinstance(event, RoomUpdated)
    assert event.changes == {"RoomName": "true", "IsAudioDisabled": True, "New": [1]}


@pytest.mark.parametrize("time", [None, 0, 5, "soon", {}, 2**63 - 1], ids=repr)
def test_without_a_possible_event_time_all_fields_are_facts(time: Any) -> None:
    one, other = (notice(EventTime=time, MemberCount=count) for count in (1, 2))
    assert event_id(PROVIDER, one) != event_id(PROVIDER, other)
