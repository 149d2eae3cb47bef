"""`hookline send`: callbacks as a provider would send them."""

import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import click
import msgspec

from hookline.cli import tables
from hookline.cli.known_names import unknown
from hookline.cli.options import config_option
from hookline.cli.output import leave, say, shortened
from hookline.cli.sample_callbacks import (
    Answer,
    Callback,
    arrange,
    callbacks_of,
    choose_samples,
    own_body,
    send_callback,
)
from hookline.runtime.event_loop import run_to_end
from hookline.runtime.shutdown import ExitCode
from hookline.schemas.errors import SettingsError
from hookline.schemas.provider import AnySource, Sample, topics_of
from hookline.settings import Settings, load
from hookline.settings_faults import is_web_address

_LISTED = 20
_MAX_TEXT = 200
_MAX_COUNT = 100_000  # they are made before the first is sent, so that they can be shuffled


def _check_url(context: click.Context, parameter: click.Parameter, url: str | None) -> str | None:
    if url is not None and not is_web_address(url):
        text = f"{url!r} is not a URL such as http://127.0.0.1:8080/hooks/krtc-main"
        raise click.BadParameter(text, context, parameter)
    return url


@click.command(
    epilog="""\b
    Examples:
      hookline send krtc-main                      one callback of each type
      hookline send krtc-main participant.joined   by a canonical event's name
      hookline send meetings Room.CallbackAfterMemberEnter
      hookline send calls 21 --count 1000 --duplicate --shuffle
      hookline send voice --body callback.json     your own body, signed
      hookline send meetings --list                what EVENT may be
    """
)
@click.argument("source")
@click.argument("event", required=False)
@click.option("--count", type=click.IntRange(1, _MAX_COUNT), help="How many callbacks.  [default: one of each type]")
@click.option("--duplicate", is_flag=True, help="Send each callback twice, as a provider does without an answer.")
@click.option("--shuffle", is_flag=True, help="Send in random order.")
@click.option(
    "--body", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Send this file as the body."
)
@click.option(
    "--url",
    callback=_check_url,
    help="Where to send; a URL without a path gets /hooks/SOURCE.  [default: the ingress of this machine]",
)
@click.option("--list", "listed", is_flag=True, help="List the events that can be sent, and send nothing.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object for each answer, or for each listed event."
)
@config_option
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
    listed: bool,
    as_json: bool,
) -> None:
    """Send sample callbacks.

    They are signed as the provider signs them, and sent over HTTP. SOURCE is the name of a source in the settings.
    EVENT is a topic of `hookline topics` or a type of the provider. Without EVENT, one callback of each type is
    sent, which together tell the story of a room.
    """
    settings = load(config, with_sources=True)
    if source not in settings.sources:
        raise SettingsError(f"{_unknown_source(source, settings)} ({config})")
    chosen = settings.sources[source]
    if listed:
        _list(choose_samples(chosen, event), chosen, as_json=as_json)
        return
    if not chosen.keys and chosen.provider.fault(chosen) is None:
        say(f"{source} has no secret, so its callbacks are not signed", err=True)
    samples = () if body and event is None else choose_samples(chosen, event)
    count = count or (len(samples) if event is None and body is None else 1)
    sequence = [own_body(body)] * count if body else list(callbacks_of(chosen, samples, count))
    arranged = arrange(sequence, duplicate=duplicate, shuffle=shuffle)
    answers = run_to_end(_send(_target(url or _ingress_url(settings), source), chosen, arranged, as_json=as_json))
    if not as_json:
        _show(answers)
    for answer in answers:
        if answer.status == 0:
            leave(answer.text, ExitCode.UNREACHABLE)
    sys.exit(0 if all(map(_is_accepted, answers)) else ExitCode.FAILED)


def _list(samples: Sequence[Sample], source: AnySource, *, as_json: bool) -> None:
    """Print the provider's types among the samples, and the topics of their events."""
    topics = {sample.type: topics_of(source.provider, sample.type) for sample in samples}
    if as_json:
        for name, its_topics in topics.items():
            click.echo(msgspec.json.encode({"type": name, "topics": its_topics}).decode())
    else:
        tables.show([("type",), ("topics",)], [(name, ", ".join(its_topics)) for name, its_topics in topics.items()])


def _ingress_url(settings: Settings) -> str:
    ingress = settings.ingress
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(ingress.host, ingress.host)  # noqa: S104
    scheme = "https" if ingress.tls_certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{ingress.port}"


def _target(url: str, source: str) -> str:
    """The URL to send to: that of the source, if the given one has no path, such as that of `hookline listen`."""
    parts = urlsplit(url)
    return url if parts.path not in {"", "/"} else urlunsplit(parts._replace(path=f"/hooks/{source}"))


async def _send(url: str, source: AnySource, callbacks: list[Callback], *, as_json: bool) -> list[Answer]:
    """Send one after the other until one gets no answer."""
    import aiohttp  # noqa: PLC0415  slow to load, and no other command needs it

    answers: list[Answer] = []
    hidden = as_json or len(callbacks) <= _LISTED or not sys.stderr.isatty()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        with click.progressbar(callbacks, label="Sending", file=sys.stderr, hidden=hidden) as bar:
            for callback in bar:
                answers.append(await send_callback(session, url, source, callback))
                if as_json:
                    click.echo(msgspec.json.encode(answers[-1]).decode())
                if answers[-1].status == 0:
                    break
    return answers


def _is_accepted(answer: Answer) -> bool:
    return 200 <= answer.status < 300


def _unknown_source(name: str, settings: Settings) -> str:
    """A sentence for a source that does not exist. Its provider's name, or the URL, may have been given instead."""
    if "://" in name:
        return f"{name!r} is a URL, and SOURCE is the name of a source: --url says where to send"
    of_provider = [each.name for each in settings.sources.values() if each.provider.name == name.lower()]
    if of_provider:
        return f"there is no source {name!r}; of the provider {name.lower()} there is {', '.join(of_provider)}"
    return unknown("source", name, settings.source_names)


def _show(answers: Sequence[Answer]) -> None:
    """A row for each of a few answers, or for each kind of answer of many; then how many were accepted."""
    if len(answers) <= _LISTED:
        columns = [("status",), ("ms",), ("event",), ("answer",)]
        rows = [(_status(each), f"{each.seconds * 1000:.0f}", each.name, _text(each)) for each in answers]
    else:
        columns = [("status",), ("callbacks",), ("slowest ms",), ("answer",)]
        rows = _summary(answers)
    tables.show(columns, rows, numbers={"ms", "callbacks", "slowest ms"}, style=_style)
    click.echo(f"\n{sum(map(_is_accepted, answers))} of {len(answers)} accepted")


def _summary(answers: Sequence[Answer]) -> list[tuple[str, str, str, str]]:
    def kind(answer: Answer) -> tuple[str, str]:
        return _status(answer), _text(answer)

    rows = []
    for (status, text), same in groupby(sorted(answers, key=kind), kind):
        seconds = [answer.seconds for answer in same]
        rows.append((status, str(len(seconds)), f"{max(seconds) * 1000:.0f}", text))
    return rows


def _style(row: Sequence[str]) -> str:
    return "green" if row[0].startswith("2") else "red"


def _status(answer: Answer) -> str:
    return str(answer.status or "none")


def _text(answer: Answer) -> str:
    """What the answer says, if it is a refusal. Why there is none is said once, at the end."""
    if answer.status == 0:
        return "no answer"
    return "accepted" if _is_accepted(answer) else shortened(answer.text, _MAX_TEXT)
