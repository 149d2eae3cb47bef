"""The command line."""

import logging
import os
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from io import BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click
from click.exceptions import NoArgsIsHelpError

from hookline.cli.misuse import sentence
from hookline.cli.output import readable, say
from hookline.runtime.shutdown import ExitCode, exit_with
from hookline.schemas.errors import HooklineError, NotDurable, Obstacle, SettingsError, Unreachable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def main() -> None:
    """Run a command. Whatever goes wrong is one sentence on stderr and an exit code."""
    earlier = threading.enumerate()
    # A command that keeps no log has one sentence to say, and not what libraries log.
    logging.lastResort = logging.NullHandler()
    _open_closed_streams()
    sys.stdout = _whole(sys.stdout)
    for stream in (sys.stdout, sys.stderr):  # a terminal may know fewer characters than a sender
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run()
        sys.stdout.flush()
    except OSError as error:
        code = _system_failed(error)
    exit_with(code, earlier)


def _open_closed_streams() -> None:
    """Write to nowhere what a shell has closed, as with `>&-`. Otherwise a file or a socket would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w" if number else "r", encoding="utf-8"))  # noqa: SIM115  until it ends


class _Flushed(BufferedWriter):
    """Keeps nothing back, and writes again what the system did not take."""

    def write(self, data: "ReadableBuffer", /) -> int:
        size = super().write(data)
        self.flush()
        return size


def _whole(stream: TextIO) -> TextIO:
    """The stream, which drops nothing.

    With PYTHONUNBUFFERED, as in a container, Python drops what the system does not take of a write. The system may take
    a part where a pipe is full and its reader slow.
    """
    raw = getattr(stream, "buffer", None)
    if not isinstance(raw, FileIO):
        return stream
    unclosed = FileIO(raw.fileno(), "w", closefd=False)  # the stream before closes it
    return TextIOWrapper(_Flushed(unclosed), stream.encoding, stream.errors, write_through=True)


def _run() -> int:
    """Run the command that the arguments name. Returns its exit code. Raises OSError if its output is not taken."""
    try:
        _check_arguments(sys.argv[1:])
        return cli.main(prog_name="hookline", standalone_mode=False) or 0
    except click.ClickException as error:
        return _misused(error)
    except click.Abort:
        click.echo("Aborted.", err=True)
        return ExitCode.FAILED
    except HooklineError as error:
        return _failed(error)


def _check_arguments(arguments: Sequence[str]) -> None:
    """Raises UsageError for bytes that are no text: no name of ours has any, and no store and no log takes them."""
    for argument in arguments:
        if "\0" in argument or any("\ud800" <= character <= "\udfff" for character in argument):
            raise click.UsageError(f"{argument!r} is not UTF-8")


def _failed(error: HooklineError) -> ExitCode:
    say(f"hookline: {readable(str(error))}", err=True)
    match error:
        case SettingsError():
            return ExitCode.USAGE
        case Unreachable() | NotDurable(obstacle=Obstacle.AWAY):
            return ExitCode.UNREACHABLE
        case _:
            return ExitCode.FAILED


def _misused(error: click.ClickException) -> int:
    if isinstance(error, NoArgsIsHelpError):  # a group without a command: its message is the help
        error.show()
        return error.exit_code
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} -h' for help.\n", err=True)
    say(f"Error: {readable(sentence(error))}", err=True)
    return error.exit_code


def _system_failed(error: OSError) -> ExitCode:
    """Say what failed, a file or the output, unless the reader has seen enough, as `head` has.

    What is still buffered goes nowhere.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):
        what = f"{error.filename}" if error.filename else "the output cannot be written"
        say(f"hookline: {readable(f'{what}: {error.strerror or error}')}", err=True)
    return ExitCode.FAILED


COMMANDS = {
    "check": "hookline.cli.check:check",
    "dead": "hookline.cli.message_commands:dead",
    "events": "hookline.cli.events:events",
    "ingress": "hookline.cli.run:ingress",
    "init": "hookline.cli.init:init",
    "listen": "hookline.cli.listen:listen",
    "new-provider": "hookline.cli.new_provider:new_provider",
    "refused": "hookline.cli.refused:refused",
    "replay": "hookline.cli.replay:replay_command",
    "retrying": "hookline.cli.message_commands:retrying",
    "rooms": "hookline.cli.rooms:rooms",
    "run": "hookline.cli.run:run",
    "send": "hookline.cli.send:send",
    "status": "hookline.cli.status:status",
    "topics": "hookline.cli.topics:topics",
    "topology": "hookline.cli.topology:topology",
    "unrouted": "hookline.cli.message_commands:unrouted",
    "verify": "hookline.cli.verify:verify",
    "worker": "hookline.cli.run:worker",
}


class Commands(click.Group):
    """Imports a command when it is asked for: the modules of all commands load longer than most commands run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  as click calls it
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  as click calls it
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(
    cls=Commands,
    epilog="""\b
    Examples:
      hookline init               write hookline.toml with fresh secrets
      hookline run attendance.py  run the ingress and workers in one process
      hookline send krtc-main     send sample callbacks, as the provider would
      hookline rooms              show who is in which room
    """,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="hookline")
def cli() -> None:
    """Receive the callbacks of real-time audio/video clouds, store them durably, and deliver them to your workers."""
