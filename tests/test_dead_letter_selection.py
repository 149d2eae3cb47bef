"""Dead letters are selected by filters, and shown without harm to the terminal."""

from datetime import timedelta
from typing import Any

import pytest

from hookline.cli.dead_letter_output import all_facts, page, row
from hookline.cli.dead_letter_selection import DeadLetterFilter, Selection
from hookline.schemas.dead_letters import Action, DeadLetter
from hookline.schemas.envelope import to_headers
from tests.contract.installations import envelope

HOSTILE = "a\x1b[2J\nb\r\u202ec"
SEALED = envelope(number=1)
FOREIGN = DeadLetter({"who": "knows"}, "", b"\xff", "broker")


def dead_letter(reason: str = "failed", **fields: Any) -> DeadLetter:
    return DeadLetter(to_headers(SEALED), "application/json", SEALED.body, reason, **fields)


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(DeadLetterFilter(), id="no filter"),
        pytest.param(
            DeadLetterFilter(provider="krtc", source="main", subject="room-1", reason="failed"), id="several filters"
        ),
        pytest.param(DeadLetterFilter(topic="*.*.room.#"), id="a topic pattern"),
        pytest.param(DeadLetterFilter(ids=frozenset({SEALED.id, "another"})), id="one of two ids"),
        pytest.param(DeadLetterFilter(since=SEALED.received_at, until=SEALED.received_at), id="the very moment"),
    ],
)
def test_a_dead_letter_that_meets_all_filters_matches(chosen: DeadLetterFilter) -> None:
    assert chosen.matches(dead_letter())


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(DeadLetterFilter(provider="gme"), id="another provider"),
        pytest.param(DeadLetterFilter(source="other"), id="another source"),
        pytest.param(DeadLetterFilter(subject="room"), id="part of the subject"),
        pytest.param(DeadLetterFilter(reason="timeout"), id="another reason"),
        pytest.param(DeadLetterFilter(topic="*.*.room"), id="a topic with a word too few"),
        pytest.param(DeadLetterFilter(ids=frozenset({"another"})), id="another id"),
        pytest.param(DeadLetterFilter(since=SEALED.received_at + timedelta(seconds=1)), id="a later time"),
        pytest.param(DeadLetterFilter(until=SEALED.received_at - timedelta(seconds=1)), id="an earlier time"),
    ],
)
def test_a_dead_letter_that_misses_one_filter_does_not_match(chosen: DeadLetterFilter) -> None:
    assert not chosen.matches(dead_letter())


def test_the_time_of_a_parked_message_is_that_of_its_parking() -> None:
    parked = dead_letter(parked_at=SEALED.received_at + timedelta(days=1))
    assert DeadLetterFilter(since=SEALED.received_at + timedelta(hours=23)).matches(parked)
    assert not DeadLetterFilter(until=SEALED.received_at).matches(parked)


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(DeadLetterFilter(provider="krtc"), id="a provider"),
        pytest.param(DeadLetterFilter(ids=frozenset({"x"})), id="an id"),
        pytest.param(DeadLetterFilter(topic="#"), id="any topic"),
    ],
)
def test_a_message_without_an_envelope_matches_only_by_reason(chosen: DeadLetterFilter) -> None:
    assert not chosen.matches(FOREIGN)
    assert DeadLetterFilter(reason="broker").matches(FOREIGN)


def test_no_more_are_selected_than_the_limit() -> None:
    selection = Selection(DeadLetterFilter(limit=2, reason="failed"), Action.DROP)
    actions = [selection(each) for each in (dead_letter(), dead_letter("timeout"), dead_letter(), dead_letter())]
    assert actions == [Action.DROP, Action.KEEP, Action.DROP, Action.KEEP]
    assert selection.is_full


def test_nothing_in_a_dead_letter_can_move_the_cursor() -> None:
    hostile = DeadLetter({HOSTILE: HOSTILE}, HOSTILE, HOSTILE.encode(), HOSTILE, HOSTILE)
    assert all(character.isprintable() for character in page(hostile).replace("\n", ""))


def test_a_row_has_the_last_line_of_the_traceback() -> None:
    failed = dead_letter(attempts=10, replays=1, detail="Traceback\n  in f\nValueError: no price\n")
    assert row(failed)[4:] == ("failed", "attempt 10, replay 1", "ValueError: no price")


def test_a_body_that_is_not_text_is_shown_in_base64() -> None:
    assert all_facts(FOREIGN)["body_base64"] == "/w=="
    assert all_facts(dead_letter())["body"] == "{}"
