"""Runs several ingress processes that share a port: starts, watches and replaces them, and stops them together.

Each process has its own listening socket on the port (SO_REUSEPORT), and Linux spreads the connections over them. A
process that ends loses only the connections that it had accepted. The others get the next ones.
"""

import asyncio
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hookline.admin.processes import ProcessPages
from hookline.admin.server import AdminServer
from hookline.aio.retry_delays import RetryDelays
from hookline.ingress.listening import check_certificate, listening_sockets
from hookline.runtime import supervised
from hookline.runtime.listening import cannot_listen
from hookline.runtime.service_manager import ServiceManager
from hookline.runtime.settings_reload import SettingsReload
from hookline.runtime.shutdown import ExitCode, StopSignals
from hookline.runtime.supervised import ALIVE_EVERY_S, READ_SETTINGS, STOP, STOP_NOW
from hookline.schemas.errors import SettingsError
from hookline.settings import Settings

log = logging.getLogger("hookline")

_END_MARGIN_S = 10.0
_STEADY_S = 10.0
_RESTART = RetryDelays(first_s=0.1, max_s=10.0)
_MAX_FAILURES = 5
_SILENT_LOOKS = 5
_SILENT_AT_START_LOOKS = 60


async def supervise(settings: Settings, command: Sequence[str], opened: Callable[[], None]) -> int:
    """Run as many ingress processes as the settings say, until SIGTERM or SIGINT. Returns the exit code.

    Calls `opened` when the first one listens. `command` holds the arguments of `hookline` for one process, without its
    number. Raises SettingsError for port 0, and Unreachable for a port that another program listens on.
    """
    _check_port(settings.ingress.host, settings.ingress.port)
    supervisor = _Supervisor(settings)
    async with _operators_port(settings) as port:
        return await supervisor.run([*command, *port.arguments], port.use_token, opened)


@dataclass(frozen=True, slots=True)
class _OperatorsPort:
    """What each process is told for it, and how it gets another token."""

    arguments: Sequence[str]
    use_token: Callable[[str], None]


@asynccontextmanager
async def _operators_port(settings: Settings) -> AsyncIterator[_OperatorsPort]:
    """Answer for all processes, unless that is switched off."""
    if not settings.admin.port:
        yield _OperatorsPort((), lambda _: None)
        return
    folder = Path(tempfile.mkdtemp(prefix="hookline-"))  # only this user may use it
    server = AdminServer(ProcessPages(folder, settings.ingress.processes), settings.admin, settings)
    try:
        await server.start()
        yield _OperatorsPort(("--admin-folder", str(folder)), server.use_token)
    finally:
        await server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _check_port(host: str, port: int) -> None:
    """Bind the port once without sharing it: our processes would share it with any program of the same user."""
    if not port:
        raise SettingsError("ingress.port: 0 gives each process a port of its own; several processes need a fixed port")
    try:
        listening = listening_sockets(host, port, shared=False)
    except OSError as error:
        raise cannot_listen(host, port, error) from None
    for each in listening:
        each.close()


class _IngressProcess:
    """A process that says on stdout each second that it runs, and does what lines on stdin ask for.

    It gets no signals, not even those of a terminal. A signal would kill it while it does not handle signals yet, or no
    longer.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._silent_looks = 0
        self._max_silent_looks = _SILENT_AT_START_LOOKS
        self.pid = process.pid

    @classmethod
    async def start(cls, command: Sequence[str]) -> Self:
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, process_group=0))

    async def lines(self) -> AsyncIterator[bytes]:
        """What the process says, until it ends."""
        output = self._process.stdout
        while output is not None and (line := await output.readline()):
            self._silent_looks, self._max_silent_looks = 0, _SILENT_LOOKS
            yield line

    async def silent(self) -> None:
        """Return when the process has said nothing for five seconds.

        Counts looks, since a pause of this process, or of the machine, is none of the other's.
        """
        while self._silent_looks < self._max_silent_looks:
            self._silent_looks += 1
            await asyncio.sleep(ALIVE_EVERY_S)

    async def wait(self) -> int:
        return await self._process.wait()

    def send(self, line: bytes) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(line)

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()


class _Supervisor:
    """Ingress processes by their numbers. The first one starts alone: if it cannot start, none can.

    Listens to the signals that stop it before anything is open that must be closed.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._service_manager = ServiceManager.of_environment()
        self._count = settings.ingress.processes
        self._end_s = settings.ingress.drain_s + settings.ingress.shutdown_s + _END_MARGIN_S
        self._processes: dict[int, _IngressProcess] = {}
        self._listening: set[int] = set()
        self._begun = asyncio.Event()  # the first process listens, or none will
        self._stopping = asyncio.Event()
        StopSignals(self._stop_in_order, self._stop_now)

    async def run(self, command: Sequence[str], use_token: Callable[[str], None], opened: Callable[[], None]) -> int:
        if self._stopping.is_set():
            return 0
        self._use_token = use_token
        self._command = [sys.executable, "-P", "-m", "hookline", *command, "--process"]
        SettingsReload(
            self._settings,
            self._use,
            self._stop_in_order,
            self._service_manager,
            with_sources=True,
            names_changes=False,  # each process does
        )
        keepers = [asyncio.create_task(self._keep(1))]
        await self._begun.wait()
        if not self._stopping.is_set():
            opened()
            self._service_manager.ready()
            keepers += [asyncio.create_task(self._keep(number)) for number in range(2, self._count + 1)]
        await self._stopping.wait()
        self._service_manager.stopping()
        return await self._end(keepers)

    def _use(self, settings: Settings) -> None:
        ingress = self._settings.ingress
        check_certificate(ingress.tls_certificate, ingress.tls_key)  # each process would refuse the settings, too
        self._use_token(settings.admin.token)
        self._send_all(READ_SETTINGS)

    async def _keep(self, number: int) -> int:
        """Run an ingress, and replace it when it ends, until all stop. Returns the exit code of the last one."""
        failures = 0
        while True:
            started_s = time.monotonic()
            code = await self._run_one(number)
            if self._stopping.is_set():
                return code
            failures = 1 if time.monotonic() - started_s > _STEADY_S else failures + 1
            if not self._listening and (failures >= _MAX_FAILURES or not self._begun.is_set()):
                self._give_up(failures)
                return code
            delay_s = _RESTART.delay_s(failures)
            log.error("process %d ended with exit code %d; the next starts in %.2f s", number, code, delay_s)
            if await self._is_stopped_within(delay_s):
                return 0

    async def _run_one(self, number: int) -> int:
        """Run an ingress from its start to its end. Returns its exit code."""
        try:
            ingress = await _IngressProcess.start([*self._command, str(number)])
        except OSError as error:  # no memory, or too many processes
            log.error("process %d cannot be started: %s", number, error)
            return ExitCode.FAILED
        self._processes[number] = ingress
        log.info("process %d has pid %d", number, ingress.pid)
        if self._stopping.is_set():
            ingress.send(STOP)
        following = asyncio.create_task(self._follow(number, ingress))
        watching = asyncio.create_task(self._kill_if_silent(number, ingress))
        code = await ingress.wait()
        for task in (following, watching):
            task.cancel()
        self._listening.discard(number)
        return code

    async def _follow(self, number: int, ingress: _IngressProcess) -> None:
        """Note what a process says. The broker's return wakes the others, which may wait to try again."""
        async for line in ingress.lines():
            match line:
                case supervised.OPEN:
                    self._listening.add(number)
                    self._begun.set()
                case supervised.BROKER_BACK:
                    self._send_all(line, besides=ingress)
                case _:
                    pass

    async def _kill_if_silent(self, number: int, ingress: _IngressProcess) -> None:
        await ingress.silent()
        if self._stopping.is_set():  # it may be about to exit, with its link closed; `_end` limits how long that takes
            return
        log.error("process %d with pid %d has said nothing for seconds: it is killed", number, ingress.pid)
        ingress.kill()

    def _give_up(self, failures: int) -> None:
        if self._begun.is_set():
            log.error("no ingress process is left, and the last one failed %d times in a row: giving up", failures)
        self._stop()

    def _stop_in_order(self) -> None:
        if not self._stopping.is_set():
            log.info("stopping")
            self._stop()

    def _stop_now(self) -> None:
        self._send_all(STOP_NOW)

    def _stop(self) -> None:
        self._stopping.set()
        self._begun.set()
        self._send_all(STOP)

    def _send_all(self, line: bytes, *, besides: _IngressProcess | None = None) -> None:
        for ingress in self._processes.values():
            if ingress is not besides:
                ingress.send(line)

    async def _is_stopped_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()

    async def _end(self, keepers: Sequence[asyncio.Task[int]]) -> int:
        """Wait until all processes have ended, and kill those that take too long. The first exit code other than 0."""
        _, late = await asyncio.wait(keepers, timeout=self._end_s)
        if late:
            log.warning("%d processes did not end within %g s and are killed", len(late), self._end_s)
            for ingress in self._processes.values():
                ingress.kill()
        codes = await asyncio.gather(*keepers)
        return next((code if code > 0 else ExitCode.FAILED for code in codes if code), 0)
