"""The short form of `make chaos`: real processes and servers, and all kinds of faults, a minute for each store."""

from pathlib import Path

import pytest

from tests.chaos.faults import Store
from tests.chaos.report import table
from tests.chaos.run import Plan, run
from tests.chaos.servers import possible_kinds
from tests.chaos.traffic import Volume

VOLUME = Volume(events=500, seconds=60, rooms=40)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("store", "seed"), [("postgresql", 150), ("redis", 107)])
async def test_a_short_run_under_faults_breaks_no_promise(tmp_path: Path, store: Store, seed: int) -> None:
    result = await run(Plan(seed, store, possible_kinds(store), VOLUME), tmp_path, print)
    assert not result.verdict.broken, table(result.verdict, result.slowest_answer_s)
