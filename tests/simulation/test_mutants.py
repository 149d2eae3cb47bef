"""The simulation finds each mutant: a mend that is taken out breaks a promise in one of its named seeds."""

import re

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.test_schedules import run


@pytest.fixture(scope="module")
def found() -> dict[str, int]:
    """The seed that finds each mutant. One process looks for all of them, since its start takes most of the time."""
    said = run("--each-mutant")
    assert not said.stderr, said.stderr
    return {name: int(seed) for name, seed in re.findall(r"(?m)^(\S+): seed (\d+)$", said.stdout)}


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_mend_that_is_taken_out_is_missed(found: dict[str, int], name: str) -> None:
    first, last = MUTANTS[name].seeds
    assert first <= found[name] <= last
