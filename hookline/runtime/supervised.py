"""What an ingress process and its supervisor tell each other: lines on the pipes that are its stdin and stdout."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from hookline.aio.lasting_task import start_lasting

STOP = b"stop\n"
STOP_NOW = b"now\n"
READ_SETTINGS = b"settings\n"
"""From the supervisor. The end of stdin means `STOP`, which works even if the supervisor is killed."""

ALIVE = b"alive\n"
OPEN = b"open\n"
"""From a process: it runs, which it says each second; and it listens."""

BROKER_BACK = b"broker\n"
"""From the process that reconnected first, and to the others."""

ALIVE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Pipes:
    """A process's ends of both pipes, as file descriptors: what the supervisor says, and what it is told."""

    from_supervisor: int
    to_supervisor: int

    @classmethod
    def taken(cls) -> Self:
        """Take stdin and stdout for nothing else: from now on what a module prints goes to stderr."""
        pipes = cls(os.dup(0), os.dup(1))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        return pipes


class SupervisorLink:
    """A process's side. Calls what `heard` has for each line of the supervisor, and says each second that it runs."""

    def __init__(self, pipes: Pipes, heard: Mapping[bytes, Callable[[], None]]) -> None:
        self._pipes = pipes
        self._heard = heard
        self._rest = b""
        self._loop = asyncio.get_running_loop()
        os.set_blocking(pipes.to_supervisor, False)  # a frozen supervisor must not freeze this process
        self._loop.add_reader(pipes.from_supervisor, self._read)
        self._task = start_lasting(self._say_alive(), "telling the supervisor that the process runs")

    def tell(self, line: bytes) -> None:
        with suppress(BrokenPipeError, BlockingIOError):  # without a supervisor the end of stdin stops this process
            os.write(self._pipes.to_supervisor, line)

    def close(self) -> None:
        self._task.cancel()
        self._loop.remove_reader(self._pipes.from_supervisor)

    async def _say_alive(self) -> None:
        while True:
            self.tell(ALIVE)
            await asyncio.sleep(ALIVE_EVERY_S)

    def _read(self) -> None:
        read = os.read(self._pipes.from_supervisor, 1024)
        *lines, self._rest = (self._rest + read).split(b"\n")
        if not read:
            self._loop.remove_reader(self._pipes.from_supervisor)
            lines.append(STOP.rstrip())
        for line in lines:
            if (call := self._heard.get(line + b"\n")) is not None:
                call()
