"""The short form of `make chaos`: real processes and servers, and all kinds of faults, for a minute."""

from pathlib import Path

from tests.chaos.faults import Store
from tests.chaos.report import table
from tests.chaos.run import Plan, run
from tests.chaos.servers import possible_kinds
from tests.chaos.traffic import Volume

VOLUME = Volume(events=500, seconds=60, rooms=40)
TIMEOUT_S = 600.0


async def check_short_run(store: Store, seed: int, folder: Path) -> None:
    """Fails if a promise was broken."""
    result = await run(Plan(seed, store, possible_kinds(store), VOLUME), folder, print)
    assert not result.verdict.broken, table(result.verdict, result.slowest_answer_s)
