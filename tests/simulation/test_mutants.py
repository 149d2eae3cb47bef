"""The simulation finds each mutant: a mend that is taken out breaks a promise in one of its named seeds."""

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.test_schedules import run


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_mend_that_is_taken_out_is_missed(name: str) -> None:
    first, last = MUTANTS[name].seeds
    found = run("--seeds", f"{first}-{last}", "--mutant", name, "--no-shrink")
    assert found.returncode == 0, found.stdout + found.stderr
