"""What is peculiar to one provider."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from multidict import CIMultiDict

from hookline.events import (
    CallStarted,
    Event,
    ParticipantJoined,
    ParticipantLeft,
    RecordingStarted,
    RoomCreated,
    RoomUpdated,
    SeatsChanged,
    Unknown,
)
from hookline.schemas.errors import BadSignature, MalformedRequest, MissingSignature, Unreadable
from hookline.schemas.provider import AnySource, Request
from hookline.schemas.providers import catalogue
from tests.vector_cases import example_source, seal_with, sent, source_of

STORY_START_S = 1_700_000_000.0


def normalised(name: str, body: Any) -> tuple[Event, ...]:
    """The events that a verified body becomes."""
    provider = catalogue()[name]
    return provider.normalise(seal_with(provider, _bytes(body)))


def event_id(name: str, body: Any) -> str:
    return seal_with(catalogue()[name], _bytes(body)).id


def _bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else msgspec.json.encode(body)


# CloudRoom


def cloudroom_body(**fields: Any) -> dict[str, Any]:
    details = {"RoomId": 7, "UID": "u"}
    return {"EventType": "ROOM_JOIN", "Time": 1700000000, "Signature": "0" * 32, "Details": details} | fields


@pytest.mark.parametrize("body", [b"", b" ", b"[]", b"null", b'"x"', b"{", b"\xff", b"[" * 100_000, b"{}{}"])
def test_cloudroom_without_a_readable_body_is_malformed(body: bytes) -> None:
    provider = catalogue()["cloudroom"]
    with pytest.raises(MalformedRequest):
        provider.verify(Request(body, CIMultiDict()), example_source(provider), STORY_START_S)


def cloudroom_verify_at(time: Any) -> None:
    """A body whose signature is right for the time 1700000000, with that time or another way to write it."""
    provider = catalogue()["cloudroom"]
    signed = provider.sign(_bytes(cloudroom_body()), example_source(provider), STORY_START_S).body
    body = _bytes(msgspec.json.decode(signed) | {"Time": time})
    provider.verify(Request(body, CIMultiDict()), example_source(provider), STORY_START_S)


@pytest.mark.parametrize("time", [1700000000, "1700000000"])
def test_cloudrooms_time_is_ten_digits(time: Any) -> None:
    cloudroom_verify_at(time)


@pytest.mark.parametrize("time", [0, -1, 17000000001, 1700000000.0, True, [1700000000], 1700000000000])
def test_cloudrooms_time_is_no_other_json(time: Any) -> None:
    with pytest.raises(BadSignature):
        cloudroom_verify_at(time)


@pytest.mark.parametrize(
    "time",
    [
        "\uff11\uff17" + 8 * "\uff10",
        "1700000000 ",
        " 1700000000",
        "+1700000000",
        "01700000000",
        "1_700_000_000",
        "1.7e9",
    ],
    ids=ascii,
)
def test_cloudrooms_time_is_no_other_text_of_the_same_number(time: str) -> None:
    with pytest.raises(BadSignature):
        cloudroom_verify_at(time)


@pytest.mark.parametrize("body", [b"[]", b"", b"1", b"\xff"])
def test_cloudroom_cannot_sign_what_is_no_object(body: bytes) -> None:
    provider = catalogue()["cloudroom"]
    with pytest.raises(ValueError, match=r".+"):
        provider.sign(body, example_source(provider), STORY_START_S)


def test_cloudrooms_signing_keeps_the_other_fields() -> None:
    provider = catalogue()["cloudroom"]
    body = provider.sign(b'{"EventType":"X","Details":{"RoomId":1}}', example_source(provider), 1700000000.9).body
    content = msgspec.json.decode(body)
    assert (content["EventType"], content["Details"], content["Time"]) == ("X", {"RoomId": 1}, 1700000000)


def test_cloudrooms_second_join_a_second_later_is_another_event() -> None:
    assert event_id("cloudroom", cloudroom_body()) != event_id("cloudroom", cloudroom_body(Time=1700000001))


def test_cloudrooms_join_without_a_user_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        catalogue()["cloudroom"].identify(_bytes(cloudroom_body(Details={"RoomId": 7})))


def test_cloudrooms_path_and_file_do_not_run_into_each_other() -> None:
    one, other = (
        cloudroom_body(EventType="RECORD_FINISH", Details={"RoomId": 7, "DirPath": path, "FileName": name})
        for path, name in (("/a", "b.mp4"), ("/", "ab.mp4"))
    )
    assert event_id("cloudroom", one) != event_id("cloudroom", other)


# RoomKit


def roomkit_body(command: str = "Room.CallbackAfterMemberEnter", **fields: Any) -> dict[str, Any]:
    members = {"RoomId": "r", "MemberList_Account": ["a"], "EventTime": 1700000000123}
    return {"CallbackCommand": command, "Operator_Account": "o"} | members | fields


def roomkit_verify(query: str, source: AnySource | None = None) -> None:
    provider = catalogue()["roomkit"]
    provider.verify(Request(b"{}", CIMultiDict(), query), source or example_source(provider), STORY_START_S)


def roomkit_query() -> str:
    provider = catalogue()["roomkit"]
    return provider.sign(b"{}", example_source(provider), STORY_START_S).query


@pytest.mark.parametrize(
    "query", ["%", "%ff", "SdkAppid=%ff", "&" * 1000, "a=1&" * 1000, "=", "\udcff=1", "SdkAppid", "é", "%zz=%", ";"]
)
def test_a_roomkit_query_that_cannot_be_read_is_refused(query: str) -> None:
    with pytest.raises((BadSignature, MissingSignature)):
        roomkit_verify(query)
    with pytest.raises((BadSignature, MissingSignature)):
        roomkit_verify(query + "&" + roomkit_query().replace("Sign=", "Sign=0"))


@pytest.mark.parametrize("before", ["x=%ff&", "%c0%af=1&", "x=1&" * 1000])
def test_a_signed_roomkit_query_with_hostile_parameters_is_refused(before: str) -> None:
    with pytest.raises(BadSignature):
        roomkit_verify(before + roomkit_query())


def test_roomkits_parameters_that_we_do_not_need_may_be_odd() -> None:
    roomkit_verify("contenttype=&ClientIP=%00&&OptPlatform=%F0%9F%98%80&x&" + roomkit_query())


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
def test_another_roomkit_application_is_refused(app: str) -> None:
    with pytest.raises(BadSignature):
        roomkit_verify(roomkit_query().replace("SdkAppid=1400000000", f"SdkAppid={app}"))


def test_roomkits_time_cannot_be_moved_into_the_token() -> None:
    query = parse_qs(roomkit_query())
    time = query["RequestTime"][0]
    source = example_source(catalogue()["roomkit"], "an-example-secret" + time[:1])
    with pytest.raises(BadSignature):
        roomkit_verify(f"SdkAppid=1400000000&Sign={query['Sign'][0]}&RequestTime={time[1:]}", source)


def roomkit_source(secrets: list[str], **settings: Any) -> AnySource:
    return source_of(catalogue()["roomkit"], {"sdk_app_id": 1400000000, "secrets": secrets, **settings})


def test_roomkit_without_a_token_needs_to_say_so_and_addresses() -> None:
    provider = catalogue()["roomkit"]
    source = roomkit_source([], insecure_no_signature=True)
    assert "allow_from" in (provider.fault(source) or "")
    assert provider.fault(replace(source, allow_from=(ip_network("203.0.113.0/24"),))) is None


def test_roomkit_without_a_token_is_at_fault_even_with_addresses() -> None:
    source = roomkit_source([], allow_from=["203.0.113.0/24"])
    assert "secrets" in (catalogue()["roomkit"].fault(source) or "")


def test_roomkit_with_a_token_must_not_say_that_there_is_none() -> None:
    source = roomkit_source(["s" * 16], insecure_no_signature=True, allow_from=["203.0.113.0/24"])
    assert "insecure_no_signature" in (catalogue()["roomkit"].fault(source) or "")


def test_a_roomkit_source_at_fault_lets_nothing_unsigned_in() -> None:
    for source in (roomkit_source([]), roomkit_source(["s" * 16], insecure_no_signature=True)):
        with pytest.raises((MissingSignature, BadSignature)):
            roomkit_verify("SdkAppid=1400000000", source)


def test_several_members_of_roomkit_become_several_events() -> None:
    events = normalised("roomkit", roomkit_body(MemberList_Account=["b", "a", 9007199254740993]))
    assert [event.user_id for event in events if isinstance(event, ParticipantJoined)] == ["9007199254740993", "a", "b"]


def test_a_member_that_roomkit_names_twice_enters_once() -> None:
    (event,) = normalised("roomkit", roomkit_body(MemberList_Account=["a", "a"]))
    assert ":" not in event.id


@pytest.mark.parametrize("time", [1700000000123, None])
def test_a_roomkit_member_list_without_members_is_unreadable(time: int | None) -> None:
    with pytest.raises(Unreadable):
        catalogue()["roomkit"].identify(_bytes(roomkit_body(MemberList_Account=[], EventTime=time)))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("Leave", "left"), ("Kicked", "removed"), ("Expired", "expired"), ("x", "unknown"), (None, "unknown")],
)
def test_roomkit_says_why_somebody_left(kind: str | None, reason: str) -> None:
    (event,) = normalised("roomkit", roomkit_body("Room.CallbackAfterMemberLeave", Type=kind))
    assert isinstance(event, ParticipantLeft)
    assert event.reason == reason


def test_roomkits_leave_and_kick_in_one_millisecond_are_two_events() -> None:
    left, kicked = (roomkit_body("Room.CallbackAfterMemberLeave", Type=kind) for kind in ("Leave", "Kicked"))
    assert event_id("roomkit", left) != event_id("roomkit", kicked)


@pytest.mark.parametrize("nobody", ["", 0, None])
def test_a_roomkit_seat_may_be_empty(nobody: Any) -> None:
    seats = [{"Index": 1, "Member_Account": nobody, "IsTakenDisabled": "true"}]
    (event,) = normalised("roomkit", roomkit_body("Mic.CallbackAfterSeatInfoChanged", SeatList=seats))
    assert isinstance(event, SeatsChanged)
    assert (event.seats[0].user_id, event.seats[0].taken_disabled) == (None, True)


def test_roomkits_seats_are_the_same_in_any_order() -> None:
    seats = [{"Index": 1, "Member_Account": 5}, {"Index": 0, "Member_Account": "5"}]
    one, other = (
        roomkit_body("Mic.CallbackAfterSeatInfoChanged", SeatList=order)
        for order in (seats, [{"Index": 0, "Member_Account": 5}, seats[0]])
    )
    assert event_id("roomkit", one) == event_id("roomkit", other)


def test_roomkits_updates_in_one_millisecond_are_different_events() -> None:
    one, other = (
        roomkit_body("Room.CallbackAfterUpdateRoomInfo", RoomInfo={"RoomId": "r", "MaxMemberCount": count})
        for count in (1, 2)
    )
    assert event_id("roomkit", one) != event_id("roomkit", other)


def test_roomkits_update_keeps_text_that_only_looks_like_a_switch() -> None:
    info = {"RoomId": "r", "RoomName": "true", "IsAudioDisabled": "true", "New": [1]}
    (event,) = normalised("roomkit", roomkit_body("Room.CallbackAfterUpdateRoomInfo", RoomInfo=info))
    assert isinstance(event, RoomUpdated)
    assert event.changes == {"RoomName": "true", "IsAudioDisabled": True, "New": [1]}


def test_roomkit_without_an_event_time_tells_events_apart_by_all_they_say() -> None:
    one, other = (roomkit_body(EventTime=None, MemberCount=count) for count in (1, 2))
    assert event_id("roomkit", one) != event_id("roomkit", other)


# NetEase


def netease_body(**fields: Any) -> dict[str, Any]:
    return {"eventType": 20, "fromAccount": "a", "timestamp": "1700000000123", "toAccountList": ["b", "c"]} | fields


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a":1}', b"{}{}", b"{ }", b"null"])
def test_netease_checks_urls_with_an_empty_object_only(body: bytes) -> None:
    provider = catalogue()["netease"]
    request = sent(provider.sign(body, example_source(provider), STORY_START_S))
    assert provider.challenge(request, example_source(provider), STORY_START_S) is None


@pytest.mark.parametrize(
    "own",
    [{"eventType": "20"}, {"eventType": 1}, {"eventType": None}, {"eventType": "CREATE_ROOM"}, {"eventType": -20}],
)
def test_neteases_other_services_are_kept_as_unknown(own: dict[str, Any]) -> None:
    (event,) = normalised("netease", netease_body(**own))
    assert isinstance(event, Unknown)
    assert event.payload == netease_body(**own)


def test_a_netease_callback_of_no_type_is_kept_as_unknown() -> None:
    assert catalogue()["netease"].identify(b'{"msgType":3}').event_type == "unknown.none"


def test_neteases_callees_in_another_order_are_the_same_call() -> None:
    assert event_id("netease", netease_body()) == event_id("netease", netease_body(toAccountList=["c", "b"]))


@pytest.mark.parametrize(("number", "media"), [(1, "audio"), (2, "video"), (3, None), (None, None)])
def test_netease_says_whether_a_call_has_video(number: int | None, media: str | None) -> None:
    (event,) = normalised("netease", netease_body(callType=number))
    assert isinstance(event, CallStarted)
    assert event.media == media


@pytest.mark.parametrize("time", ["1e3", "-1", " 1", "1\n", "\uff11", "", "9" * 19, 2**63])
def test_a_netease_time_that_is_no_number_is_unreadable(time: Any) -> None:
    with pytest.raises(Unreadable):
        catalogue()["netease"].identify(_bytes(netease_body(timestamp=time)))


def test_neteases_room_has_an_operator_and_custom_text_where_there_is_some() -> None:
    body = netease_body(eventType=21, channelName="room", selfConfig="x")
    (event,) = normalised("netease", body)
    assert isinstance(event, RoomCreated)
    assert (event.room_id, event.owner_id, event.operator_id, event.custom) == ("room", None, "a", "x")


def test_a_netease_header_of_another_application_is_refused() -> None:
    provider = catalogue()["netease"]
    source = example_source(provider)
    request = sent(provider.sign(b"{}", source, STORY_START_S))
    headers = CIMultiDict({**provider.sign(b"{}", source, STORY_START_S).headers, "AppKey": "example-app-keY"})
    with pytest.raises(BadSignature):
        provider.verify(msgspec.structs.replace(request, headers=headers), source, STORY_START_S)


# GME


def gme_body(**fields: Any) -> Any:
    return catalogue()["gme"].samples[0].body(1, STORY_START_S) | fields


def test_gmes_task_beyond_2_to_the_53_stays_exact() -> None:
    (event,) = normalised("gme", gme_body(TaskID=2**53 + 1))
    assert isinstance(event, RecordingStarted)
    assert event.task_id == "9007199254740993"


@pytest.mark.parametrize(
    ("path", "directory", "name"),
    [("a/b/c.mp3", "a/b", "c.mp3"), ("c.mp3", None, "c.mp3"), ("/c.mp3", "", "c.mp3"), ("a/", "a", ""), ("", None, "")],
)
def test_gmes_file_name_is_split_into_directory_and_file(path: str, directory: str | None, name: str) -> None:
    (event,) = normalised("gme", gme_body(Detail={"SeqNo": 0, "FileName": path}))
    assert isinstance(event, RecordingStarted)
    assert (event.directory, event.file_name) == (directory, name)


@pytest.mark.parametrize(("mode", "mixed"), [(0, False), (1, True), (2, None), (None, None)])
def test_gme_says_whether_a_recording_is_mixed(mode: int | None, mixed: bool | None) -> None:  # noqa: FBT001 - a case
    (event,) = normalised("gme", gme_body(RecordMode=mode))
    assert isinstance(event, RecordingStarted)
    assert event.mixed == mixed


@pytest.mark.parametrize(
    "other",
    [{"TaskID": 5}, {"UserID": "1"}, {"BizID": 5}, {"EventType": 2}, {"Detail": {"SeqNo": 1}}, {"Detail": {}}],
    ids=str,
)
def test_gmes_recordings_differ_by_each_of_their_facts(other: dict[str, Any]) -> None:
    assert event_id("gme", gme_body()) != event_id("gme", gme_body(**other))


def test_gmes_sending_time_is_no_fact_of_an_unknown_type() -> None:
    assert event_id("gme", gme_body(EventType=9)) == event_id("gme", gme_body(EventType=9, Timestamp=5))


# KRTC


def krtc_body(number: Any, **payload: Any) -> dict[str, Any]:
    return {"eventType": number, "productId": 1, "payload": {"channelName": "r", "ts": 1700000000} | payload}


def test_krtcs_participant_without_a_user_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        catalogue()["krtc"].identify(_bytes(krtc_body(103)))


def test_krtcs_room_needs_no_user() -> None:
    assert catalogue()["krtc"].identify(_bytes(krtc_body(101))).subject == "r"


@pytest.mark.parametrize("number", [100, 107, "101", "x.#.*", -1])
def test_a_krtc_type_that_we_do_not_know_is_kept(number: Any) -> None:
    (event,) = normalised("krtc", krtc_body(number))
    assert isinstance(event, Unknown)
    assert event.payload == krtc_body(number)


@pytest.mark.parametrize("ts", [-(2**63), 2**63 - 1, 1700000000123])
def test_krtcs_time_may_be_out_of_this_world(ts: int) -> None:
    (event,) = normalised("krtc", krtc_body(101, ts=ts))
    assert 1970 <= event.occurred_at.year <= 9999
