"""Which deliveries have a line of their own in the log, and how the others are summed up."""

import asyncio
import logging
import re
from typing import Any

import pytest

from hookline.runtime.outcome_log import OutcomeLog
from hookline.schemas.broker import Again, Done, Outcome, Parked, Received
from hookline.workers.work import Work

FAULTS = (Again(1, 2, "failed"), Parked("failed", "", 10))


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(autouse=True)
def all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def work(outcome: Outcome, *, late: bool = False) -> Work:
    return Work(Received({}, "", b"", 1, None), None, (), outcome, late)


def report(outcome_log: OutcomeLog, *outcomes: Outcome, queue: str = "q") -> None:
    outcome_log.report(queue, [(work(outcome), 0.001) for outcome in outcomes])


def listed(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The outcomes that have a line of their own."""
    return [facts(record)["outcome"] for record in caplog.records if "outcome" in facts(record)]


def sums(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "unlisted" in facts(record)]


def facts(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = getattr(record, "facts", {})
    return found


async def summed_up(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines that sum up, once there are any."""
    async with asyncio.timeout(60):
        while not sums(caplog):  # noqa: ASYNC110  a log line gives no signal
            await asyncio.sleep(0.02)
    return sums(caplog)


async def test_deliveries_that_go_well_have_lines_up_to_the_limit(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    report(OutcomeLog(2, clock=clock), *[Done()] * 5)
    assert listed(caplog) == ["handled", "handled"]


async def test_deliveries_beyond_the_limit_are_summed_up_in_one_line_for_each_queue(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    outcome_log = OutcomeLog(1, clock=clock)
    report(outcome_log, Done(), Done(), Done("duplicate"), Done(), Again(1, 1, "busy"))
    report(outcome_log, Done(), queue="other")
    assert await summed_up(caplog) == [
        "q: not listed: 2 handled, 1 duplicate, 1 again (busy)",
        "other: not listed: 1 handled",
    ]


async def test_the_next_second_has_lines_up_to_the_limit_again(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    outcome_log = OutcomeLog(1, clock=clock)
    report(outcome_log, Done(), Done())
    clock.now_s += 1
    report(outcome_log, Done("duplicate"), Done())
    assert listed(caplog) == ["handled", "duplicate"]


async def test_the_end_sums_up_what_is_not_summed_up_yet(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    outcome_log = OutcomeLog(1, clock=clock)
    report(outcome_log, Done(), Done())
    outcome_log.log_totals()
    assert sums(caplog) == ["q: not listed: 1 handled"]
    assert "q: 2 handled" in caplog.messages


@pytest.mark.parametrize("limit", [pytest.param(0, id="no lines"), pytest.param(1, id="one line")])
async def test_a_fault_has_a_line_whatever_the_limit(
    limit: int, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    report(OutcomeLog(limit, clock=clock), *FAULTS, *FAULTS)
    assert listed(caplog) == ["again", "parked"] * 2


async def test_with_a_limit_of_0_deliveries_that_go_well_are_only_counted(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    outcome_log = OutcomeLog(0, clock=clock)
    report(outcome_log, Done(), Done())
    outcome_log.log_totals()
    assert caplog.messages == ["q: 2 handled"]


async def test_every_delivery_counts_with_or_without_a_line(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    outcome_log = OutcomeLog(3, clock=clock)
    report(outcome_log, *[Done()] * 5, *FAULTS)
    outcome_log.report("q", [(work(Done("superseded"), late=True), 0.001)])
    outcome_log.log_totals()
    (last,) = [line for line in caplog.messages if re.match(r"q: \d", line)]
    assert last == "q: 5 handled, 1 again (failed), 1 failed, 1 superseded, 1 late"


ERROR = """Traceback (most recent call last):
  File "wrong.py", line 5, in wrong
    event.rom_id
AttributeError: 'RoomCreated' object has no attribute 'rom_id'
"""
TEXT = "AttributeError: 'RoomCreated' object has no attribute 'rom_id'"
FAILED = Again(1, 2, "failed", "AttributeError in wrong.py:5", ERROR)


def errors(caplog: pytest.LogCaptureFixture) -> list[tuple[str | None, bool]]:
    """For each line, the text of the error, and whether the traceback stands beside it."""
    return [(facts(record).get("error"), "traceback" in facts(record)) for record in caplog.records]


@pytest.mark.parametrize("outcome", [FAILED, Parked("failed", ERROR, 10), Parked("failed", f"id 1: {ERROR}", 10)])
def test_a_full_error_is_logged_the_first_time_and_then_once_a_minute(
    caplog: pytest.LogCaptureFixture, clock: Clock, outcome: Outcome
) -> None:
    outcome_log = OutcomeLog(1, "full", clock)
    report(outcome_log, outcome, outcome)
    clock.now_s += 61
    report(outcome_log, outcome)
    assert errors(caplog) == [(TEXT, True), (TEXT, False), (TEXT, True)]


def test_errors_at_other_lines_and_in_other_queues_have_their_own_traceback(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    outcome_log = OutcomeLog(1, "full", clock)
    report(outcome_log, FAILED, Again(1, 2, "failed", "", ERROR.replace("line 5", "line 6")))
    report(outcome_log, FAILED, queue="other")
    report(outcome_log, Again(1, 2, "failed", "", ERROR.replace("'RoomCreated'", "'RoomEnded'")))
    assert [whole for _, whole in errors(caplog)] == [True, True, True, False]


def test_the_text_of_an_error_is_logged_without_its_traceback(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    report(OutcomeLog(1, "text", clock), FAILED)
    assert errors(caplog) == [(TEXT, False)]


def test_by_default_neither_text_nor_traceback_is_logged(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    report(OutcomeLog(1, clock=clock), FAILED, Parked("failed", ERROR, 10))
    assert errors(caplog) == [(None, False)] * 2
    assert "rom_id" not in caplog.text
