"""Hookline as its users run it: processes with a settings file that tests start, query and kill."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from hookline.cli.settings_template import settings_file
from hookline.settings import Settings, load
from tests.forked_commands import ForkedProcess, run_forked, start_forked
from tests.services.servers import free_ports

WITHIN_S = 60.0
"""How long anything may take on a busy machine."""
END_S = WITHIN_S
_COMMAND_S = 120
_SHOWN_LINES = 400
_OURS = ("hookline",)

COUNTER = '''
"""A worker in its own file, as a team would write it. It writes a line for each event that it handles."""

import os

from hookline.events import Event
from hookline import Delivery, worker


@worker(topic="#", queue="counter")
async def counter(event: Event, delivery: Delivery) -> None:
    line = f"{event.id} {type(event).__name__} {os.getpid()}\\n".encode()
    file = os.open(os.environ["COUNTED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, line)
    os.close(file)
'''


@dataclass
class Process:
    """A running command and its log, with one JSON object on each line."""

    popen: subprocess.Popen[str] | ForkedProcess
    lines: list[dict[str, Any]] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    follower: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.follower = threading.Thread(target=self._follow, daemon=True)
        self.follower.start()

    def _follow(self) -> None:
        assert self.popen.stderr is not None
        with self.popen.stderr as log:
            for line in log:
                self.output.append(line)
                if line.startswith("{"):
                    self.lines.append(json.loads(line))

    def wait_for(self, text: str) -> None:
        """Wait for a line with this text. Fails if the log ends without it."""
        until(lambda: self.count(text) > 0 or not self.follower.is_alive())
        assert self.count(text), "".join(self.output)

    def count(self, text: str) -> int:
        """How many lines have this text."""
        return sum(text in line for line in list(self.output))

    def kill(self) -> None:
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(END_S)

    def stop(self) -> int:
        """Ask it to end and read its log to the end. Returns its exit code."""
        self.popen.send_signal(signal.SIGTERM)
        code = self.popen.wait(END_S)
        self.follower.join(END_S)
        return code


class Project:
    """A folder with settings, in which processes run."""

    def __init__(
        self, folder: Path, broker_url: str = "sqlite:hookline.db", store_url: str = "sqlite:hookline.db"
    ) -> None:
        self.folder = folder
        self.counted = folder / "counted"
        self.config = folder / "hookline.toml"
        self._running: list[Process] = []
        (self._port,) = free_ports(1)
        text = settings_file().replace("port = 8080", f"port = {self._port}")
        head, _, rest = text.replace('url = "sqlite:hookline.db"', f'url = "{broker_url}"', 1).partition("[store]")
        rest = rest.replace('url = "sqlite:hookline.db"', f'url = "{store_url}"', 1)
        self.config.write_text(f"{head}[store]{rest}")
        (folder / "counter.py").write_text(COUNTER)

    @property
    def settings(self) -> Settings:
        return load(self.config, with_sources=True)

    def url(self, source: str) -> str:
        return f"http://127.0.0.1:{self._port}/hooks/{source}"

    def start(
        self,
        *arguments: str,
        ready: str = "queue: ",
        under: Sequence[str] = (),
        module: Sequence[str] = _OURS,
        environment: Mapping[str, str] = MappingProxyType({}),
        config: Path | None = None,
    ) -> Process:
        """Start a command that keeps running, and wait until its log says that it is ready, if any text says so.

        `under` is a program that runs it, such as strace. `module` may be one that changes Hookline first. `config` is
        another settings file than the project's. The command is loaded by an interpreter of its own if any of them
        needs one, the environment does, or nobody waits for its start.
        """
        command = [*arguments, "--config", str(config or self.config), "--log", "json"]
        variables = {**self._environment(), "TMPDIR": self._temporary.name, **environment}
        if under or module != _OURS or not ready or any(name.startswith("PYTHON") for name in environment):
            process = Process(self._loaded_anew([*under, sys.executable, "-m", *module, *command], variables))
        else:
            process = Process(start_forked(command, folder=self.folder, environment=variables))
        self._running.append(process)
        if ready:
            process.wait_for(ready)
        return process

    def _loaded_anew(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603  our own command
            command,
            env=environment,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command that ends by itself."""
        command = list(arguments)
        if "--config" not in arguments and arguments[0] not in ("topics", "--help", "--version"):
            command += ["--config", str(self.config)]
        ended = run_forked(command, folder=self.folder, environment=self._environment(), seconds=_COMMAND_S)
        return subprocess.CompletedProcess(command, ended["code"], ended["stdout"], ended["stderr"])

    def log_lines(self, text: str) -> list[str]:
        """The lines with this text in the logs of all processes."""
        return [line for process in self._running for line in list(process.output) if text in line]

    def rooms(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.call("rooms", "--json", "--limit", "500").stdout)
        return found

    def handled(self) -> list[str]:
        """The ids of the events that the worker `counter` handled, in order."""
        lines = self.counted.read_text().splitlines() if self.counted.exists() else []
        return [line.split()[0] for line in lines]

    def close(self) -> None:
        """Kill all processes and print their logs, which pytest shows if the test failed."""
        for process in self._running:
            if process.popen.poll() is None:
                process.kill()
            process.follower.join(END_S)
            print("---", process.popen.args, "\n", *process.output[-_SHOWN_LINES:], sep="")  # noqa: T201
        self._temporary.cleanup()

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "COUNTED": str(self.counted), "PYTHONUNBUFFERED": "1"}

    @cached_property
    def _temporary(self) -> TemporaryDirectory[str]:
        """For what a killed process leaves, such as sockets of ingress processes. Their paths have to be short."""
        return TemporaryDirectory()


def until(condition: Callable[[], bool], seconds: float = WITHIN_S) -> None:
    """Wait for something that another process does. Fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


async def eventually(condition: Callable[[], bool], seconds: float = WITHIN_S) -> None:
    await asyncio.to_thread(until, condition, seconds)
