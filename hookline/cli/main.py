"""The command line."""

import sys

import click

from hookline.cli.check import check
from hookline.cli.dead_letter_commands import dead, unrouted
from hookline.cli.events import events
from hookline.cli.init import init
from hookline.cli.listen import listen
from hookline.cli.new_provider import new_provider
from hookline.cli.refused import refused
from hookline.cli.replay import replay_command
from hookline.cli.rooms import rooms
from hookline.cli.run import ingress, run, worker
from hookline.cli.send import send
from hookline.cli.status import status
from hookline.cli.topics import topics
from hookline.cli.topology import topology
from hookline.cli.verify import verify
from hookline.runtime.shutdown import ExitCode
from hookline.schemas.errors import HooklineError, SettingsError, Unreachable


def main() -> None:
    """Run a command. Print an error of ours as one sentence, and exit with its code."""
    try:
        cli()
    except SettingsError as error:
        _leave(error, ExitCode.USAGE)
    except Unreachable as error:
        _leave(error, ExitCode.UNREACHABLE)
    except HooklineError as error:
        _leave(error, ExitCode.FAILED)


def _leave(error: HooklineError, code: ExitCode) -> None:
    click.echo(f"hookline: {error}", err=True)
    sys.exit(code)


@click.group(
    epilog="""\b
    Examples:
      hookline init                    write hookline.toml with fresh secrets
      hookline run attendance.py       run the ingress and workers in one process
      hookline send krtc-main          send sample callbacks, as the provider would
      hookline rooms                   show who is in which room
    """,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="hookline")
def cli() -> None:
    """Receive the callbacks of real-time audio/video clouds, store them durably, and deliver them to your workers."""


for command in (
    init,
    check,
    status,
    run,
    ingress,
    worker,
    send,
    listen,
    verify,
    refused,
    topics,
    rooms,
    events,
    dead,
    unrouted,
    replay_command,
    topology,
    new_provider,
):
    cli.add_command(command)
