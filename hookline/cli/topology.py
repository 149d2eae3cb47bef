"""`hookline topology`: what should exist on RabbitMQ, how it differs, and definitions for an operator."""

import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click
import msgspec

from hookline.cli.options import config_option, json_option
from hookline.runtime.event_loop import run_to_end
from hookline.runtime.installation import is_rabbitmq, rabbitmq_settings
from hookline.runtime.shutdown import ExitCode
from hookline.runtime.worker_files import BUILT_IN, find_workers
from hookline.schemas.errors import SettingsError
from hookline.settings import Settings, load
from hookline.workers.api import Worker
from hookline.workers.rooms import ROOMS

_WORKERS = click.argument("workers", nargs=-1, metavar="[WORKER]...")


@click.group(
    epilog="""\b
    Examples:
      hookline topology show attendance.py rooms
      hookline topology apply attendance.py rooms
      hookline topology export attendance.py rooms > definitions.json
    """
)
def topology() -> None:
    """Show, apply or export what should exist on RabbitMQ.

    The exchanges and the queue of unrouted events, and the queues and bindings of each WORKER: a Python file, a module,
    or `rooms` for the built-in room view. The embedded queue needs none of this.
    """


@topology.command(
    epilog="""\b
    Examples:
      hookline topology show attendance.py rooms
      hookline topology show attendance.py --json
    """
)
@_WORKERS
@json_option
@config_option
def show(workers: tuple[str, ...], config: Path, *, as_json: bool) -> None:
    """Show what differs from what should exist, and change nothing.

    Bindings are compared with `broker.management_url` only: AMQP does not show them. The exit code is 1 if something
    differs.
    """
    from hookline.broker.rabbitmq.visit import visiting  # noqa: PLC0415  loaded only if used

    settings, found = _loaded(config, workers)

    async def look() -> list[dict[str, Any]]:
        async with visiting(rabbitmq_settings(settings)) as visit:
            return [
                {"name": each.name, "state": "missing" if each.is_missing else "another form", "text": each.text}
                for each in await visit.differences(found)
            ]

    differences = run_to_end(look())
    for each in differences:
        click.echo(msgspec.json.encode(each).decode() if as_json else each["text"])
    if differences:
        sys.exit(ExitCode.FAILED)
    if not as_json:
        click.echo("Everything is as it should be.")


@topology.command(
    epilog="""\b
    Examples:
      hookline topology apply attendance.py rooms
    """
)
@_WORKERS
@config_option
def apply(workers: tuple[str, ...], config: Path) -> None:
    """Declare what is missing: exchanges, queues and bindings.

    Needs a user with the right `configure`. What exists in another form is named and left as it is.
    """
    from hookline.broker.rabbitmq.visit import visiting  # noqa: PLC0415  loaded only if used

    settings, found = _loaded(config, workers)

    async def declare() -> int:
        async with visiting(rabbitmq_settings(settings)) as visit:
            return await visit.apply(found)

    click.echo(f"{run_to_end(declare())} exchanges, queues and bindings are there.")


@topology.command(
    epilog="""\b
    Examples:
      hookline topology export attendance.py rooms > definitions.json
      rabbitmqctl import_definitions definitions.json
    """
)
@_WORKERS
@config_option
def export(workers: tuple[str, ...], config: Path) -> None:
    """Print RabbitMQ's definitions as JSON, for an operator who imports them.

    `rabbitmqctl import_definitions` and the management page take them. They hold no users and no passwords.
    """
    from hookline.broker.rabbitmq.topology.definitions import definitions  # noqa: PLC0415  loaded only if used

    settings, found = _loaded(config, workers)
    vhost = unquote(urlsplit(settings.broker.urls[0]).path.removeprefix("/")) or "/"
    wanted = definitions(found, rabbitmq_settings(settings).retention, vhost)
    click.echo(msgspec.json.format(msgspec.json.encode(wanted), indent=2).decode())


def _loaded(config: Path, names: tuple[str, ...]) -> tuple[Settings, list[Worker[Any]]]:
    """Raises SettingsError, also for the embedded queue."""
    settings = load(config, with_sources=False)
    if not is_rabbitmq(settings.broker):
        raise SettingsError("broker.url: the embedded queue declares everything by itself; this is for RabbitMQ")
    found = find_workers(name for name in names if name != BUILT_IN)
    return settings, [*([ROOMS] if BUILT_IN in names else []), *found]
