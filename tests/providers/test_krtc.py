"""What only KRTC does."""

from typing import Any

import pytest

from hookline.events import (
    Unknown,
)
from hookline.schemas.errors import Unreadable
from hookline.schemas.providers.krtc import PROVIDER
from tests.providers.bodies import as_bytes, normalised


def krtc_body(number: Any, **payload: Any) -> dict[str, Any]:
    return {"eventType": number, "productId": 1, "payload": {"channelName": "r", "ts": 1700000000} | payload}


def test_a_participant_without_a_user_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        PROVIDER.identify(as_bytes(krtc_body(103)))


def test_a_room_event_needs_no_user() -> None:
    assert PROVIDER.identify(as_bytes(krtc_body(101))).subject == "r"


@pytest.mark.parametrize("number", [100, 107, "101", "x.#.*", -1], ids="the type {!r}".format)
def test_a_callback_of_unknown_type_is_kept_whole(number: Any) -> None:
    (event,) = normalised(PROVIDER, krtc_body(number))
    assert isinstance(event, Unknown)
    assert event.payload == krtc_body(number)


@pytest.mark.parametrize("ts", [-(2**63), 2**63 - 1, 1700000000123], ids="{} s".format)
def test_an_impossible_time_becomes_one_that_a_datetime_can_hold(ts: int) -> None:
    (event,) = normalised(PROVIDER, krtc_body(101, ts=ts))
    assert 1970 <= event.occurred_at.year <= 9999
