"""An operator finds a worker that hangs in `hookline status`, its JSON and the metrics, on both brokers."""

import json
from pathlib import Path

import pytest

from tests.contract.installations import queue_name
from tests.end_to_end.processes import Project, until
from tests.end_to_end.test_operators_port import metrics, operators_url
from tests.services.rabbitmq import server_url

STUCK = '''
"""A worker that hangs, and swallows what should end it."""

import asyncio

from hookline import worker
from hookline.events import ParticipantJoined


@worker(ParticipantJoined, queue="QUEUE", concurrency=2, timeout_s=1)
async def stuck(_: ParticipantJoined) -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
'''


@pytest.fixture(params=["embedded", "rabbitmq"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    url = "sqlite:hookline.db" if request.param == "embedded" else server_url(request.config)
    project = Project(tmp_path, url)
    request.addfinalizer(project.close)  # noqa: PT021  the fixture has no more to do
    return project


def test_a_call_that_does_not_end_is_seen_with_its_line(project: Project) -> None:
    name = queue_name()
    (project.folder / "stuck.py").write_text(STUCK.replace("QUEUE", name))
    process = project.start("run", "stuck.py")
    url = operators_url(process)
    assert project.call("send", "krtc-main", "--count", "10").returncode == 0

    def overdue() -> bool:
        return metrics(url)[f'hookline_overdue_calls{{queue="{name}"}}'] == 2

    until(overdue)
    found = metrics(url)
    assert found[f'hookline_running_calls{{queue="{name}"}}'] == found[f'hookline_concurrency{{queue="{name}"}}'] == 2
    assert found[f'hookline_oldest_call_seconds{{queue="{name}"}}'] > 5
    assert found[f'hookline_unsettled{{queue="{name}"}}'] > 2
    status = json.loads(project.call("status", "--json").stdout)
    (state,) = [state for on_port in status["processes"] for state in on_port["processes"] if state["role"] == "run"]
    (worker,) = [each for each in state["workers"] if each["queue"] == name]
    assert (state["pid"], worker["running"], worker["overdue"]) == (process.popen.pid, 2, 2)
    assert worker["oldest_call"]["line"] == "stuck.py:14"
    shown = project.call("status").stdout
    assert f"{name}: calls run on after their time-out of 1 s (2 in run {process.popen.pid})" in shown
    assert "at stuck.py:14" in shown
    assert f"with event {worker['oldest_call']['event_id']}" in shown
