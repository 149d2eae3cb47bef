"""The command line."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import click
import msgspec

from hookline import logs, sending, showing
from hookline.discover import find_workers
from hookline.serving import serve
from hookline.settings import DEFAULT_PATH, Settings, load
from hookline.template import settings_file
from hookline.wiring import Installation
from schemas.errors import HooklineError, SettingsError, Unreachable
from schemas.source import AnySource
from workers.rooms import view

FAILED, USAGE, UNREACHABLE = 1, 2, 3
_BUILT_IN = "rooms"
_TELL_EACH = 20

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])


def main() -> None:
    """Run the command that was asked for. Exit codes: 0 done, 1 failed, 2 usage or settings, 3 nothing to talk to."""
    try:
        cli()
    except SettingsError as error:
        _leave(error, USAGE)
    except Unreachable as error:
        _leave(error, UNREACHABLE)
    except HooklineError as error:
        _leave(error, FAILED)


def _leave(error: HooklineError, code: int) -> None:
    click.echo(f"hookline: {error}", err=True)
    sys.exit(code)


def _run(main: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where it is installed; it halves the cost of a request."""
    try:
        import uvloop  # noqa: PLC0415  not on every platform
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def _config(command: Command) -> Command:
    return click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        default=lambda: os.environ.get("HOOKLINE_CONFIG", DEFAULT_PATH),
        show_default="$HOOKLINE_CONFIG, else ./hookline.toml",
        help="The settings file.",
    )(command)


def _log(command: Command) -> Command:
    return click.option(
        "--log",
        "log_style",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="One readable line for each thing that happens, or one JSON object.",
    )(command)


@click.group(
    epilog="""\b
    Examples:
      hookline init                    write hookline.toml with fresh secrets
      hookline run                     door and workers in one process
      hookline send krtc-main          send sample callbacks, as the provider would
      hookline rooms                   who is where
    """
)
@click.version_option(package_name="hookline")
def cli() -> None:
    """Receives the callbacks of real-time audio/video clouds, keeps them safe, and hands them to your workers."""


@cli.command(
    epilog="""\b
    Examples:
      hookline init
      hookline init --config /etc/hookline.toml
    """
)
@_config
@click.option("--force", is_flag=True, help="Write over a file that is there. Its secrets are lost.")
def init(config: Path, *, force: bool) -> None:
    """Write a commented settings file with one source per provider and fresh secrets."""
    how = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(os.open(config, how, 0o600), "w", encoding="utf-8") as file:
            file.write(settings_file())
    except FileExistsError:
        raise SettingsError(f"{config} is there already; --force writes over it") from None
    except OSError as error:
        raise SettingsError(f"{config} cannot be written: {error}") from None
    config.chmod(0o600)
    click.echo(f"Wrote {config}. It holds secrets: only you can read it.")


@cli.command(
    epilog="""\b
    Examples:
      hookline run
      hookline run attendance.py billing.py
      hookline run --log json mycompany.workers
    """
)
@click.argument("workers", nargs=-1, metavar="[WORKER]...")
@_config
@_log
def run(workers: tuple[str, ...], config: Path, log_style: str) -> None:
    """Run door, room view and workers in one process: the way to begin.

    WORKER is a Python file or a module; every worker in it runs.
    """
    logs.set_up(log_style)
    settings = load(config, with_sources=True)
    found = find_workers(name for name in workers if name != _BUILT_IN)
    _run(serve(settings, ingress=True, workers=found, rooms=True))


@cli.command(
    epilog="""\b
    Examples:
      hookline ingress
      hookline ingress --config /etc/hookline.toml --log json
    """
)
@_config
@_log
def ingress(config: Path, log_style: str) -> None:
    """Run only the door: take callbacks and put them on the queue."""
    logs.set_up(log_style)
    _run(serve(load(config, with_sources=True), ingress=True, workers=[], rooms=False))


@cli.command(
    epilog="""\b
    Examples:
      hookline worker attendance.py
      hookline worker rooms mycompany.workers
    """
)
@click.argument("workers", nargs=-1, required=True, metavar="WORKER...")
@_config
@_log
def worker(workers: tuple[str, ...], config: Path, log_style: str) -> None:
    """Run only workers. Start as many processes as you like: they share each queue's events.

    WORKER is a Python file or a module, in which every worker runs, or `rooms` for the built-in room view.
    The sources' secrets are not needed here, and not read.
    """
    logs.set_up(log_style)
    settings = load(config, with_sources=False)
    found = find_workers(name for name in workers if name != _BUILT_IN)
    _run(serve(settings, ingress=False, workers=found, rooms=_BUILT_IN in workers))


@cli.command(
    epilog="""\b
    Examples:
      hookline send krtc-main                      one callback of each type, as a little story
      hookline send krtc-main participant.joined   one of ours by name
      hookline send meetings Room.CallbackAfterMemberEnter
      hookline send calls 21 --count 1000 --duplicate --shuffle
      hookline send voice --body callback.json     your own body, signed
    """
)
@click.argument("source")
@click.argument("event", required=False)
@click.option("--count", type=click.IntRange(1), help="How many callbacks.  [default: one of each]")
@click.option("--duplicate", is_flag=True, help="Send each twice, as a provider does that got no answer.")
@click.option("--shuffle", is_flag=True, help="Send in random order.")
@click.option("--body", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Send this file's bytes.")
@click.option("--url", help="Where to send.  [default: the settings' own door, on this machine]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each answer.")
@_config
def send(  # noqa: PLR0913  one for each option
    source: str,
    event: str | None,
    count: int | None,
    body: Path | None,
    url: str | None,
    config: Path,
    *,
    duplicate: bool,
    shuffle: bool,
    as_json: bool,
) -> None:
    """Sign and send sample callbacks over HTTP, as the provider would.

    EVENT is one of our topics or the provider's own type; without it a story with every type is told.
    """
    settings = load(config, with_sources=True)
    if source not in settings.sources:
        raise SettingsError(f"there is no source {source!r} in {config}; there are {', '.join(settings.sources)}")
    chosen = settings.sources[source]
    if not chosen.keys and chosen.provider.fault(chosen) is None:
        click.echo(f"{source} has no secret: its callbacks go unsigned", err=True)
    samples = sending.choose_samples(chosen, event)
    count = count or (len(samples) if event is None and body is None else 1)
    sequence = [sending.own_body(body)] * count if body else list(sending.callbacks(chosen, samples, count))
    arranged = sending.arrange(sequence, duplicate=duplicate, shuffle=shuffle)
    answers = _run(_send(url or _door(settings, source), chosen, arranged, as_json=as_json))
    refused = [answer for answer in answers if not 200 <= answer.status < 300]
    if len(answers) > _TELL_EACH and not as_json:
        click.echo(f"{len(answers) - len(refused)} of {len(answers)} accepted")
    if any(answer.status == 0 for answer in answers):
        sys.exit(UNREACHABLE)
    sys.exit(FAILED if refused else 0)


def _door(settings: Settings, source: str) -> str:
    host = settings.ingress.host
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{settings.ingress.port}/hooks/{source}"  # noqa: S104


async def _send(
    url: str, source: AnySource, callbacks: list[sending.Callback], *, as_json: bool
) -> list[sending.Answer]:
    answers = []
    quiet = len(callbacks) > _TELL_EACH and not as_json
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        with click.progressbar(callbacks, label="Sending", file=sys.stderr, hidden=not quiet) as bar:
            for callback in bar:
                answer = await sending.send(session, url, source, callback)
                answers.append(answer)
                if not quiet:
                    click.echo(_told(answer, as_json=as_json))
                elif not 200 <= answer.status < 300 and len(answers) == 1:
                    click.echo(_told(answer, as_json=False), err=True)
                if answer.status == 0:
                    break
    return answers


def _told(answer: sending.Answer, *, as_json: bool) -> str:
    if as_json:
        return msgspec.json.encode(answer).decode()
    ok = 200 <= answer.status < 300
    status = click.style(str(answer.status or "---"), fg="green" if ok else "red")
    return f"{status}  {answer.name:<52} {answer.seconds * 1000:.0f} ms{'' if ok else '  ' + answer.text}"


@cli.command(
    epilog="""\b
    Examples:
      hookline topics
      hookline topics --json
    """
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def topics(*, as_json: bool) -> None:
    """The canonical events, their fields, and which providers send them."""
    click.echo(msgspec.json.encode(showing.topics()).decode() if as_json else showing.topics_text())


@cli.command(
    epilog="""\b
    Examples:
      hookline rooms
      hookline rooms demo-1 --json
    """
)
@click.argument("room", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON: an array of rooms.")
@_config
def rooms(room: str | None, config: Path, *, as_json: bool) -> None:
    """The room view: who is where since when, past sessions, recordings. ROOM is one room's id."""
    settings = load(config, with_sources=False)

    async def events() -> Any:
        async with Installation(settings) as installation:
            return await (await installation.room_log()).events()

    seen = [each for each in view(_run(events())) if room in (None, each.room_id)]
    click.echo(msgspec.json.encode(seen).decode() if as_json else showing.rooms_text(seen))
