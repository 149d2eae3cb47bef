"""A thousand schedules with random faults keep every promise, and the same seed gives the same run.

`make simulate` runs many more.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.schedules import draw

SEEDS = ("0-499", "500-999")
_FOUND = {each.seeds for each in MUTANTS.values()}
FAULTY = ",".join(f"{first}-{last}" for first, last in _FOUND if first >= 1000 and last - first < 100)
"""Later seeds that found a fault of the past."""
TIMEOUT_S = 1200.0


def run(*arguments: str, hash_seed: str = "0") -> "subprocess.CompletedProcess[str]":
    """`python -m tests.simulation` in a process of its own, whose clock it sets.

    With another `hash_seed`, which decides on the order of sets, it starts again, and so imports everything twice.
    """
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(  # noqa: S603  ours
        command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, env=environment
    )


@pytest.mark.timeout(TIMEOUT_S)
def test_every_schedule_keeps_every_promise() -> None:
    with ThreadPoolExecutor(2) as parts:  # one for each core
        for part in parts.map(lambda seeds: run("--seeds", seeds), (SEEDS[0], f"{SEEDS[1]},{FAULTY}")):
            assert part.returncode == 0, part.stdout + part.stderr


def test_a_seed_gives_the_same_schedule_each_time() -> None:
    assert [draw(seed) for seed in range(50)] == [draw(seed) for seed in range(50)]


def test_a_failing_schedule_gives_the_same_trace_each_time() -> None:
    first, second = (
        run("--seeds", "0-100", "--mutant", "forget-what-was-handled", hash_seed=hash_seed) for hash_seed in "01"
    )
    assert first.returncode == 0
    assert first.stdout == second.stdout
    assert "Broken after " in first.stdout
    assert "Again: python -m tests.simulation --seeds " in first.stdout
