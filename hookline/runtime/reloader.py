"""Runs a command again and again while somebody works on its files: `--reload`.

watchfiles watches the files. Its own `run_process` cannot run the command: it kills a process five seconds after the
stop, sends a second SIGINT after the terminal's, which tells the process not to drain, and returns no exit code.
"""

import asyncio
import importlib.util
import logging
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from hookline.import_errors import optional_libraries
from hookline.runtime.early_signals import admit_hangup
from hookline.runtime.shutdown import ExitCode
from hookline.schemas.errors import SettingsError

log = logging.getLogger("hookline")

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_END_MARGIN_S = 10.0


async def run_reloading(command: Sequence[str], folders: Sequence[Path], settings: Path, shutdown_s: float) -> int:
    """Run a `hookline` command in a child process, and start it again whenever what it reads changes.

    That is the settings file, and any Python file in the folders.

    Before each new start the old process finishes what is in flight. It is killed if it takes ten seconds longer than
    `shutdown_s`. A process that ends by itself is started again at the next change. Returns the exit code of the last
    process after SIGTERM, SIGINT or SIGHUP. Raises SettingsError if watchfiles is not installed.
    """
    with optional_libraries("reload", "--reload needs a library"):
        from watchfiles import Change, PythonFilter, awatch  # noqa: PLC0415  an extra

    is_python, settings = PythonFilter(), settings.resolve()  # noqa: ASYNC240  before anything runs

    def is_read(change: Change, path: str) -> bool:
        file = Path(path)
        return file == settings or (is_python(change, path) and any(file.is_relative_to(each) for each in folders))

    stopping = asyncio.Event()
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    admit_hangup()
    end_s = shutdown_s + _END_MARGIN_S
    process, ending = await _start(command)
    try:
        async for changes in awatch(*{*folders, settings.parent}, watch_filter=is_read, stop_event=stopping):
            log.info("%s changed: restarting", ", ".join(sorted({Path(path).name for _, path in changes})))
            await _end(process, ending, end_s)
            if stopping.is_set():
                break
            process, ending = await _start(command)
    finally:
        code = await _end(process, ending, end_s)
    return code if code >= 0 else ExitCode.FAILED


async def _start(command: Sequence[str]) -> tuple[Process, asyncio.Task[None]]:
    """The process, and a task that logs if it ends by itself.

    The process gets no signals from the terminal, only ours: a second one would tell it not to drain.
    """
    # Without byte code files: Python reuses one if a source file has the same size and the same second of change.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = (sys.executable, "-P", "-m", "hookline", *command)
    process = await asyncio.create_subprocess_exec(*arguments, env=environment, process_group=0)
    return process, asyncio.create_task(_log_end(process))


async def _log_end(process: Process) -> None:
    code = await process.wait()
    log.warning("the process ended with exit code %d; waiting for a change", code)


async def _end(process: Process, ending: asyncio.Task[None], end_s: float) -> int:
    """Ask the process to end, and kill it if it does not. Returns its exit code."""
    ending.cancel()
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(end_s):
            return await process.wait()
    except TimeoutError:
        log.warning("the process did not end within %g s and is killed", end_s)
        process.kill()
        return await process.wait()


def folders_of(names: Iterable[str]) -> list[Path]:
    """The folders of these files and modules, which also hold what they import from there."""
    folders = {Path(name).resolve().parent if name.endswith(".py") else _package_folder(name) for name in names}
    for missing in (folder for folder in folders if not folder.is_dir()):
        raise SettingsError(f"{missing}: there is no such folder")
    return sorted(folders)


def _package_folder(name: str) -> Path:
    """The folder of a module's outermost package. The package is not imported to find it."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    spec = importlib.util.find_spec(name.partition(".")[0])
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).resolve().parent
    raise SettingsError(f"{name}: there is no such module")
