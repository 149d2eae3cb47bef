"""Deliveries that a process does not want are put back, and parked only after a long time."""

import logging

import pytest

from hookline.schemas.broker import Again, Parked
from hookline.workers.unwanted import FIRST_DELAY_S, MAX_DELAY_S, Unwanted

TOPIC = "krtc.main.participant.left"


def outcome(unwanted: Unwanted, now_s: float, event_id: str = "e", chance: float = 0.5) -> Again | Parked:
    made = unwanted.outcome((event_id,), TOPIC, 3, now_s, chance)
    assert isinstance(made, Again | Parked)
    return made


def test_an_unwanted_delivery_is_put_back_and_uses_no_attempt() -> None:
    assert outcome(Unwanted("q", 600), 0.0, chance=1.0) == Again(FIRST_DELAY_S, 3, "unwanted")


def test_the_delay_grows_to_its_limit() -> None:
    unwanted = Unwanted("q", 600)
    delays = [outcome(unwanted, now_s, chance=1.0) for now_s in (0.0, 1.0, 10.0, 100.0)]
    assert [each.delay_s for each in delays if isinstance(each, Again)] == [FIRST_DELAY_S, 1.0, 5.0, MAX_DELAY_S]


def test_chance_spreads_the_delay() -> None:
    delays = [outcome(Unwanted("q", 600), 0.0, chance=chance) for chance in (0.0, 1.0)]
    assert [each.delay_s for each in delays if isinstance(each, Again)] == [FIRST_DELAY_S / 2, FIRST_DELAY_S]


def test_a_delivery_that_stays_unwanted_is_parked_with_its_attempts() -> None:
    unwanted = Unwanted("q", 600)
    outcome(unwanted, 0.0)
    assert isinstance(outcome(unwanted, 599.9), Again)
    parked = outcome(unwanted, 600.0)
    assert isinstance(parked, Parked)
    assert (parked.reason, parked.attempts) == ("unwanted", 3)


def test_the_time_of_a_parked_delivery_begins_anew_when_it_is_replayed() -> None:
    unwanted = Unwanted("q", 600)
    outcome(unwanted, 0.0)
    outcome(unwanted, 600.0)
    assert isinstance(outcome(unwanted, 601.0), Again)


def test_the_log_says_it_once_a_minute_with_the_number(caplog: pytest.LogCaptureFixture) -> None:
    unwanted = Unwanted("attendance", 600)
    with caplog.at_level(logging.WARNING, "hookline.workers"):
        for number in range(100):
            outcome(unwanted, number / 10, f"e{number}")
        assert [record.getMessage() for record in caplog.records] == [
            f"attendance: 1 of {TOPIC} are not wanted here and are put back"
        ]
        outcome(unwanted, 60.0)
    assert caplog.records[-1].getMessage().startswith("attendance: 100 of")
