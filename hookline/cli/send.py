"""`hookline send`: callbacks as a provider would send them."""

import sys
from pathlib import Path

import click
import msgspec

from hookline.cli import sender
from hookline.cli.exit_codes import FAILED, UNREACHABLE
from hookline.cli.options import config_option, run_to_end
from hookline.schemas.errors import SettingsError
from hookline.schemas.provider import AnySource
from hookline.settings import Settings, load

_TELL_EACH = 20


@click.command(
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
    samples = () if body and event is None else sender.choose_samples(chosen, event)
    count = count or (len(samples) if event is None and body is None else 1)
    sequence = [sender.own_body(body)] * count if body else list(sender.callbacks(chosen, samples, count))
    arranged = sender.arrange(sequence, duplicate=duplicate, shuffle=shuffle)
    answers = run_to_end(_send(url or _ingress_url(settings, source), chosen, arranged, as_json=as_json))
    refused = [answer for answer in answers if not 200 <= answer.status < 300]
    if len(answers) > _TELL_EACH and not as_json:
        click.echo(f"{len(answers) - len(refused)} of {len(answers)} accepted")
    if any(answer.status == 0 for answer in answers):
        sys.exit(UNREACHABLE)
    sys.exit(FAILED if refused else 0)


def _ingress_url(settings: Settings, source: str) -> str:
    host = settings.ingress.host
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{settings.ingress.port}/hooks/{source}"  # noqa: S104


async def _send(url: str, source: AnySource, callbacks: list[sender.Callback], *, as_json: bool) -> list[sender.Answer]:
    import aiohttp  # noqa: PLC0415  slow to load, and no other command needs it

    answers = []
    quiet = len(callbacks) > _TELL_EACH and not as_json
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        with click.progressbar(callbacks, label="Sending", file=sys.stderr, hidden=not quiet) as bar:
            for callback in bar:
                answer = await sender.send(session, url, source, callback)
                answers.append(answer)
                if not quiet:
                    click.echo(_told(answer, as_json=as_json))
                elif not 200 <= answer.status < 300 and len(answers) == 1:
                    click.echo(_told(answer, as_json=False), err=True)
                if answer.status == 0:
                    break
    return answers


def _told(answer: sender.Answer, *, as_json: bool) -> str:
    if as_json:
        return msgspec.json.encode(answer).decode()
    ok = 200 <= answer.status < 300
    status = click.style(str(answer.status or "---"), fg="green" if ok else "red")
    return f"{status}  {answer.name:<52} {answer.seconds * 1000:.0f} ms{'' if ok else '  ' + answer.text}"
