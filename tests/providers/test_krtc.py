"""What only KRTC does."""

from typing import Any

import pytest

from hookline.events import RoomCreated, Unknown
from hookline.schemas.envelope import moment
from hookline.schemas.errors import Unreadable
from hookline.schemas.provider import Request
from hookline.schemas.providers.krtc import PROVIDER
from tests.providers.bodies import as_bytes, event_id, normalised


def krtc_body(number: Any, **payload: Any) -> dict[str, Any]:
    return {"eventType": number, "productId": 1, "payload": {"channelName": "r", "ts": 1700000000} | payload}


def test_a_participant_without_a_user_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        PROVIDER.identify(Request(as_bytes(krtc_body(103))))


def test_a_room_event_needs_no_user() -> None:
    assert PROVIDER.identify(Request(as_bytes(krtc_body(101)))).subject == "r"


@pytest.mark.parametrize("number", [100, 107, "x.#.*", -1, "0101", "107"], ids="the type {!r}".format)
def test_a_callback_of_unknown_type_is_kept_whole(number: Any) -> None:
    (event,) = normalised(PROVIDER, krtc_body(number))
    assert isinstance(event, Unknown)
    assert event.payload == krtc_body(number)


def test_a_type_in_quotes_is_the_same_type() -> None:
    assert event_id(PROVIDER, krtc_body("101")) == event_id(PROVIDER, krtc_body(101))


@pytest.mark.parametrize("product", ["2", 2, 2.0], ids=repr)
def test_another_product_has_types_of_its_own(product: Any) -> None:
    (event,) = normalised(PROVIDER, krtc_body(101) | {"productId": product})
    assert isinstance(event, Unknown)


@pytest.mark.parametrize("product", [None, "1", 1.0, "", [], {}, True], ids=repr)
def test_a_product_that_cannot_be_read_is_real_time_communication(product: Any) -> None:
    (event,) = normalised(PROVIDER, krtc_body(101) | {"productId": product})
    assert isinstance(event, RoomCreated)


@pytest.mark.parametrize("ts", [-(2**63), 2**63 - 1, 0, 5, 253402300799, None], ids="{} s".format)
def test_without_a_possible_time_the_sending_time_counts(ts: int | None) -> None:
    (event,) = normalised(PROVIDER, krtc_body(101, ts=ts) | {"notifyMs": 1699999990123})
    assert event.occurred_at == moment(1699999990.123)


def test_without_any_time_that_of_the_receipt_counts() -> None:
    (event,) = normalised(PROVIDER, krtc_body(101, ts=None))
    assert event.occurred_at == event.received_at


def timeless(**fields: Any) -> str:
    return event_id(PROVIDER, krtc_body(103, uid="u", ts=None) | fields)


def test_a_second_visit_without_a_time_differs_by_its_notice_id() -> None:
    assert timeless(noticeId="1") != timeless(noticeId="2")


def test_a_re_send_without_a_time_differs_by_its_sending_time_only_without_a_notice_id() -> None:
    assert timeless(noticeId="1", notifyMs=1) == timeless(noticeId="1", notifyMs=2)
    assert timeless(notifyMs=1) != timeless(notifyMs=2)


def joined(**payload: Any) -> str:
    return event_id(PROVIDER, krtc_body(103, uid="u", **payload))


def test_two_joins_in_one_second_differ_by_their_sequence() -> None:
    assert len({joined(clientSeq=0), joined(clientSeq=1), joined(clientSeq=2)}) == 3


@pytest.mark.parametrize("nothing", [None, "0", 0.0, "x", [], {}], ids=repr)
def test_a_sequence_of_zero_is_none(nothing: Any) -> None:
    assert joined(clientSeq=nothing) == joined(clientSeq=0) == joined()
