"""The private servers of a test run: own ports, own folders. Each starts with the first test that needs it."""

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

import psutil
import pytest


class Startable(Protocol):
    def start(self) -> None: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=Startable)

_PORTS = range(12_000, 32_000)
_START_S = 60.0
_GUARD = """
read -r _
while read -r pid; do kill -s KILL -- "-$pid"; done < "$1/pids"
rm -rf "$1"
"""
"""Waits until the tests end. If they were killed, it ends the server and removes its folder."""


class OwnServer:
    """A server's folder and ports, and its processes while it runs. A subclass says which program to launch."""

    def __init__(self, name: str, *, user: str | None = None) -> None:
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        self._companion: subprocess.Popen[bytes] | None = None
        self.user = user
        self.environment: Mapping[str, str] | None = None
        self.home = Path(tempfile.mkdtemp(prefix=f"hookline-{name.lower()}-"))
        self._note()
        self._guard = subprocess.Popen(  # noqa: S603  our own script
            ["/bin/sh", "-c", _GUARD, "guard", self.home],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        (self.port,) = free_ports(1)

    @property
    def pid(self) -> int | None:
        """The first of the server's processes, while it runs."""
        return None if self._process is None else self._process.pid

    def launch(self, command: Sequence[str | Path], answers: Callable[[], bool]) -> None:
        """Return once the server answers; fails with the end of its output if it ends or takes a minute."""
        self._process = self._spawn(command)
        self._note()
        self._await(self._process, answers)

    def launch_companion(self, command: Sequence[str | Path], answers: Callable[[], bool]) -> None:
        """Return once another program that the server needs answers. It runs until `close`."""
        self._companion = self._spawn(command)
        self._note()
        self._await(self._companion, answers)

    def _spawn(self, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        """A process in the server's folder, with a session of its own; its output goes to `output` there."""
        with (self.home / "output").open("ab") as output:
            return subprocess.Popen(  # noqa: S603  # the server's own program
                command,
                env=self.environment,
                user=self._account(),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _account(self) -> str | int | None:
        """The user as whom the server runs, by name or number; None for the one of the tests."""
        return self.user

    def freeze(self) -> None:
        """Return once every process of the server has stopped. The kernel still accepts connections; nobody answers."""
        pids = self._stop()
        while self._is_running() and any(map(_moves, pids)):  # a thread runs on until the kernel interrupts it
            time.sleep(0.01)

    def thaw(self) -> None:
        for pid in self._pids():
            _send(pid, signal.SIGCONT)

    def kill(self) -> None:
        """End the server as a power cut would, as far as its memory is concerned."""
        for pid in self._stop():
            _send(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None
            self._note()

    def close(self) -> None:
        self.kill()
        if self._companion is not None:
            self._companion.kill()
            self._companion.wait()
        shutil.rmtree(self.home, ignore_errors=True)
        self._guard.communicate()

    def _note(self) -> None:
        """Write down for the guard which sessions are the server's."""
        running = [process.pid for process in (self._process, self._companion) if process is not None]
        (self.home / "pids").write_text("".join(f"{pid}\n" for pid in running))

    def _await(self, process: subprocess.Popen[bytes], answers: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_S
        while not answers():
            if time.monotonic() > deadline or process.poll() is not None:
                written = (self.home / "output").read_text(errors="replace")
                pytest.fail(f"{self._name} did not start: {written[-2000:]}")
            time.sleep(0.05)

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _stop(self) -> list[int]:
        """Stop every process of the server, parents first, until none starts another; returns their ids."""
        stopped: list[int] = []
        while started := [pid for pid in self._pids() if pid not in stopped]:
            for pid in started:
                _send(pid, signal.SIGSTOP)
            stopped += started
        return stopped

    def _pids(self) -> list[int]:
        """The server's first process and its descendants. PostgreSQL's have sessions of their own."""
        if self._process is None or self._process.poll() is not None:
            return []
        descendants = psutil.Process(self._process.pid).children(recursive=True)
        return [self._process.pid, *(process.pid for process in descendants)]


def own_server(config: pytest.Config, key: pytest.StashKey[S], variable: str, make: Callable[[], S]) -> S:
    """This run's own server; skips the test where the environment names another, which a test must not control."""
    if os.environ.get(variable):
        pytest.skip(f"{variable} is set, and this test has to control the server itself")
    if key not in config.stash:
        server = make()
        config.add_cleanup(server.close)  # before it starts, so that a server that fails to start is removed as well
        server.start()
        config.stash[key] = server
    return config.stash[key]


def missing(name: str, variable: str) -> NoReturn:
    """A server that is not installed: fails in CI, and skips on a laptop."""
    reason = f"{name} is not installed: run tests/services/install.sh, or set {variable}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, outside the range from which the system takes those of connections.

    No other process of tests gets them until this one ends: what listens on a port may be killed and started again.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.choice(_PORTS)  # noqa: S311  # no secret
        if port not in _given and _is_claimed(port) and _is_free(port):
            _given.add(port)
            ports.append(port)
    return ports


_given: set[int] = set()


def _is_claimed(port: int) -> bool:
    """Whether this process has got the lock of the port, which it keeps until it ends."""
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@cache
def _claims() -> int:
    """A file of which each byte stands for a port. It stays open, since closing it would end the locks."""
    return os.open(Path(tempfile.gettempdir(), f"hookline-test-ports-{os.getuid()}"), os.O_WRONLY | os.O_CREAT)


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(pid, number)


def _moves(pid: int) -> bool:
    """Whether a thread of the process is not stopped; false where there is no /proc."""
    for stat in Path(f"/proc/{pid}/task").glob("[0-9]*/stat"):
        with suppress(OSError):  # the thread has ended
            state = stat.read_text(errors="replace").rpartition(")")[2].split()[0]
            if state not in "TtZX":
                return True
    return False
