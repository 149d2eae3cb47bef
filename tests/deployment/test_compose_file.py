"""compose.yaml: what the operator's container sees and starts, and the variables that keep what a user has chosen."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
COMPOSE = shutil.which("docker-compose")


def test_the_operator_sees_what_the_ingress_keeps_on_its_volume() -> None:
    """The events that wait for RabbitMQ, and the record of refused requests."""
    (volume,) = (each for each in SERVICES["ingress-1"]["volumes"] if str(each).startswith("spool:"))
    assert volume in SERVICES["operator"]["volumes"]


def test_the_operators_command_starts_no_service_and_waits_for_none() -> None:
    """`hookline status` also says what there is while RabbitMQ is away."""
    assert SERVICES["operator"]["depends_on"] == []


def test_every_variable_is_named_at_the_top_and_in_the_guide() -> None:
    used = set(re.findall(r"\$\{(HOOKLINE_\w+)", TEXT))
    assert used
    head = TEXT.partition("\nx-safe:")[0]
    guide = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8").partition("\n## Containers")[2]
    for text in (head, guide):
        assert used <= set(re.findall(r"HOOKLINE_\w+", text))


@pytest.mark.skipif(COMPOSE is None, reason="docker-compose is missing: apt-get install docker-compose")
@pytest.mark.parametrize(("variables", "count"), [({}, 1), ({"HOOKLINE_WORKER_COUNT": "4"}, 4)])
def test_a_variable_keeps_the_number_of_workers(variables: dict[str, str], count: int) -> None:
    """A number that only `--scale` has named is forgotten by the next `up`."""
    assert COMPOSE is not None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")}
    done = subprocess.run(  # noqa: S603  a program of the machine
        [COMPOSE, "config"], cwd=ROOT, env={**environment, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["services"]["worker"]["scale"] == count
