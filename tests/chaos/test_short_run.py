"""The short form of `make chaos`: real processes and servers, and the kinds of faults that must never do harm."""

from pathlib import Path

import pytest

from tests.chaos.report import table
from tests.chaos.run import Plan, run
from tests.chaos.traffic import Volume

FAULTS = ("kill", "stop", "freeze-short", "rabbitmq-stop-app-short")
SEED = 17
VOLUME = Volume(events=350, seconds=30, rooms=30)


@pytest.mark.timeout(400)
async def test_a_short_run_under_faults_breaks_no_promise(tmp_path: Path) -> None:
    result = await run(Plan(SEED, "postgresql", FAULTS, VOLUME), tmp_path, print)
    assert not result.verdict.broken, table(result.verdict, result.slowest_answer_s)
