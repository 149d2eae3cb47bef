"""The envelope and its form on the wire, which other people's programs read."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.schemas.envelope import (
    Identity,
    LastTime,
    OrderingFacts,
    event_id,
    from_headers,
    moment,
    occurrence,
    ordering_facts,
    seal,
    subject_of,
    to_headers,
)
from hookline.schemas.errors import Unreadable

often = settings(max_examples=150, deadline=None, derandomize=True, database=None)

BODY = b'{"a":1}'
RECEIVED = datetime(2023, 11, 14, 22, 13, 21, 5, tzinfo=UTC)
IDENTITY = Identity("participant.joined", (1, 103, "demo", "teacher", None), "demo", 1_700_000_000)
SEALED = seal(
    IDENTITY, BODY, provider="krtc", source="krtc-main", content_type="application/json", received_at=RECEIVED
)
TIMES = st.datetimes(
    timezones=st.just(UTC)
    | st.timezones()
    | st.builds(timezone, st.timedeltas(min_value=timedelta(hours=-23), max_value=timedelta(hours=23)))
)


def test_the_headers_are_those_that_other_programs_read() -> None:
    assert to_headers(SEALED) == {
        "cloudEvents_id": "1c77259a20316637f31cfb2a424c75df",
        "cloudEvents_source": "/hookline/krtc/krtc-main",
        "cloudEvents_type": "participant.joined",
        "cloudEvents_subject": "demo",
        "cloudEvents_time": "2023-11-14T22:13:20+00:00",
        "cloudEvents_specversion": "1.0",
        "hookline-received-at": "2023-11-14T22:13:21.000005+00:00",
    }


def test_an_event_without_a_subject_has_no_header_for_it() -> None:
    """An empty attribute is no valid CloudEvent. Messages of before have one, and are read in the same way."""
    without = msgspec.structs.replace(SEALED, subject="")
    headers = to_headers(without)
    assert [name for name, value in headers.items() if not value] == []
    assert headers.keys() == to_headers(SEALED).keys() - {"cloudEvents_subject"}
    for each in (headers, {**headers, "cloudEvents_subject": ""}):
        assert from_headers(each, "application/json", BODY) == without
        assert ordering_facts(each).ordered_by is None


def test_the_routing_key_is_the_topic_and_the_partition_of_the_subject() -> None:
    sealed = msgspec.structs.replace(SEALED, subject="云")
    assert sealed.routing_key == "krtc.krtc-main.participant.joined.p14"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ((), "6cd536685ffebd113fdabf7aad9f9309"),
        ((1, "1", None), "729e978125ba3f6f1aaab0b3022ca369"),
        (("云", 'a"b\\', -(2**63), 2**63 - 1), "be7ce0f06f8b6448ef46abbf4a187664"),
    ],
    ids=["no facts", "facts of each type", "other scripts and the largest numbers"],
)
def test_an_event_id_never_changes_between_versions(facts: tuple[str | int | None, ...], expected: str) -> None:
    assert event_id("krtc-main", "room.created", facts) == expected


@often
@given(occurred_at=TIMES, received_at=TIMES)
def test_times_are_sent_as_by_isoformat(occurred_at: datetime, received_at: datetime) -> None:
    headers = to_headers(msgspec.structs.replace(SEALED, occurred_at=occurred_at, received_at=received_at))
    times = (headers["cloudEvents_time"], headers["hookline-received-at"])
    assert times == (occurred_at.isoformat(), received_at.isoformat())


def test_a_time_that_is_asked_for_again_has_the_text_of_its_own_zone() -> None:
    last, utc = LastTime(), datetime(2026, 7, 30, 12, tzinfo=UTC)
    same_moment = utc.astimezone(timezone(timedelta(hours=8)))
    for time in (utc, utc, same_moment, same_moment, utc):
        assert last.iso_bytes(time).decode() == time.isoformat()


@often
@given(unix_s=st.integers() | st.floats(allow_nan=False))
def test_a_moment_is_clamped_to_four_digit_years(unix_s: float) -> None:
    assert 1970 <= moment(unix_s).year <= 9999


@pytest.mark.parametrize("later_s", [0, -1, -30 * 86400, 1, 3600], ids="{} s".format)
def test_an_event_occurs_at_the_time_that_the_provider_says(later_s: float) -> None:
    occurred_s = RECEIVED.timestamp() + later_s
    assert occurrence(occurred_s, RECEIVED) == moment(occurred_s)


@pytest.mark.parametrize(
    "occurred_s",
    [None, 0, -1, 1_420_070_399, 1_700_003_602, 1_700_000_000_123, 2**63, float("inf"), float("-inf"), float("nan")],
    ids="{} s".format,
)
def test_an_event_of_a_time_that_cannot_be_occurs_at_its_receipt(occurred_s: float | None) -> None:
    assert occurrence(occurred_s, RECEIVED) == RECEIVED


def test_an_envelope_without_a_time_of_the_provider_has_that_of_its_receipt() -> None:
    sealed = seal(
        Identity("room.created", ("1",), "demo"),
        BODY,
        provider="krtc",
        source="krtc-main",
        content_type="",
        received_at=RECEIVED,
    )
    assert sealed.occurred_at == sealed.received_at == RECEIVED


@often
@given(unix_s=st.integers(0, 253_402_300_799) | st.floats(0, 253_402_300_799))
def test_an_envelope_survives_its_round_trip_through_headers(unix_s: float) -> None:
    sealed = msgspec.structs.replace(SEALED, occurred_at=moment(unix_s), received_at=moment(unix_s / 2))
    assert from_headers(to_headers(sealed), sealed.content_type, sealed.body) == sealed


@pytest.mark.parametrize("name", sorted(to_headers(SEALED).keys() - {"cloudEvents_specversion", "cloudEvents_subject"}))
def test_a_message_that_lacks_a_header_is_no_envelope(name: str) -> None:
    headers = {other: value for other, value in to_headers(SEALED).items() if other != name}
    with pytest.raises(Unreadable):
        from_headers(headers, "application/json", BODY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("cloudEvents_source", "/hookline/krtc", id="source without its name"),
        pytest.param("cloudEvents_source", "/hookline/krtc/a/b", id="source with another word"),
        pytest.param("cloudEvents_source", 5, id="number as source"),
        pytest.param("cloudEvents_time", "yesterday", id="word as time"),
        pytest.param("cloudEvents_time", None, id="no time"),
        pytest.param("hookline-received-at", "", id="no time of receipt"),
    ],
)
def test_a_message_with_a_malformed_header_is_no_envelope(name: str, value: Any) -> None:
    with pytest.raises(Unreadable):
        from_headers({**to_headers(SEALED), name: value}, "application/json", BODY)


def test_an_event_without_a_subject_has_no_order() -> None:
    assert (SEALED.ordered_by, msgspec.structs.replace(SEALED, subject="").ordered_by) == ("krtc-main/demo", None)


def test_a_message_is_ordered_by_its_headers_alone() -> None:
    headers = to_headers(SEALED)
    assert ordering_facts(headers) == OrderingFacts(SEALED.id, SEALED.ordered_by, 1_700_000_000.0)
    assert subject_of(headers) == "demo"


@pytest.mark.parametrize(
    "time",
    [
        pytest.param("yesterday", id="a word"),
        pytest.param(None, id="nothing"),
        pytest.param(5, id="a number"),
        pytest.param("9999-12-31T23:59:59-23:00", id="after the last time"),
        pytest.param("0001-01-01T00:00:00+23:00", id="before the first time"),
    ],
)
def test_a_message_with_a_malformed_time_can_be_ordered(time: Any) -> None:
    assert isinstance(ordering_facts({**to_headers(SEALED), "cloudEvents_time": time}).occurred_s, float)


def test_a_message_that_is_no_envelope_has_no_order() -> None:
    assert (ordering_facts({}), subject_of({})) == (OrderingFacts("", None, 0.0), "")
