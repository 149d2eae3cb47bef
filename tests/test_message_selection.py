"""Dead letters and pending retries are selected by filters, and shown without harm to the terminal."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from hookline.cli.message_output import content, dead_page, dead_row
from hookline.cli.message_selection import MessageFilter, Selection
from hookline.schemas.dead_letters import Action, DeadLetter
from hookline.schemas.envelope import RECEIVED_AT_HEADER, to_headers
from tests.contract.installations import envelope

HOSTILE = "a\x1b[2J\nb\r\u202ec"
SEALED = envelope(number=1)
FOREIGN = DeadLetter({"who": "knows"}, "", b"\xff", "broker")


def dead_letter(reason: str = "failed", **fields: Any) -> DeadLetter:
    return DeadLetter(to_headers(SEALED), "application/json", SEALED.body, reason, **fields)


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(MessageFilter(), id="no filter"),
        pytest.param(
            MessageFilter(provider="krtc", source="main", subject="room-1", reason="failed"), id="several filters"
        ),
        pytest.param(MessageFilter(topic="*.*.room.#"), id="a topic pattern"),
        pytest.param(MessageFilter(ids=frozenset({SEALED.id, "another"})), id="one of two ids"),
        pytest.param(MessageFilter(since=SEALED.received_at, until=SEALED.received_at), id="the very moment"),
    ],
)
def test_a_dead_letter_that_meets_all_filters_matches(chosen: MessageFilter) -> None:
    assert chosen.matches(dead_letter())


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(MessageFilter(provider="gme"), id="another provider"),
        pytest.param(MessageFilter(source="other"), id="another source"),
        pytest.param(MessageFilter(subject="room"), id="part of the subject"),
        pytest.param(MessageFilter(reason="timeout"), id="another reason"),
        pytest.param(MessageFilter(topic="*.*.room"), id="a topic with a word too few"),
        pytest.param(MessageFilter(ids=frozenset({"another"})), id="another id"),
        pytest.param(MessageFilter(only=frozenset({"another", ""})), id="another name"),
        pytest.param(MessageFilter(since=SEALED.received_at + timedelta(seconds=1)), id="a later time"),
        pytest.param(MessageFilter(until=SEALED.received_at - timedelta(seconds=1)), id="an earlier time"),
    ],
)
def test_a_dead_letter_that_misses_one_filter_does_not_match(chosen: MessageFilter) -> None:
    assert not chosen.matches(dead_letter())


def test_the_time_of_a_parked_message_is_that_of_its_parking() -> None:
    parked = dead_letter(parked_at=SEALED.received_at + timedelta(days=1))
    assert MessageFilter(since=SEALED.received_at + timedelta(hours=23)).matches(parked)
    assert not MessageFilter(until=SEALED.received_at).matches(parked)


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(MessageFilter(provider="krtc"), id="a provider"),
        pytest.param(MessageFilter(ids=frozenset({"x"})), id="an id"),
        pytest.param(MessageFilter(topic="#"), id="any topic"),
    ],
)
def test_a_message_without_an_envelope_matches_only_by_reason(chosen: MessageFilter) -> None:
    assert not chosen.matches(FOREIGN)
    assert MessageFilter(reason="broker").matches(FOREIGN)


def test_a_message_of_another_program_whose_time_has_no_zone_has_no_time() -> None:
    headers = {**to_headers(SEALED), RECEIVED_AT_HEADER: "2026-01-31T12:00:00"}
    unrouted = DeadLetter(headers, "application/json", SEALED.body, "unrouted")
    assert unrouted.kept_since is None
    assert not MessageFilter(since=SEALED.received_at).matches(unrouted)


def test_no_more_are_selected_than_the_limit() -> None:
    selection = Selection(MessageFilter(limit=2, reason="failed"), Action.DROP)
    actions = [selection(each) for each in (dead_letter(), dead_letter("timeout"), dead_letter(), dead_letter())]
    assert actions == [Action.DROP, Action.KEEP, Action.DROP, Action.KEEP]
    assert selection.is_full


def test_nothing_in_a_dead_letter_can_move_the_cursor() -> None:
    hostile = DeadLetter({HOSTILE: HOSTILE}, HOSTILE, HOSTILE.encode(), HOSTILE, HOSTILE)
    assert all(character.isprintable() for character in dead_page(hostile).replace("\n", ""))


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_a_time_at_an_end_of_the_calendar_is_shown(text: str) -> None:
    """Another program may have written it, and the machine's zone may not have it."""
    headers = to_headers(SEALED) | dict.fromkeys(("cloudEvents_time", "hookline-received-at"), text)
    other = DeadLetter(headers, "application/json", b"", "broker", parked_at=datetime.fromisoformat(text))
    shown = text[4:19].replace("T", " ")
    assert shown in dead_row(other)[0]
    assert dead_page(other).count(shown) == 3


def test_a_row_has_the_last_line_of_the_traceback() -> None:
    failed = dead_letter(attempts=10, replays=1, detail="Traceback\n  in f\nValueError: no price\n")
    assert dead_row(failed)[4:] == ("failed", "attempt 10, replay 1", "ValueError: no price")


def test_a_body_that_is_not_text_is_shown_in_base64() -> None:
    assert content(FOREIGN)["body_base64"] == "/w=="
    assert content(dead_letter())["body"] == "{}"
