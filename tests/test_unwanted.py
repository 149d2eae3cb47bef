"""Deliveries that a process does not want are put back, and parked only after a long time."""

import logging
from heapq import heappop, heappush

import pytest

from hookline.schemas.broker import Again, Parked
from hookline.workers.unwanted import FIRST_DELAY_S, MAX_DELAY_S, Unwanted

TOPIC = "krtc.main.participant.left"


def outcome(unwanted: Unwanted, now_s: float, event_id: str = "e", chance: float = 0.5) -> Again | Parked:
    made = unwanted.outcome((event_id,), TOPIC, 3, now_s, chance)
    assert isinstance(made, Again | Parked)
    return made


def delay_s(unwanted: Unwanted, now_s: float, event_id: str = "e") -> float:
    made = outcome(unwanted, now_s, event_id, chance=1.0)
    assert isinstance(made, Again)
    return made.delay_s


def put_back_many(unwanted: Unwanted, now_s: float) -> float:
    """The delay of the last of a thousand, which all arrive at that time."""
    return [delay_s(unwanted, now_s, f"e{number}") for number in range(1000)][-1]


def test_an_unwanted_delivery_is_put_back_and_uses_no_attempt() -> None:
    assert outcome(Unwanted("q", 600), 0.0, chance=1.0) == Again(FIRST_DELAY_S, 3, "unwanted")


def test_a_few_deliveries_return_soon_however_long_they_have_waited() -> None:
    unwanted = Unwanted("q", 600)
    assert [delay_s(unwanted, float(now_s)) for now_s in range(0, 600, 5)] == [FIRST_DELAY_S] * 120


def test_of_many_deliveries_those_that_have_waited_for_long_return_late() -> None:
    unwanted = Unwanted("q", 600)
    assert [put_back_many(unwanted, now_s) for now_s in (0.0, 1.0, 10.0, 100.0)] == [FIRST_DELAY_S, 1.0, 5.0, 10.0]


def test_after_many_deliveries_a_few_return_soon_again() -> None:
    unwanted = Unwanted("q", 600)
    put_back_many(unwanted, 0.0)
    assert put_back_many(unwanted, 100.0) == MAX_DELAY_S
    assert delay_s(unwanted, 100.0 + MAX_DELAY_S) == FIRST_DELAY_S


def test_a_process_puts_back_a_bounded_number_a_second() -> None:
    unwanted, many = Unwanted("q", 600), 200
    due = [(0.0, number) for number in range(many)]
    returns_s = []
    while due[0][0] < 500.0:
        now_s, number = heappop(due)
        returns_s.append(now_s)
        heappush(due, (now_s + delay_s(unwanted, now_s, f"e{number}"), number))
    late = [at_s for at_s in returns_s if at_s >= 400.0]
    assert len(late) <= 60 * 100  # without a bound, 200 a second


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
