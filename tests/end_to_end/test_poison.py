"""An event that kills its process is parked after its own attempts. Its neighbours lose none of theirs."""

import json
from collections import Counter
from typing import Any

import pytest

from hookline.cli.sample_callbacks import callbacks_of, choose_samples
from tests.end_to_end.processes import Process, Project, until

NEIGHBOURS = 30

KILLER = '''
"""Kills its process for one room, and writes down the attempts for all others."""

import os
import signal

from hookline.events import RoomCreated
from hookline import Backoff, Delivery, worker


@worker(RoomCreated, queue="killer", concurrency={concurrency}, retry=Backoff(attempts=2))
async def killer(event: RoomCreated, delivery: Delivery) -> None:
    if event.room_id == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    line = f"{{event.id}} {{delivery.attempt}}\\n".encode()
    file = os.open(os.environ["COUNTED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, line)
    os.close(file)
'''


@pytest.mark.parametrize(("project", "concurrency"), [("embedded", 1), ("rabbitmq", 50)], indirect=["project"])
def test_a_poison_event_is_parked_and_its_neighbours_keep_their_attempts(project: Project, concurrency: int) -> None:
    (project.folder / "killer.py").write_text(KILLER.format(concurrency=concurrency))
    declaring = project.start("worker", "killer.py")
    declaring.stop()
    project.start("ingress")
    assert project.call("send", "krtc-main", "101", "--count", str(NEIGHBOURS)).returncode == 0
    (project.folder / "poison.json").write_text(json.dumps(poison(project)))
    assert project.call("send", "krtc-main", "101", "--body", "poison.json").returncode == 0
    assert project.call("send", "krtc-main", "101", "--count", str(NEIGHBOURS)).returncode == 0
    deaths, parked = run_until_parked(project)
    assert deaths == 4  # twice among its neighbours, then twice alone, as often as it may fail
    assert parked["reason"] == "crashed"
    suspected = project.log_lines("was in flight when a process died, ")
    assert len(suspected) >= 2  # each time that it was handled alone
    assert all(".room.created was in flight" in line for line in suspected)
    until(lambda: len(set(project.handled())) == 2 * NEIGHBOURS)
    attempts = Counter(line.split()[1] for line in project.counted.read_text().splitlines())
    assert set(attempts) == {"1"}


def poison(project: Project) -> Any:
    source = project.settings.sources["krtc-main"]
    (callback,) = callbacks_of(source, choose_samples(source, "101"), 1)
    body = json.loads(callback.body)
    body["payload"]["channelName"] = "poison"
    return body


def run_until_parked(project: Project) -> tuple[int, dict[str, Any]]:
    """Restart the worker until it parks an event. Returns the number of deaths and the log line of the event."""
    deaths = 0
    while True:
        process = project.start("worker", "killer.py", ready="")  # it may die before it says that it is ready
        until(lambda process=process: parked_by(process) != [] or process.popen.poll() is not None)  # type: ignore[misc]
        if parked := parked_by(process):
            return deaths, parked[0]
        deaths += 1
        assert deaths < 10


def parked_by(process: Process) -> list[dict[str, Any]]:
    return [line for line in list(process.lines) if line.get("outcome") == "parked"]
