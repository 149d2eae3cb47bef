"""The private servers: what their starters say when a program is missing, and their end with the tests."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.processes import WITHIN_S, until
from tests.services import rabbitmq, redis, servers

ROOT = Path(__file__).parent.parent
KILLED = """
import os, signal
from tests.services import redis

server = redis.Server(redis.program())
server.start()
print(server.pid, server.home, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the environment names, with `rabbitmq-server` in it."""
    monkeypatch.setenv(rabbitmq.PROGRAMS_VARIABLE, str(tmp_path))
    program = tmp_path / "rabbitmq-server"
    program.touch(mode=0o755)
    return tmp_path


def test_the_folder_that_the_environment_names_comes_first(folder: Path) -> None:
    (folder / "rabbitmqctl").touch(mode=0o755)
    assert rabbitmq.programs() == folder


def test_a_named_folder_that_misses_a_program_fails_and_names_the_variable(folder: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match=rf"{rabbitmq.PROGRAMS_VARIABLE} is {folder}.*rabbitmqctl"):
        rabbitmq.programs()


def test_a_server_of_tests_that_are_killed_ends_and_leaves_no_folder() -> None:
    redis.program()  # skips where Redis is not installed
    command = [sys.executable, "-c", KILLED]
    killed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=WITHIN_S, check=False)  # noqa: S603
    assert killed.returncode == -signal.SIGKILL
    pid, home = killed.stdout.split()
    until(lambda: not runs(int(pid)) and not Path(home).exists())


def runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)  # its new parent may be slow to see its end
    except psutil.NoSuchProcess:
        return False


def test_a_port_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = servers.free_ports(1)
    monkeypatch.setattr(servers, "_PORTS", mostly(first))
    assert first not in servers.free_ports(5)


def test_a_port_is_given_to_no_other_process_of_tests() -> None:
    (first,) = servers.free_ports(1)
    other = f"from tests.services import servers; servers._PORTS = {mostly(first)}; print(servers.free_ports(5))"
    command = [sys.executable, "-c", other]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=WITHIN_S, check=True)  # noqa: S603
    assert first not in json.loads(ended.stdout)


def mostly(port: int) -> list[int]:
    """This port and a few others; a random choice is mostly this one."""
    return [port] * 1000 + list(range(12_000, 12_100))
