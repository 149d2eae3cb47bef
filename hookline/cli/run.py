"""`hookline run`, `ingress` and `worker`: the commands that run until they are stopped."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from hookline.cli.options import config_option, log_option
from hookline.runtime import logs
from hookline.runtime.event_loop import collect_rarely, run_to_end
from hookline.runtime.logs import log_queue, log_sources
from hookline.runtime.outcome_log import OutcomeLog
from hookline.runtime.reloader import folders_of, run_reloading
from hookline.runtime.worker_files import BUILT_IN, find_workers
from hookline.schemas.errors import SettingsError
from hookline.settings import LogErrors, Settings, load
from hookline.workers.api import Worker

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
@config_option
@log_option
@log_errors_option
def run(workers: tuple[str, ...], config: Path, log_style: str, log_errors: LogErrors | None, *, reloads: bool) -> None:
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
        _reload("run", workers, settings, log_style, log_errors)
    found = find_workers(name for name in workers if name != BUILT_IN)
    _serve(settings, ingress=True, workers=found, rooms=True, log_errors=log_errors)


@click.command(
    epilog="""\b
    Examples:
      hookline ingress
      hookline ingress --config /etc/hookline.toml --log json
    """
)
@config_option
@log_option
@click.option("--process", type=int, hidden=True, help="The number of this process, given by the supervisor.")
def ingress(config: Path, log_style: str, process: int | None) -> None:
    """Run only the ingress.

    It receives callbacks and publishes them to the queue. With `processes` under [ingress] in the settings, that
    many processes share the port. One that ends is replaced.
    """
    logs.set_up(log_style, process=process)
    settings = load(config, with_sources=True)
    if settings.ingress.processes > 1 and process is None:
        _supervise(settings, log_style)
    _serve(settings, ingress=True, supervised=process is not None)


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
@config_option
@log_option
@log_errors_option
def worker(
    workers: tuple[str, ...], config: Path, log_style: str, log_errors: LogErrors | None, *, reloads: bool
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
        _reload("worker", workers, settings, log_style, log_errors or "full")
    found = find_workers(name for name in workers if name != BUILT_IN)
    _serve(settings, workers=found, rooms=BUILT_IN in workers, log_errors=log_errors or "place")


def _serve(
    settings: Settings,
    *,
    ingress: bool = False,
    workers: Sequence[Worker[Any]] = (),
    rooms: bool = False,
    supervised: bool = False,
    log_errors: LogErrors = "place",
) -> None:
    from hookline.runtime.serve import serve  # noqa: PLC0415  slow to load

    collect_rarely()
    outcome_log = OutcomeLog(settings.workers.log_events_per_s, log_errors)
    run_to_end(serve(settings, outcome_log, ingress=ingress, workers=workers, rooms=rooms, supervised=supervised))


def _supervise(settings: Settings, log_style: str) -> NoReturn:
    from hookline.runtime.supervisor import supervise  # noqa: PLC0415  slow to load

    def opened() -> None:
        log_sources(settings)
        log_queue(settings)

    command = ["ingress", "--config", str(settings.path), "--log", log_style]
    sys.exit(asyncio.run(supervise(settings, command, opened)))


def _reload(
    command: str, workers: tuple[str, ...], settings: Settings, log_style: str, log_errors: LogErrors
) -> NoReturn:
    folders = folders_of(name for name in workers if name != BUILT_IN)
    if not folders:
        raise click.UsageError("--reload needs the file or module of a worker to watch")
    logs_as = ["--log", log_style, "--log-errors", log_errors]
    arguments = [command, "--config", str(settings.path), *logs_as, "--", *workers]
    sys.exit(asyncio.run(run_reloading(arguments, folders, settings.path, settings.workers.shutdown_s)))
