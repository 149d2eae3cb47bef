"""Hookline's processes, each in a folder of its own, started through the command line and kept running."""

import asyncio
import signal
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

How: TypeAlias = Literal["killed", "stopped", "hung", "by itself"]
"""How a process ended. One that hung was stopped, did not end in time, and was killed."""

READY = "queue: "
READY_S = 240.0
STOP_S = 60.0
_PAUSE_S = 1.0
_LOOK_S = 0.1


@dataclass(slots=True)
class Life:
    """One process from its start to its end. Times are monotonic."""

    name: str
    pid: int
    started_at: float
    log: Path
    ended_at: float | None = None
    how: How | None = None
    code: int | None = None

    def was_ready(self) -> bool:
        return READY in self.log.read_text(errors="replace")


class Process:
    """A command that is started again whenever it ends by itself, as a service manager would."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str], program: Sequence[str]) -> None:
        self.name = name
        self.arguments: tuple[str, ...] = ()
        self.lives: list[Life] = []
        self._folder = folder
        self._environment = environment
        self._program = program
        self._popen: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ending: How | None = None

    @property
    def life(self) -> Life:
        return self.lives[-1]

    async def start(self) -> None:
        """Start it; it is ready later."""
        self._ending = None
        popen = await self._spawn()
        self._keeper = asyncio.create_task(self._keep(popen))

    async def ready(self) -> bool:
        """Wait until it says that it is ready, however often it has to start again; whether it did in time."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self.life.ended_at is None and self.life.was_ready():
                return True
            await asyncio.sleep(_LOOK_S)
        return False

    async def kill(self) -> None:
        await self._end("killed", signal.SIGKILL)

    async def stop(self) -> None:
        """Ask it to end; kill it if it takes a minute."""
        await self._end("stopped", signal.SIGTERM)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def _end(self, how: How, number: signal.Signals) -> None:
        if self._keeper is None:
            return
        self._ending = how
        self._signal(number)
        await asyncio.wait([self._keeper], timeout=STOP_S)
        if not self._keeper.done():
            self._ending = "hung"
            self._signal(signal.SIGKILL)
        await self._keeper
        self._keeper = None

    def _signal(self, number: signal.Signals) -> None:
        if self._popen is not None and self._popen.returncode is None:
            self._popen.send_signal(number)

    async def _keep(self, popen: asyncio.subprocess.Process) -> None:
        while True:
            code = await popen.wait()
            self.life.ended_at, self.life.code, self.life.how = time.monotonic(), code, self._ending or "by itself"
            if self._ending is None:
                await asyncio.sleep(_PAUSE_S)
            if self._ending is not None:
                return
            popen = await self._spawn()

    async def _spawn(self) -> asyncio.subprocess.Process:
        path = self._folder / f"{self.name}-{len(self.lives)}.log"
        with path.open("wb") as log:
            popen = await asyncio.create_subprocess_exec(
                *(sys.executable, *self._program, *self.arguments, "--config", "hookline.toml", "--log", "json"),
                env=self._environment,
                cwd=self._folder,
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=log,
            )
        self._popen = popen
        self.lives.append(Life(self.name, popen.pid, time.monotonic(), path))
        return popen
