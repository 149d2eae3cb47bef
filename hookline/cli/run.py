"""`hookline run`, `ingress` and `worker`: the commands that run until they are stopped."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from hookline.admin.pages import socket_of
from hookline.cli.options import config_option, fail_fast_option, log_option
from hookline.runtime import logs
from hookline.runtime.event_loop import collect_rarely, let_threads_in, run_to_end
from hookline.runtime.logs import log_queue, log_sources
from hookline.runtime.outcome_log import OutcomeLog
from hookline.runtime.reloader import folders_of, run_reloading
from hookline.runtime.roles import Roles
from hookline.runtime.shutdown import until_exit
from hookline.runtime.supervised import Pipes
from hookline.runtime.worker_files import BUILT_IN, find_workers
from hookline.schemas.errors import SettingsError
from hookline.settings import Settings, load
from hookline.settings_sections import LogErrors

_FAIL_FAST = ("--fail-fast",)

reload_option = click.option(
    "--reload",
    "reloads",
    is_flag=True,
    help="For development: restart when a Python file next to the workers, or the settings file, changes.",
)


log_errors_option = click.option(
    "--log-errors",
    type=click.Choice(["place", "text", "full"]),
    help="Of an error in a worker's function, log the type and the line, the text too, or the full traceback.  "
    "[default: log_errors of the settings; else full in `run` and with --reload, and place in `worker`]",
)


@click.command(
    epilog="""\b
    Examples:
      hookline run
      hookline run attendance.py billing.py
      hookline run --reload attendance.py
      hookline run --log json mycompany.workers
    """
)
@click.argument("workers", nargs=-1, metavar="[WORKER]...")
@reload_option
@fail_fast_option
@config_option
@log_option
@log_errors_option
def run(
    workers: tuple[str, ...],
    config: Path,
    log_style: str,
    log_errors: LogErrors | None,
    *,
    reloads: bool,
    fail_fast: bool,
) -> None:
    """Run the ingress and workers in one process.

    This is the way to start. The built-in room view runs too. WORKER is a Python file or a module. All workers in
    it run.
    """
    logs.set_up(log_style)
    settings = load(config, with_sources=True)
    if settings.ingress.processes > 1:
        raise SettingsError(
            f"ingress.processes is {settings.ingress.processes}, but `hookline run` is one process: "
            "run `hookline ingress` and `hookline worker` instead"
        )
    log_errors = log_errors or settings.workers.log_errors or "full"
    if reloads:
        _reload("run", workers, settings, [*_logging(log_style, log_errors), *_FAIL_FAST[:fail_fast]])
    found = find_workers(name for name in workers if name != BUILT_IN)
    _serve(settings, Roles(ingress=True, workers=found, rooms=True, fail_fast=fail_fast), log_errors)


@click.command(
    epilog="""\b
    Examples:
      hookline ingress
      hookline ingress --config /etc/hookline.toml --log json
    """
)
@fail_fast_option
@config_option
@log_option
@click.option("--process", type=int, hidden=True, help="The number of this process, given by the supervisor.")
@click.option(
    "--admin-folder",
    type=click.Path(path_type=Path),
    hidden=True,
    help="The folder of its socket, given by the supervisor.",
)
def ingress(config: Path, log_style: str, process: int | None, admin_folder: Path | None, *, fail_fast: bool) -> None:
    """Run only the ingress.

    It receives callbacks and publishes them to the queue. With `processes` under [ingress] in the settings, that
    many processes share the port. One that ends is replaced.
    """
    pipes = None if process is None else Pipes.taken()  # before any provider's module is loaded, which may print
    logs.set_up(log_style, process=process)
    settings = load(config, with_sources=True)
    if settings.ingress.processes > 1 and process is None:
        _supervise(settings, log_style, fail_fast=fail_fast)
    socket = None if process is None or admin_folder is None else socket_of(admin_folder, process)
    _serve(settings, Roles(ingress=True, process=process, pipes=pipes, admin_socket=socket, fail_fast=fail_fast))


@click.command(
    epilog="""\b
    Examples:
      hookline worker attendance.py
      hookline worker --reload attendance.py
      hookline worker rooms mycompany.workers
    """
)
@click.argument("workers", nargs=-1, required=True, metavar="WORKER...")
@reload_option
@fail_fast_option
@config_option
@log_option
@log_errors_option
def worker(
    workers: tuple[str, ...],
    config: Path,
    log_style: str,
    log_errors: LogErrors | None,
    *,
    reloads: bool,
    fail_fast: bool,
) -> None:
    """Run only workers.

    You can start several processes: they share the events of each queue. WORKER is a Python file or a module, of
    which all workers run, or `rooms` for the built-in room view. The secrets of the sources are not needed and not
    read.
    """
    logs.set_up(log_style)
    settings = load(config, with_sources=False)
    log_errors = log_errors or settings.workers.log_errors
    if reloads:
        _reload("worker", workers, settings, [*_logging(log_style, log_errors or "full"), *_FAIL_FAST[:fail_fast]])
    found = find_workers(name for name in workers if name != BUILT_IN)
    _serve(settings, Roles(workers=found, rooms=BUILT_IN in workers, fail_fast=fail_fast), log_errors or "place")


def _serve(settings: Settings, roles: Roles, log_errors: LogErrors = "place") -> None:
    collect_rarely()
    if roles.ingress:  # anybody may keep its event loop busy; in a worker, `LoopWatch` looks after the threads
        let_threads_in()
    from hookline.runtime.serve import serve  # noqa: PLC0415  slow to load

    run_to_end(until_exit(serve(settings, roles, OutcomeLog(settings.workers.log_events_per_s, log_errors))))


def _supervise(settings: Settings, log_style: str, *, fail_fast: bool) -> NoReturn:
    from hookline.runtime.supervisor import supervise  # noqa: PLC0415  slow to load

    def opened() -> None:
        log_sources(settings)
        log_queue(settings)

    command = ["ingress", "--config", str(settings.path), "--log", log_style, *_FAIL_FAST[:fail_fast]]
    sys.exit(asyncio.run(until_exit(supervise(settings, command, opened))))


def _logging(log_style: str, log_errors: LogErrors) -> list[str]:
    return ["--log", log_style, "--log-errors", log_errors]


def _reload(command: str, workers: tuple[str, ...], settings: Settings, options: Sequence[str]) -> NoReturn:
    folders = folders_of(name for name in workers if name != BUILT_IN)
    if not folders:
        raise click.UsageError("--reload needs the file or module of a worker to watch")
    arguments = [command, "--config", str(settings.path), *options, "--", *workers]
    sys.exit(asyncio.run(run_reloading(arguments, folders, settings.path, settings.workers.shutdown_s)))
