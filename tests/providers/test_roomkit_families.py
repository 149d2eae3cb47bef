"""Live rooms and calls at RoomKit's URL."""

from typing import Any

import pytest
from multidict import CIMultiDict

from hookline.events import CallAnswered, CallDeclined, CallEnded, ParticipantRoleChanged, RecordingUploaded, Unknown
from hookline.schemas.errors import BadSignature, MissingSignature, StaleTimestamp, Unreadable
from hookline.schemas.provider import Request
from hookline.schemas.providers.roomkit import PROVIDER
from tests.providers.bodies import as_bytes, event_id, normalised
from tests.vector_cases import example_source

NOW_S = 1_700_000_000.0
SOURCE = example_source(PROVIDER, "an-example-token")


def member(state: str = "Online", cause: str = "Enter", *who: Any, at: int = 1_700_000_000_100) -> dict[str, Any]:
    members = [{"Member_Account": account} for account in who or ("bo",)]
    command = {"CallbackCommand": "Live.CallbackAfterMemberStateChanged", "RoomId": "r", "EventTime": at}
    return {**command, "EventType": state, "EventCause": cause, "MemberList": members}


def changed(*actions: tuple[str, str], call: str = "c", at: int = 1_700_000_000_100) -> dict[str, Any]:
    users = [{"User_Account": user, "ActionType": action} for user, action in actions]
    command = {"CallbackCommand": "Call.CallbackAfterMemberChanged", "CallId": call, "EventTime": at}
    return {**command, "ChangedUserList": users}


def recorded(number: int, payload: Any, *, sent: int = 1_700_000_000_300, **info: Any) -> dict[str, Any]:
    about = {"RoomId": "r", "EventMsTs": 1_700_000_000_100, "TaskId": "t", "Payload": payload, **info}
    return {"EventGroupId": 3, "EventType": number, "CallbackTs": sent, "EventInfo": about}


def follow(number: int, payload: Any, **more: Any) -> dict[str, Any]:
    return {"CallbackCommand": "Follow.CallbackAfterCloudRecordingChanged", **recorded(number, payload, **more)}


def of_call(number: int, payload: Any, call: str = "c", **more: Any) -> dict[str, Any]:
    callback = {**recorded(number, payload, **more), "KitType": 2}
    return {"CallbackCommand": "Call.CallbackAfterRecordChanged", "CallId": call, "Callback": callback}


def test_another_body_with_a_genuine_query_verifies_because_only_the_time_is_signed() -> None:
    query = PROVIDER.sign(b"{}", SOURCE, NOW_S).query
    PROVIDER.verify(Request(as_bytes(member()), CIMultiDict(), query), SOURCE, NOW_S)
    PROVIDER.verify(Request(as_bytes(member("Offline")), CIMultiDict(), query), SOURCE, NOW_S)
    with pytest.raises(StaleTimestamp):
        PROVIDER.verify(Request(as_bytes(member()), CIMultiDict(), query), SOURCE, NOW_S + 3600)
    with pytest.raises(BadSignature):
        PROVIDER.verify(Request(b"{}", CIMultiDict(), query), example_source(PROVIDER, "another-token"), NOW_S)
    with pytest.raises(MissingSignature):
        PROVIDER.verify(Request(b"{}", CIMultiDict(), "SdkAppid=1400000000"), SOURCE, NOW_S)


SAME = {
    "members in another order": (member("Online", "Enter", "bo", "cy"), member("Online", "Enter", "cy", "bo")),
    "a member named twice": (member(), member("Online", "Enter", "bo", "bo")),
    "changes in another order": (
        changed(("bo", "Accept"), ("cy", "Reject")),
        changed(("cy", "Reject"), ("bo", "Accept")),
    ),
    "a recording sent later": (follow(301, {"Status": 0}), follow(301, {"Status": 0}, sent=1_700_000_010_000)),
    "what is kept as unknown, sent later": (follow(307, {}), follow(307, {}, sent=1_700_000_010_000)),
    "a call's recording sent later": (of_call(301, {}), of_call(301, {}, sent=1_700_000_010_000)),
    "a call's slice sent later": (of_call(307, {}), of_call(307, {}, sent=1_700_000_010_000)),
}
OTHERS = [
    member(),
    member("Online", "Enter", "cy"),
    member("Online", "Enter", "bo", "cy"),
    member("Online", "HeartbeatRecover"),
    member(at=1_700_000_000_101),
    member("Offline", "Leave"),
    member("Offline", "HeartbeatInterrupt"),
    changed(("bo", "Accept")),
    changed(("bo", "Reject")),
    changed(("cy", "Accept")),
    changed(("bo", "Accept"), call="d"),
    changed(("bo", "Accept"), at=1_700_000_000_101),
    follow(301, {"Status": 0}),
    follow(310, {"FileMessage": [{"FileName": "a"}]}),
    follow(310, {"FileMessage": [{"FileName": "b"}]}),
    of_call(301, {"Status": 0}),
    of_call(301, {"Status": 0}, call="d"),
]


@pytest.mark.parametrize(("first", "resent"), SAME.values(), ids=SAME)
def test_a_re_send_is_the_same_event(first: dict[str, Any], resent: dict[str, Any]) -> None:
    assert event_id(PROVIDER, first) == event_id(PROVIDER, resent)


def test_events_that_look_alike_have_ids_of_their_own() -> None:
    assert len({event_id(PROVIDER, event) for event in OTHERS}) == len(OTHERS)


@pytest.mark.parametrize("action", ["Accept", "Answer", "JOIN", " join "])
def test_an_answer_in_any_spelling(action: str) -> None:
    (event,) = normalised(PROVIDER, changed(("bo", action)))
    assert isinstance(event, CallAnswered)


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("Reject", "rejected"),
        ("NotAnswer", "timeout"),
        ("Not_Answer", "timeout"),
        ("Offline", "offline"),
        ("CallBusy", "busy"),
        ("Cancel_Invite", "cancelled"),
        ("Canncel_Invite", "cancelled"),
    ],
)
def test_a_refusal_in_any_spelling(action: str, reason: str) -> None:
    (event,) = normalised(PROVIDER, changed(("bo", action)))
    assert isinstance(event, CallDeclined)
    assert event.reason == reason


@pytest.mark.parametrize("action", ["Hangup", "Hang Up", "Invite", "Invited", "Teleport", ""])
def test_any_other_change_is_kept_whole(action: str) -> None:
    (event,) = normalised(PROVIDER, changed(("bo", action)))
    assert isinstance(event, Unknown)
    assert event.payload == changed(("bo", action))


def test_changes_of_several_kinds_are_several_events() -> None:
    events = normalised(PROVIDER, changed(("cy", "Reject"), ("bo", "Accept"), ("dd", "Hangup")))
    assert [type(event) for event in events] == [CallAnswered, CallDeclined]
    assert len({event.id for event in events}) == 2


def test_a_call_that_nobody_accepted_has_no_duration() -> None:
    record = {"CallId": "c", "StartTime": 1_700_000_000, "EndTime": 1_700_000_030, "AcceptTime": 0}
    body = {"CallbackCommand": "Call.CallbackAfterEndCall", "CallRecord": record, "EventTime": 1_700_000_030_000}
    (event,) = normalised(PROVIDER, body)
    assert isinstance(event, CallEnded)
    assert (event.answered_at, event.duration_s) == (None, None)


def test_a_removed_admin_was_one_before() -> None:
    body = {"CallbackCommand": "Live.CallbackAfterModifyAdmin", "RoomId": "r", "EventTime": 1_700_000_000_100}
    (event,) = normalised(PROVIDER, {**body, "Admin_Account": ["bo"], "opType": "delete"})
    assert isinstance(event, ParticipantRoleChanged)
    assert (event.role, event.role_name, event.previous_role_name) == (None, None, "admin")


def test_several_files_of_one_recording_have_ids_of_their_own() -> None:
    files = [{"FileName": "a"}, {"FileName": "b"}]
    for body in (follow(310, {"FileMessage": files}), of_call(310, {"FileMessage": files})):
        events = normalised(PROVIDER, body)
        assert [event.file_name for event in events if isinstance(event, RecordingUploaded)] == ["a", "b"]
        assert len({event.id for event in events}) == 2


def test_a_call_orders_its_events_and_its_recording() -> None:
    subjects = {
        PROVIDER.identify(Request(as_bytes(body))).subject for body in (changed(("b", "Join")), of_call(301, {}))
    }
    assert subjects == {"c"}


@pytest.mark.parametrize(
    "body",
    [{k: v for k, v in member().items() if k != "RoomId"}, {k: v for k, v in changed().items() if k != "CallId"}],
)
def test_an_event_without_its_room_or_call_is_unreadable(body: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        PROVIDER.identify(Request(as_bytes(body)))


@pytest.mark.parametrize("command", ["Live.CallbackBeforeSendGift", "Group.CallbackBeforeSendMsg"])
def test_a_callback_that_asks_for_a_decision_is_let_pass(command: str) -> None:
    (event,) = normalised(PROVIDER, {"CallbackCommand": command, "RoomId": "r"})
    assert isinstance(event, Unknown)
    assert b'"ErrorCode":0' in PROVIDER.reply.body
