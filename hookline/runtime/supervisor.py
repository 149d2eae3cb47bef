"""Several ingresses behind one port: processes that are started, watched, started anew, and stopped together.

Each has a listening socket of its own on the port (SO_REUSEPORT), and Linux deals out the connections among them. One
that dies takes with it only what it had accepted; the others get what comes next.
"""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from hookline.runtime.shutdown import HURRY, STOP, ExitCode
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.settings import Settings

log = logging.getLogger("hookline")

_END_MARGIN_S = 10.0
_STEADY_S = 10.0
_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 10.0
_MAX_FALLS = 5


async def supervise(settings: Settings, command: Sequence[str], opened: Callable[[], None]) -> int:
    """Run as many ingress processes as the settings say until SIGTERM or SIGINT; returns the exit code.

    Calls `opened` when the first one listens. `command` holds the arguments of `hookline` for one process, without its
    number. Raises SettingsError for port 0, and Unreachable for a port that another program listens on.
    """
    await _check_port(settings.ingress.host, settings.ingress.port)
    end_s = settings.ingress.drain_s + settings.ingress.shutdown_s + _END_MARGIN_S
    return await _Supervisor(command, settings.ingress.processes, end_s).run(opened)


async def _check_port(host: str, port: int) -> None:
    """Bind once without sharing: our own processes would share the port with anybody of the same user."""
    if not port:
        raise SettingsError("ingress.port: 0 gives each process a port of its own; with several processes, name one")
    try:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
    except OSError as error:
        raise Unreachable(f"cannot listen on {host}:{port}: {error}") from None
    server.close()
    await server.wait_closed()


class _IngressProcess:
    """A process that says by a line of output that it listens, and is told by its input to stop.

    Signals, which end a process that has no ear for them yet or any more, do not reach it, not even a terminal's.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, command: Sequence[str]) -> Self:
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, process_group=0))

    async def listens(self) -> bool:
        """Wait until it does, or has ended without."""
        output = self._process.stdout
        return output is not None and bool(await output.readline())

    async def ended(self) -> int:
        return await self._process.wait()

    def tell(self, line: bytes) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(line)

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()


class _Supervisor:
    """Ingress processes by their numbers. The first starts alone: if it cannot start, none can."""

    def __init__(self, command: Sequence[str], count: int, end_s: float) -> None:
        self._command = [sys.executable, "-P", "-m", "hookline", *command, "--process"]
        self._count = count
        self._end_s = end_s
        self._processes: dict[int, _IngressProcess] = {}
        self._listening: set[int] = set()
        self._begun = asyncio.Event()  # the first listens, or nothing will
        self._stopping = asyncio.Event()

    async def run(self, opened: Callable[[], None]) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signal)
        keeping = [asyncio.create_task(self._keep(1))]
        await self._begun.wait()
        if not self._stopping.is_set():
            opened()
            keeping += [asyncio.create_task(self._keep(number)) for number in range(2, self._count + 1)]
        await self._stopping.wait()
        return await self._end(keeping)

    async def _keep(self, number: int) -> int:
        """Run an ingress, and another whenever it falls, until all are to stop; the exit code of the last."""
        falls = 0
        while True:
            started_s = time.monotonic()
            code = await self._run_one(number)
            if self._stopping.is_set():
                return code
            falls = 1 if time.monotonic() - started_s > _STEADY_S else falls + 1
            if not self._listening and (falls >= _MAX_FALLS or not self._begun.is_set()):
                self._give_up(falls)
                return code
            delay_s = min(_FIRST_DELAY_S * 2 ** (falls - 1), _MAX_DELAY_S)
            log.error("process %d ended with exit code %d; the next starts in %g s", number, code, delay_s)
            if await self._is_stopped_within(delay_s):
                return 0

    async def _run_one(self, number: int) -> int:
        """An ingress from its start to its end; its exit code."""
        try:
            ingress = await _IngressProcess.start([*self._command, str(number)])
        except OSError as error:  # no memory, or no room in the table of processes
            log.error("process %d cannot be started: %s", number, error)
            return ExitCode.FAILED
        self._processes[number] = ingress
        log.info("process %d has pid %d", number, ingress.pid)
        if self._stopping.is_set():
            ingress.tell(STOP)
        if await ingress.listens():
            self._listening.add(number)
            self._begun.set()
        code = await ingress.ended()
        self._listening.discard(number)
        return code

    def _give_up(self, falls: int) -> None:
        if self._begun.is_set():
            log.error("no ingress is left, and the last fell %d times in a row: giving up", falls)
        self._stop()

    def _signal(self) -> None:
        if not self._stopping.is_set():
            log.info("stopping")
            self._stop()
        else:
            self._log(HURRY)

    def _stop(self) -> None:
        self._stopping.set()
        self._begun.set()
        self._log(STOP)

    def _log(self, line: bytes) -> None:
        for ingress in self._processes.values():
            ingress.tell(line)

    async def _is_stopped_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()

    async def _end(self, keeping: Sequence[asyncio.Task[int]]) -> int:
        """Wait for the ingresses' orderly ends, and make sure of them; the first exit code that is not 0."""
        _, late = await asyncio.wait(keeping, timeout=self._end_s)
        if late:
            log.warning("processes that did not end within %g s are killed: %d", self._end_s, len(late))
            for ingress in self._processes.values():
                ingress.kill()
        codes = await asyncio.gather(*keeping)
        return next((code if code > 0 else ExitCode.FAILED for code in codes if code), 0)
