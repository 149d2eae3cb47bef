"""Running a command again and again while somebody works on its files: `--reload`."""

import asyncio
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

from hookline.runtime.shutdown import ExitCode
from hookline.schemas.errors import SettingsError

log = logging.getLogger("hookline")

Watch = Callable[[Callable[[set[str]], None], asyncio.Event], Coroutine[Any, Any, None]]
"""Tells of changed files, by their names, until the event is set."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_END_MARGIN_S = 10.0


def run_reloading(command: Sequence[str], folders: Iterable[Path], shutdown_s: float) -> int:
    """Run a `hookline` command in a process of its own, anew whenever a Python file in the folders changes.

    Before each new start the old process finishes what it has in hand; one that has not ended `shutdown_s` and a
    little later is killed. A process that ends by itself, of a syntax error for example, is started again at the next
    change. Returns the exit code of the last one after SIGTERM, SIGINT or SIGHUP. Raises SettingsError without the
    library that watches files.
    """
    try:
        from watchfiles import PythonFilter, awatch  # noqa: PLC0415  an extra
    except ImportError:
        raise SettingsError("--reload needs the library watchfiles: pip install 'hookline[reload]'") from None

    async def watch(changed: Callable[[set[str]], None], stop: asyncio.Event) -> None:
        async for changes in awatch(*folders, watch_filter=PythonFilter(), stop_event=stop):
            changed({Path(path).name for _, path in changes})

    return asyncio.run(_Reloader(command, shutdown_s).run(watch))


def folders_of(names: Iterable[str]) -> list[Path]:
    """Where the files and modules lie that workers are found in, together with what they import from there."""
    folders = {Path(name).resolve().parent if name.endswith(".py") else _package_folder(name) for name in names}
    for missing in (folder for folder in folders if not folder.is_dir()):
        raise SettingsError(f"{missing}: there is no such folder")
    return sorted(folders)


def _package_folder(name: str) -> Path:
    """The folder of a module's outermost package. Finding it runs nothing of it."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    spec = importlib.util.find_spec(name.partition(".")[0])
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).resolve().parent
    raise SettingsError(f"{name}: there is no such module")


class _Reloader:
    """One process after the other. They get signals from us only, since a second one would tell them to hurry."""

    def __init__(self, command: Sequence[str], shutdown_s: float) -> None:
        self._command = [sys.executable, "-P", "-m", "hookline", *command]
        self._end_s = shutdown_s + _END_MARGIN_S
        self._process: asyncio.subprocess.Process | None = None
        self._changed: set[str] = set()
        self._stopping = asyncio.Event()
        self._something = asyncio.Event()

    async def run(self, watch: Watch) -> int:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop)
        watching = asyncio.create_task(watch(self._change, self._stopping))
        process = await self._start()
        while not self._stopping.is_set():
            await self._wait(process, watching)
            if self._changed and not self._stopping.is_set():
                process = await self._start_again(process)
        code = await self._end(process)
        await watching
        return code if code >= 0 else ExitCode.FAILED

    def _change(self, names: set[str]) -> None:
        self._changed |= names
        self._something.set()

    def _stop(self) -> None:
        self._stopping.set()
        self._something.set()
        self._terminate()

    def _terminate(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    async def _start(self) -> asyncio.subprocess.Process:
        # No byte code: Python takes a file that keeps its size within one second for unchanged.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = await asyncio.create_subprocess_exec(*self._command, env=environment, process_group=0)
        if self._stopping.is_set():
            self._terminate()
        return self._process

    async def _wait(self, process: asyncio.subprocess.Process, watching: asyncio.Task[None]) -> None:
        """Until a file has changed or we are to stop; tells if the process ends meanwhile."""
        something = asyncio.create_task(self._something.wait())
        ended = asyncio.create_task(process.wait())
        await asyncio.wait([something, ended, watching], return_when=asyncio.FIRST_COMPLETED)
        if not something.done() and ended.done():
            log.warning("the process ended with exit code %d; waiting for a change", ended.result())
        await asyncio.wait([something, watching], return_when=asyncio.FIRST_COMPLETED)
        if not something.done():
            watching.result()
        ended.cancel()
        self._something.clear()

    async def _start_again(self, process: asyncio.subprocess.Process) -> asyncio.subprocess.Process:
        log.info("%s changed: starting again", ", ".join(sorted(self._changed)))
        self._changed = set()
        self._terminate()
        await self._end(process)
        return process if self._stopping.is_set() else await self._start()

    async def _end(self, process: asyncio.subprocess.Process) -> int:
        """Wait for the end of a process that was asked to, and make sure of it; its exit code."""
        try:
            async with asyncio.timeout(self._end_s):
                return await process.wait()
        except TimeoutError:
            log.warning("the process did not end within %g s and is killed", self._end_s)
            process.kill()
            return await process.wait()
