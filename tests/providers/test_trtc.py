"""What only Tencent TRTC does."""

import hashlib
import hmac
from base64 import b64encode
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from multidict import CIMultiDict

from hookline.events import (
    ParticipantJoined,
    ParticipantLeft,
    RecordingFailed,
    RecordingUploaded,
    StreamStarted,
    Unknown,
)
from hookline.schemas.envelope import moment
from hookline.schemas.errors import BadSignature, MissingSignature, Unreadable
from hookline.schemas.event_redaction import Redaction
from hookline.schemas.provider import Request
from hookline.schemas.providers.trtc import PROVIDER
from tests.providers.bodies import as_bytes, event_id, normalised
from tests.vector_cases import seal_with, source_of

KEY = "123654"
PUBLISHED = (
    b'{\n\t"EventGroupId":\t2,\n\t"EventType":\t204,\n\t"CallbackTs":\t1664209748188,\n\t"EventInfo":\t{\n'
    b'\t\t"RoomId":\t8489,\n\t\t"EventTs":\t1664209748,\n\t\t"EventMsTs":\t1664209748180,\n'
    b'\t\t"UserId":\t"user_85034614",\n\t\t"Reason":\t0\n\t}\n}'
)
PUBLISHED_SIGN = "kkoFeO3Oh2ZHnjtg8tEAQhtXK16/KI05W3BQff8IvGA="


def sign(body: bytes, key: str = KEY) -> str:
    return b64encode(hmac.new(key.encode(), body, hashlib.sha256).digest()).decode()


def verify(body: bytes, signature: str | None, *secrets: str, app: str | None = "1400", now_s: float = 1.7e9) -> None:
    sent = {"Sign": signature, "SdkAppId": app}
    headers = CIMultiDict({name: value for name, value in sent.items() if value is not None})
    source = source_of(PROVIDER, {"sdk_app_id": 1400, "secrets": secrets or (KEY,)})
    PROVIDER.verify(Request(body, headers), source, now_s)


def test_the_published_signature_verifies() -> None:
    verify(PUBLISHED, PUBLISHED_SIGN)
    (event,) = normalised(PROVIDER, PUBLISHED)
    assert event.occurred_at == moment(1664209748.180)


def test_any_of_several_keys_verifies() -> None:
    verify(PUBLISHED, PUBLISHED_SIGN, "another-key", KEY)
    verify(PUBLISHED, sign(PUBLISHED, "another-key"), "another-key", KEY)


def test_another_key_another_body_and_another_application_are_refused() -> None:
    for body, signature, app in (
        (PUBLISHED, sign(PUBLISHED, "another-key"), "1400"),
        (PUBLISHED.replace(b"\t", b" "), PUBLISHED_SIGN, "1400"),
        (PUBLISHED.replace(b"8489", b"8488"), PUBLISHED_SIGN, "1400"),
        (PUBLISHED, PUBLISHED_SIGN, "1401"),
    ):
        with pytest.raises(BadSignature):
            verify(body, signature, app=app)


def test_a_missing_header_is_refused() -> None:
    with pytest.raises(MissingSignature):
        verify(PUBLISHED, None)
    with pytest.raises(MissingSignature):
        verify(PUBLISHED, PUBLISHED_SIGN, app=None)


def test_no_time_is_checked_so_an_old_callback_verifies() -> None:
    verify(PUBLISHED, PUBLISHED_SIGN, now_s=1_664_209_748 + 3600)


def test_a_console_without_a_key_needs_addresses() -> None:
    settings = {"sdk_app_id": 1400, "secrets": (), "insecure_no_signature": True}
    source = source_of(PROVIDER, settings)
    assert "allow_from" in (PROVIDER.fault(source) or "")
    allowed = replace(source, allow_from=(ip_network("203.0.113.0/24"),))
    assert PROVIDER.fault(allowed) is None
    PROVIDER.verify(Request(PUBLISHED, CIMultiDict(SdkAppId="1400")), allowed, 0)
    with pytest.raises(BadSignature):
        PROVIDER.verify(Request(PUBLISHED, CIMultiDict(SdkAppId="1401")), allowed, 0)


def body(number: Any, payload: Any = None, /, *, sent: int = 1_700_000_000_300, **info: Any) -> dict[str, Any]:
    about = {"RoomId": "r", "EventTs": 1_700_000_000, "EventMsTs": 1_700_000_000_100, "UserId": "ann", **info}
    more = {} if payload is None else {"Payload": payload}
    return {"EventGroupId": int(number) // 100, "EventType": number, "CallbackTs": sent, "EventInfo": {**about, **more}}


ENTER = body(103, Role=20)
SAME = {
    "ten seconds later": body(103, Role=20, sent=1_700_000_010_300),
    "the room as another type": body(103, Role=20, RoomId="r"),
    "a type in quotes": body("103", Role=20),
    "a field that was added": body(103, Role=20, New=1),
    "another order": dict(reversed(ENTER.items())),
}
OTHERS = {
    "a second user in one second": body(103, Role=20, UserId="bo"),
    "a quick re-entry": body(103, Role=20, EventMsTs=1_700_000_000_900),
    "another room": body(103, Role=20, RoomId="q"),
    "the exit": body(104, Role=20),
    "a change of role": body(105, Role=20),
    "a track": body(201),
}


@pytest.mark.parametrize("resent", SAME.values(), ids=SAME)
def test_a_re_send_is_the_same_event(resent: dict[str, Any]) -> None:
    assert event_id(PROVIDER, resent) == event_id(PROVIDER, ENTER)


def test_a_room_named_by_a_number_or_a_text_is_one_room() -> None:
    assert event_id(PROVIDER, body(103, RoomId=7)) == event_id(PROVIDER, body(103, RoomId="7"))


def test_events_that_look_alike_have_ids_of_their_own() -> None:
    events = [ENTER, *OTHERS.values()]
    assert len({event_id(PROVIDER, event) for event in events}) == len(events)


def test_several_files_of_one_task_have_ids_of_their_own() -> None:
    files = [{"FileName": "a", "MediaId": "main"}, {"FileName": "b", "MediaId": "aux"}]
    events = normalised(PROVIDER, body(310, {"Status": 0, "FileMessage": files}, TaskId="t"))
    names = [(event.file_name, event.track) for event in events if isinstance(event, RecordingUploaded)]
    assert names == [("a", None), ("b", "screen")]
    others = [
        body(310, {"Status": 0, "FileMessage": [{"FileName": "c"}]}, TaskId="t"),
        body(310, {"Status": 0, "FileList": ["d"]}, TaskId="t"),
        body(311, {"Status": 0, "TencentVod": {"FileId": "1"}}, TaskId="t"),
        body(311, {"Status": 0, "TencentVod": {"FileId": "2"}}, TaskId="t"),
        body(311, {"Status": 0, "FileId": 3}, TaskId="t"),
    ]
    assert len({*(event.id for event in events), *(event_id(PROVIDER, other) for other in others)}) == 7


def test_a_file_that_waited_and_then_failed_is_two_events() -> None:
    waits, failed = (body(311, {"Status": status, "TencentVod": {"FileId": "1"}}, TaskId="t") for status in (1, 2))
    assert event_id(PROVIDER, waits) != event_id(PROVIDER, failed)
    (unknown,), (event,) = normalised(PROVIDER, waits), normalised(PROVIDER, failed)
    assert isinstance(unknown, Unknown)
    assert isinstance(event, RecordingFailed)


def test_without_a_time_all_fields_but_the_sending_time_tell_events_apart() -> None:
    timeless: dict[str, Any] = {"EventTs": None, "EventMsTs": None}
    first = event_id(PROVIDER, body(103, **timeless))
    assert first == event_id(PROVIDER, body(103, sent=1_700_000_060_000, **timeless))
    assert first != event_id(PROVIDER, body(103, Reason=2, **timeless))


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (1, "left"),
        (2, "disconnected"),
        (3, "removed"),
        (4, "left"),
        (5, "disconnected"),
        (6, "unknown"),
        (None, "unknown"),
    ],
)
def test_the_reason_of_an_exit(reason: int | None, expected: str) -> None:
    (event,) = normalised(PROVIDER, body(104, Reason=reason))
    assert isinstance(event, ParticipantLeft)
    assert event.reason == expected


@pytest.mark.parametrize(("reason", "rejoined"), [(1, None), (2, True), (3, True), (4, None), (None, None)])
def test_a_re_entry_is_marked(reason: int | None, rejoined: bool | None) -> None:  # noqa: FBT001  a parameter
    (event,) = normalised(PROVIDER, body(103, Reason=reason))
    assert isinstance(event, ParticipantJoined)
    assert event.rejoined is rejoined


def test_the_robot_of_a_recording_is_not_its_user() -> None:
    (event,) = normalised(PROVIDER, body(305, {"LeaveCode": 0}, TaskId="t", UserId="robot"))
    assert isinstance(event, RecordingUploaded)
    assert event.user_id is None


def test_the_recording_of_a_page_is_ordered_by_its_task() -> None:
    page = body(801, {"Status": 1}, TaskId="t", RoomId=None, UserId=None)
    assert seal_with(PROVIDER, as_bytes(page)).subject == "t"


@pytest.mark.parametrize(
    ("number", "part"),
    [(101, "RoomId"), (103, "UserId"), (203, "UserId"), (301, "TaskId"), (401, "TaskId"), (801, "TaskId")],
)
def test_an_event_without_its_room_user_or_task_is_unreadable(number: int, part: str) -> None:
    missing: dict[str, Any] = {part: None}
    with pytest.raises(Unreadable, match=part):
        PROVIDER.identify(Request(as_bytes(body(number, {"Status": 1}, **missing))))


def test_no_key_of_a_stream_is_kept() -> None:
    url = {"Url": "rtmp://live.example.com/app/hush?auth=hush", "Status": 2}
    events = normalised(PROVIDER, body(401, url, TaskId="t")) + normalised(PROVIDER, body(499, url, TaskId="t"))
    kept = Redaction(PROVIDER, keep_urls=False)(events)
    assert isinstance(kept[0], StreamStarted)
    assert kept[0].url == "rtmp://live.example.com/app"
    assert "hush" not in str(kept)
