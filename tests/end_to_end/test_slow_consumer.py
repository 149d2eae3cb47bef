"""An operator finds the one slow process of a worker, whose events are in no queue, and one that is stopped."""

import re
import signal
from pathlib import Path

import pytest

from tests.contract.installations import queue_name
from tests.end_to_end.processes import Process, Project, until
from tests.end_to_end.test_operators_port import metrics, operators_url
from tests.services.rabbitmq import server_url

SLOW = '''
"""A worker that is as slow as its process was told."""

import asyncio
import os

from hookline import worker
from hookline.events import ParticipantJoined


@worker(ParticipantJoined, queue="QUEUE", concurrency=2, timeout_s=900)
async def slow(_: ParticipantJoined) -> None:
    await asyncio.sleep(float(os.environ["SLOW_S"]))
'''
EVENTS = 20


@pytest.fixture
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    project = Project(tmp_path, server_url(request.config))
    request.addfinalizer(project.close)  # noqa: PT021  the fixture has no more to do
    return project


@pytest.fixture
def queue(project: Project) -> str:
    name = queue_name()
    (project.folder / "slow.py").write_text(SLOW.replace("QUEUE", name))
    return name


def started(project: Project, seconds: float) -> Process:
    return project.start("worker", "slow.py", environment={"SLOW_S": str(seconds)})


def test_one_slow_process_of_several_is_named_although_nothing_waits_in_its_queue(project: Project, queue: str) -> None:
    project.start("ingress")
    slow = started(project, 600.0)
    assert project.call("send", "krtc-main", "103", "--count", str(EVENTS)).returncode == 0
    until(lambda: metrics(operators_url(slow))[f'hookline_unsettled{{queue="{queue}"}}'] == EVENTS)
    quick = started(project, 0.0)
    assert project.call("send", "krtc-main", "103", "--count", str(EVENTS)).returncode == 0
    until(lambda: metrics(operators_url(quick)).get(f'hookline_handler_seconds_count{{queue="{queue}"}}', 0) > 0)
    text = f"{queue}: all 2 calls of worker {slow.popen.pid} are running, the oldest for "

    def is_named() -> bool:
        return text in project.call("check").stdout  # the call is a second old by then

    until(is_named)
    shown = project.call("status").stdout
    (hint,) = [line for line in shown.splitlines() if line.startswith(text)]
    assert "at slow.py:13, with event " in hint
    waiting = re.search(r"others wait in it \((\d+)\)", hint)
    assert waiting is not None
    assert int(waiting[1]) >= EVENTS - 2
    (row,) = [line.split() for line in shown.splitlines() if line.startswith(f"{queue} ")]
    assert row[1] == "0"
    assert f"worker {quick.popen.pid}" not in shown


def test_a_process_that_is_stopped_is_named(project: Project, queue: str) -> None:
    stopped = started(project, 0.0)
    port = operators_url(stopped).rpartition(":")[2]
    stopped.popen.send_signal(signal.SIGSTOP)
    try:
        for command in ("status", "check"):
            assert f"port {port}: what listens there does not answer within 2 s" in project.call(command).stdout
    finally:
        stopped.popen.send_signal(signal.SIGCONT)
