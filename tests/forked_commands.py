"""Runs commands of `hookline` that end by themselves, each in a fork of a process that has loaded all of them."""

import atexit
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

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

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._asked.write(json.dumps(asked) + "\n")
        self._asked.flush()
        answered: dict[str, Any] = json.loads(self._answers.readline())
        return answered

    def _close(self) -> None:
        self._asked.close()
        self._process.wait(_END_S)
        self._answers.close()


_idle: list[_Server] = []
"""Threads of a test may run commands at the same time. Each takes a server from here, or starts one."""


def run_forked(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], seconds: int, stdout: str = ""
) -> dict[str, Any]:
    """The `code`, `stdout` and `stderr` of a command. It is asked to stop after so many seconds.

    `stdout` is a file that it writes to instead, or `CLOSED_PIPE`.
    """
    try:
        server = _idle.pop()
    except IndexError:
        server = _Server()
    answered = server.answer(
        {
            "arguments": arguments,
            "folder": str(folder),
            "environment": dict(environment),
            "seconds": seconds,
            "stdout": stdout,
        }
    )
    _idle.append(server)
    return answered
