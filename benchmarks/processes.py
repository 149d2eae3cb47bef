"""The programs that are measured: started as users start them, and stopped by SIGTERM."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import notes
from benchmarks.accounting import is_listening, peak_mib, rss_mib
from benchmarks.errors import InvalidRun

ROOT = Path(__file__).parent.parent
_START_S = 30.0
_END_S = 60.0


class Program:
    """A running program, whose output goes to a file, like the log of a service.

    `arguments` are those of `python -m`, unless there is another `executable`.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        executable: Sequence[str] = (sys.executable, "-m"),
    ) -> None:
        self.name = name
        self._output = folder / f"{name}.log"
        self._command = [*executable, *arguments]
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        self._started = time.monotonic()
        with self._output.open("ab") as output:
            self._popen = subprocess.Popen(
                self._command, env=self._environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def pids(self) -> list[int]:
        return [self._popen.pid]

    def rss_mib(self) -> float:
        return rss_mib(self.pids())

    def peak_mib(self) -> float:
        return peak_mib(self.pids())

    def wait_until(self, condition: Callable[[], bool], within_s: float, poll_s: float = 0.005) -> float:
        """Return once the condition holds: the seconds since the program was started. Raises InvalidRun."""
        deadline = time.monotonic() + within_s
        while not condition():
            if self._popen.poll() is not None or time.monotonic() > deadline:
                raise InvalidRun(f"{self.name} ended, or took too long: {self._output.read_text()[-2000:]}")
            time.sleep(poll_s)
        return time.monotonic() - self._started

    def stop(self) -> None:
        """Stop it by SIGTERM. Raises InvalidRun if it fails or does not end."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
        try:
            code = self._popen.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise InvalidRun(f"{self.name} did not end after SIGTERM") from None
        if code not in (0, -signal.SIGTERM):
            raise InvalidRun(f"{self.name} ended with {code}: {self._output.read_text()[-2000:]}")

    def kill(self) -> None:
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()


class Ingress(Program):
    """A program that listens on a port."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        port: int,
        executable: Sequence[str] = (sys.executable, "-m"),
    ) -> None:
        super().__init__(name, arguments, folder, {}, executable)
        self.port = port
        try:
            self.start_s = self.wait_until(lambda: _answers(port), _START_S)
        except BaseException:
            self.kill()
            raise


class Consumer(Program):
    """A program that consumes a queue, and records its events. One that `listens` has an operator's port."""

    def __init__(
        self, name: str, arguments: Sequence[str], folder: Path, notes_folder: Path, *, listens: bool = False
    ) -> None:
        super().__init__(name, arguments, folder, {notes.FOLDER_VARIABLE: str(notes_folder)})
        self.notes_folder = notes_folder
        self._listens = listens

    @property
    def has_started(self) -> bool:
        """Whether its operator's port is open, which takes longer than to begin with the queue."""
        return not self._listens or is_listening(self.pid)


def _answers(port: int) -> bool:
    """Whether the ingress is ready; a reference has no readiness, and answers 404 as soon as it listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status in (200, 404)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
