"""Runs commands of `hookline`, each in a fork of a process that has loaded all of them."""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TextIO, cast

_ROOT = Path(__file__).parent.parent
_END_S = 10.0


class _Server:
    """A process of `tests.command_server`, which runs one command at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.command_server"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._asked, self._answers = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        atexit.register(self._close)

    def ask(self, asked: Mapping[str, Any]) -> None:
        self._asked.write(json.dumps(asked) + "\n")
        self._asked.flush()

    def answer(self) -> dict[str, Any]:
        answered: dict[str, Any] = json.loads(self._answers.readline())
        return answered

    def _close(self) -> None:
        self._asked.close()
        self._process.wait(_END_S)
        self._answers.close()


_idle: list[_Server] = []
"""Threads of a test may run commands at the same time. Each takes a server from here, or starts one."""


class ForkedProcess:
    """A command that keeps running. It is used like a `subprocess.Popen`."""

    def __init__(self, args: Sequence[str], life: int, stderr: TextIO) -> None:
        self.args = args
        self.stderr = stderr
        self.returncode: int | None = None
        self._life = life
        self._said = b""
        os.set_blocking(life, False)
        (pid,) = self._lines(1, _END_S)
        self.pid = int(pid)

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        if self.returncode is None and (lines := self._lines(2, 0)):
            self.returncode = int(lines[1])
            os.close(self._life)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Its exit code. Raises TimeoutExpired after so many seconds."""
        if self.returncode is None:
            self._lines(2, timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def _lines(self, count: int, seconds: float) -> list[bytes]:
        """What its watcher has said; nothing if it does not say so many lines in time."""
        deadline = time.monotonic() + seconds
        while self._said.count(b"\n") < count:
            if not select.select([self._life], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return []
            with suppress(BlockingIOError):  # another thread has read it
                said = os.read(self._life, 64)
                assert said, "the watcher of a command ended before it"
                self._said += said
        return self._said.split()


def start_forked(arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> ForkedProcess:
    """A command that runs until a signal ends it. Its stdout goes nowhere."""
    with tempfile.TemporaryDirectory() as pipes, _server() as server:
        life, stderr = Path(pipes, "life"), Path(pipes, "stderr")
        os.mkfifo(life)
        os.mkfifo(stderr)
        server.ask(
            {
                "arguments": arguments,
                "folder": str(folder),
                "environment": dict(environment),
                "life": str(life),
                "stderr": str(stderr),
            }
        )
        return ForkedProcess(arguments, os.open(life, os.O_RDONLY), stderr.open())


def run_forked(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], seconds: int, stdout: str = ""
) -> dict[str, Any]:
    """The `code`, `stdout` and `stderr` of a command. It is asked to stop after so many seconds.

    `stdout` is a file that it writes to instead, or `CLOSED_PIPE`.
    """
    with _server() as server:
        server.ask(
            {
                "arguments": arguments,
                "folder": str(folder),
                "environment": dict(environment),
                "seconds": seconds,
                "stdout": stdout,
            }
        )
        return server.answer()


@contextmanager
def _server() -> Iterator[_Server]:
    """A server that runs nothing, until the end of the block."""
    try:
        server = _idle.pop()
    except IndexError:
        server = _Server()
    yield server
    _idle.append(server)
