"""Signals that reach a process before it handles them, while it loads its modules and its workers."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hookline.cli.main import COMMANDS
from hookline.runtime.early_signals import SERVING
from tests.end_to_end.processes import END_S, Project, until
from tests.end_to_end.test_processes import configure
from tests.end_to_end.test_settings_reload import READ

STUCK = "open('loading', 'w').close()\nimport time\ntime.sleep(600)\n"
SLOW = '''
"""A worker whose file takes a while to load."""

import time
from pathlib import Path

from hookline import worker
from hookline.events import RoomCreated

Path("loading").touch()
while not Path("go").exists():
    time.sleep(0.01)


@worker(RoomCreated, queue="slow")
async def slow(event: RoomCreated) -> None:
    pass
'''
ROLES = [("ingress",), ("worker", "counter.py"), ("run",)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("role", ROLES, ids=lambda role: role[0])
def test_a_stop_while_the_modules_are_loaded_is_a_stop(
    embedded_project: Project, role: tuple[str, ...], number: signal.Signals
) -> None:
    folder = embedded_project.folder
    (folder / "msgspec.py").write_text(STUCK)
    process = embedded_project.start(*role, ready="", environment={"PYTHONPATH": str(folder)})
    until((folder / "loading").exists)
    process.popen.send_signal(number)
    assert process.popen.wait(END_S) == 0
    process.follower.join(END_S)
    assert process.output == []


@pytest.mark.parametrize("command", ["run", "worker"])
def test_sighup_while_workers_are_loaded_has_the_settings_read_anew(embedded_project: Project, command: str) -> None:
    folder = embedded_project.folder
    (folder / "slow.py").write_text(SLOW)
    process = embedded_project.start(command, "slow.py", ready="")
    until((folder / "loading").exists)
    process.popen.send_signal(signal.SIGHUP)
    (folder / "go").touch()
    process.wait_for(READ)
    process.wait_for("queue: ")
    assert process.stop() == 0


def test_the_end_of_a_terminal_while_workers_are_loaded_stops_the_process(embedded_project: Project) -> None:
    folder = embedded_project.folder
    (folder / "slow.py").write_text(SLOW)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hookline", "run", "slow.py"]
    with subprocess.Popen(command, cwd=folder, stdin=theirs, start_new_session=True) as popen:  # noqa: S603  our own command
        try:
            os.close(theirs)
            until((folder / "loading").exists)
            os.close(ours)
            popen.send_signal(signal.SIGHUP)
            assert popen.wait(END_S) == 0
        finally:
            popen.kill()


SLOW_PORT = """
import asyncio
import pathlib

from hookline.admin.server import AdminServer

start = AdminServer.start


async def slowly(self):
    pathlib.Path("loading").touch()
    await asyncio.sleep(1)
    return await start(self)


AdminServer.start = slowly

from hookline.__main__ import main

main()
"""
"""Hookline, with an operator's port that takes a second to open."""


def test_a_stop_while_a_supervisor_opens_the_operators_port_leaves_no_folder(
    embedded_project: Project, tmp_path: Path
) -> None:
    configure(embedded_project)
    (embedded_project.folder / "slow_port.py").write_text(SLOW_PORT)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {"TMPDIR": str(temporary)}
    process = embedded_project.start("ingress", ready="", module=("slow_port",), environment=environment)
    until((embedded_project.folder / "loading").exists)
    assert process.stop() == 0
    assert process.count('"stopping"') == 1
    assert process.count(" has pid ") == 0
    assert [*temporary.iterdir()] == []


def test_the_serving_commands_exist() -> None:
    assert {name for name, where in COMMANDS.items() if where.startswith("hookline.cli.run:")} == SERVING
