"""A bad deploy: the worker stops taking instead of parking everything, and goes on by itself when it is mended."""

import json

import pytest

from tests.end_to_end.processes import Project, until
from tests.end_to_end.test_operators_port import get, metrics, operators_url

EVENTS = 400
WORKER = """
from pathlib import Path


from hookline import Poisoned, worker
from hookline.events import Event

MENDED = Path(__file__).with_name("mended")


@worker(topic="#", queue="billing", concurrency=2{more})
async def billing(event: Event) -> None:
    if not MENDED.exists():
        raise Poisoned("a bad deploy")
"""


def dead_letters(project: Project) -> int:
    (state,) = [
        each for each in json.loads(project.call("status", "--json").stdout)["queues"] if each["queue"] == "billing"
    ]
    return int(state["dead"])


@pytest.mark.parametrize("more", ["", ", ordered=True"], ids=["unordered", "ordered"])
def test_a_bad_deploy_parks_about_a_hundred_events_and_not_all(embedded_project: Project, more: str) -> None:
    project = embedded_project
    (project.folder / "billing.py").write_text(WORKER.format(more=more))
    process = project.start("run", "billing.py")
    url = operators_url(process)
    assert project.call("send", "krtc-main", "--count", str(EVENTS)).returncode == 0
    process.wait_for("so it takes only one now and then")
    until(lambda: get(f"{url}/readyz")[0] == 503)
    assert json.loads(get(f"{url}/readyz")[1])["reasons"] == [
        "the breaker of billing is open: most of its deliveries were parked"
    ]
    found = metrics(url)
    assert found['hookline_breaker_open{queue="billing"}'] == 1
    assert found['hookline_breaker_opened_total{queue="billing"}'] == 1
    parked = dead_letters(project)
    assert 100 <= parked < EVENTS - 100
    (project.folder / "mended").touch()
    until(lambda: get(f"{url}/readyz")[0] == 200)
    handled = 'hookline_settled_total{outcome="done",queue="billing",reason="handled"}'
    until(lambda: metrics(url).get(handled, 0) == EVENTS - dead_letters(project))
    assert dead_letters(project) < parked + 20
