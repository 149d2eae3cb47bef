"""Choosing letters, and showing them without harm to the terminal."""

from datetime import timedelta
from typing import Any

import pytest

from hookline.cli.dead_letter_output import all_facts, line, page
from hookline.cli.dead_letter_selection import Picker, Wanted
from hookline.schemas.dead_letters import Action, DeadLetter
from hookline.schemas.envelope import to_headers
from tests.contract.installations import envelope

HOSTILE = "a\x1b[2J\nb\r\u202ec"
SEALED = envelope(number=1)
STRANGE = DeadLetter({"who": "knows"}, "", b"\xff", "broker")


def letter(reason: str = "failed", **fields: Any) -> DeadLetter:
    return DeadLetter(to_headers(SEALED), "application/json", SEALED.body, reason, **fields)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(provider="krtc", source="main", subject="room-1", reason="failed"),
        Wanted(topic="*.*.room.#"),
        Wanted(ids=frozenset({SEALED.id, "another"})),
        Wanted(since=SEALED.received_at, until=SEALED.received_at),
    ],
)
def test_a_letter_that_meets_all_filters_is_wanted(wanted: Wanted) -> None:
    assert wanted.includes(letter())


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(provider="gme"),
        Wanted(source="other"),
        Wanted(subject="room"),
        Wanted(reason="timeout"),
        Wanted(topic="*.*.room"),
        Wanted(ids=frozenset({"another"})),
        Wanted(since=SEALED.received_at + timedelta(seconds=1)),
        Wanted(until=SEALED.received_at - timedelta(seconds=1)),
    ],
)
def test_a_letter_that_misses_one_filter_is_not_wanted(wanted: Wanted) -> None:
    assert not wanted.includes(letter())


def test_times_are_those_of_the_parking() -> None:
    parked = letter(parked_at=SEALED.received_at + timedelta(days=1))
    assert Wanted(since=SEALED.received_at + timedelta(hours=23)).includes(parked)
    assert not Wanted(until=SEALED.received_at).includes(parked)


@pytest.mark.parametrize("wanted", [Wanted(provider="krtc"), Wanted(ids=frozenset({"x"})), Wanted(topic="#")])
def test_a_letter_that_is_none_of_ours_is_meant_by_no_filter_but_its_reason(wanted: Wanted) -> None:
    assert not wanted.includes(STRANGE)
    assert Wanted(reason="broker").includes(STRANGE)


def test_no_more_are_picked_than_the_limit() -> None:
    picker = Picker(Wanted(limit=2, reason="failed"), Action.DROP)
    actions = [picker(each) for each in (letter(), letter("timeout"), letter(), letter())]
    assert actions == [Action.DROP, Action.KEEP, Action.DROP, Action.KEEP]
    assert picker.is_full


def test_nothing_in_a_letter_can_move_the_cursor() -> None:
    hostile = DeadLetter({HOSTILE: HOSTILE}, HOSTILE, HOSTILE.encode(), HOSTILE, HOSTILE)
    for shown in (line(hostile), page(hostile)):
        assert all(character.isprintable() for character in shown.replace("\n", ""))
    assert "\n" not in line(hostile)


def test_a_body_that_is_no_text_is_told_in_base64() -> None:
    assert all_facts(STRANGE)["body_base64"] == "/w=="
    assert all_facts(letter())["body"] == "{}"
