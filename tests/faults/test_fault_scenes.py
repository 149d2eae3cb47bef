"""The short form of `make faults`, and what its catalogue has to cover."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.catalogue import NOT_PROVOKED, SHORT, chosen, scenes
from tests.services.rabbitmq import programs

FAULTS = range(1, 73)
ROOT = Path(__file__).parents[2]


def test_every_fault_has_a_scene_or_a_reason() -> None:
    provoked = {fault for scene in scenes() for fault in scene.faults}
    assert provoked | NOT_PROVOKED.keys() == set(FAULTS)
    assert not provoked & NOT_PROVOKED.keys()
    assert len(provoked) >= 50


def test_a_reason_names_tests_that_are_there() -> None:
    named = [path for reason in NOT_PROVOKED.values() for path in re.findall(r"tests/\S+\.py", reason)]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_scenes_are_chosen_by_their_faults() -> None:
    assert {scene.name for scene in chosen("F1, f5")} == {"F1", "F5"}
    assert len(chosen("")) == len(scenes())


@pytest.mark.timeout(400)
def test_the_likeliest_breakers_break_no_promise() -> None:
    programs()  # skips where RabbitMQ is not installed
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--short"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert done.returncode == 0, f"{SHORT}: {done.stdout}{done.stderr[-8000:]}"
