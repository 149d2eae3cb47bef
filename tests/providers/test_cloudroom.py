"""What only CloudRoom does."""

from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict

from hookline.schemas.errors import BadSignature, MalformedRequest, Unreadable
from hookline.schemas.provider import Request
from hookline.schemas.providers.cloudroom import PROVIDER
from tests.providers.bodies import as_bytes, event_id
from tests.vector_cases import example_source

STORY_START_S = 1_700_000_000.0


def notice(**fields: Any) -> dict[str, Any]:
    details = {"RoomId": 7, "UID": "u"}
    return {"EventType": "ROOM_JOIN", "Time": 1700000000, "Signature": "0" * 32, "Details": details} | fields


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"[]", b"null", b'"x"', b"{", b"\xff", pytest.param(b"[" * 100_000, id="100,000 brackets"), b"{}{}"],
    ids=repr,
)
def test_an_unreadable_body_is_a_malformed_request(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        PROVIDER.verify(Request(body, CIMultiDict()), example_source(PROVIDER), STORY_START_S)


def verify_at(time: Any) -> None:
    """Verify a body with the signature for the time 1700000000, and this time in it."""
    signed = PROVIDER.sign(as_bytes(notice()), example_source(PROVIDER), STORY_START_S).body
    body = as_bytes(msgspec.json.decode(signed) | {"Time": time})
    PROVIDER.verify(Request(body, CIMultiDict()), example_source(PROVIDER), STORY_START_S)


@pytest.mark.parametrize("time", [1700000000, "1700000000"], ids=["as a number", "in quotes"])
def test_the_time_is_ten_digits(time: Any) -> None:
    verify_at(time)


@pytest.mark.parametrize("time", [0, -1, 17000000001, 1700000000.0, True, [1700000000], 1700000000000], ids=repr)
def test_a_time_of_another_form_is_refused(time: Any) -> None:
    with pytest.raises(BadSignature):
        verify_at(time)


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
def test_another_text_for_the_time_is_refused(time: str) -> None:
    with pytest.raises(BadSignature):
        verify_at(time)


@pytest.mark.parametrize("body", [b"[]", b"", b"1", b"\xff"], ids=repr)
def test_only_a_json_object_can_be_signed(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        PROVIDER.sign(body, example_source(PROVIDER), STORY_START_S)


def test_signing_keeps_the_other_fields() -> None:
    body = PROVIDER.sign(b'{"EventType":"X","Details":{"RoomId":1}}', example_source(PROVIDER), 1700000000.9).body
    content = msgspec.json.decode(body)
    assert (content["EventType"], content["Details"], content["Time"]) == ("X", {"RoomId": 1}, 1700000000)


def test_a_second_join_one_second_later_is_another_event() -> None:
    assert event_id(PROVIDER, notice()) != event_id(PROVIDER, notice(Time=1700000001))


def test_a_join_without_a_user_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        PROVIDER.identify(Request(as_bytes(notice(Details={"RoomId": 7}))))


def test_path_and_file_name_are_separate_facts() -> None:
    one, other = (
        notice(EventType="RECORD_FINISH", Details={"RoomId": 7, "DirPath": path, "FileName": name})
        for path, name in (("/a", "b.mp4"), ("/", "ab.mp4"))
    )
    assert event_id(PROVIDER, one) != event_id(PROVIDER, other)
