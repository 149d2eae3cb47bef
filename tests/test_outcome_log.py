"""Which deliveries have a line of their own in the log, and how the others are told."""

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from hookline.runtime.outcome_log import OutcomeLog
from hookline.schemas.broker import Again, Done, Outcome, Parked, Received
from hookline.workers.work import Work

FAULTS = (Again(1, 2, "failed"), Parked("failed", "", 10))


@pytest.fixture(autouse=True)
def all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def work(outcome: Outcome, *, late: bool = False) -> Work:
    return Work(Received({}, "", b"", 1, None), None, (), outcome, late)


def report(outcome_log: OutcomeLog, *outcomes: Outcome, queue: str = "q") -> None:
    for outcome in outcomes:
        outcome_log.report(queue, work(outcome), 0.001)


def listed(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The outcomes that have a line of their own."""
    return [facts(record)["outcome"] for record in caplog.records if "outcome" in facts(record)]


def sums(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "unlisted" in facts(record)]


def facts(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = getattr(record, "facts", {})
    return found


async def eventually(condition: Callable[[], object], within_s: float = 15.0) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110  a line is written, and tells nobody
                await asyncio.sleep(0.02)
    assert condition()


async def test_what_ends_well_has_lines_up_to_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    report(OutcomeLog(2), *[Done()] * 5)
    assert listed(caplog) == ["handled", "handled"]


async def test_what_is_beyond_the_limit_is_told_in_one_line_for_each_queue(caplog: pytest.LogCaptureFixture) -> None:
    outcome_log = OutcomeLog(1)
    report(outcome_log, Done(), Done(), Done("duplicate"), Done(), Again(1, 1, "busy"))
    report(outcome_log, Done(), queue="other")
    await eventually(lambda: sums(caplog))
    assert sums(caplog) == [
        "q: and 2 handled, 1 duplicate, 1 again (busy) that are not listed one by one",
        "other: and 1 handled that are not listed one by one",
    ]


async def test_in_the_next_second_there_is_room_again(caplog: pytest.LogCaptureFixture) -> None:
    outcome_log = OutcomeLog(1)
    report(outcome_log, Done(), Done())
    await eventually(lambda: sums(caplog))

    def listed_again() -> bool:
        report(outcome_log, Done())
        return len(listed(caplog)) > 1

    await eventually(listed_again)


async def test_what_is_not_told_yet_is_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    outcome_log = OutcomeLog(1)
    report(outcome_log, Done(), Done())
    outcome_log.log_totals()
    assert sums(caplog) == ["q: and 1 handled that are not listed one by one"]
    assert "q: 2 handled" in caplog.messages


@pytest.mark.parametrize("limit", [0, 1])
async def test_what_goes_wrong_always_has_a_line(limit: int, caplog: pytest.LogCaptureFixture) -> None:
    report(OutcomeLog(limit), *FAULTS, *FAULTS)
    assert listed(caplog) == ["again", "parked"] * 2


async def test_with_a_limit_of_nothing_what_ends_well_is_only_counted(caplog: pytest.LogCaptureFixture) -> None:
    outcome_log = OutcomeLog(0)
    report(outcome_log, Done(), Done())
    outcome_log.log_totals()
    assert caplog.messages == ["q: 2 handled"]


async def test_everything_counts_whether_it_has_a_line_or_not(caplog: pytest.LogCaptureFixture) -> None:
    outcome_log = OutcomeLog(3)
    report(outcome_log, *[Done()] * 5, *FAULTS)
    outcome_log.report("q", work(Done("superseded"), late=True), 0.001)
    outcome_log.log_totals()
    (last,) = [line for line in caplog.messages if re.match(r"q: \d", line)]
    assert last == "q: 5 handled, 1 again (failed), 1 failed, 1 superseded, 1 late"
