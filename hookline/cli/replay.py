"""`hookline replay`: what was received in the past, for a new or a repaired worker."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from hookline.cli.options import as_moment, config_option, json_option
from hookline.runtime.event_loop import run_to_end
from hookline.runtime.installation import Installation
from hookline.schemas import topics
from hookline.schemas.broker import History
from hookline.schemas.dead_letters import AGAIN, REPLAYED_AT
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable, Unreachable
from hookline.settings import Settings, load


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the past's envelopes are fed; what is None leaves it open."""

    since: datetime
    until: datetime
    pattern: str = "#"
    source: str | None = None
    subject: str | None = None

    def includes(self, envelope: Envelope) -> bool:
        return (
            self.source in (None, envelope.source)
            and self.subject in (None, envelope.subject)
            and topics.matches(topics.binding(self.pattern), envelope.routing_key)
        )


@dataclass(slots=True)
class Progress:
    """How far it has come: how many were fed of each topic, and when the last of the page was received."""

    topics: Counter[str] = field(default_factory=Counter)
    reached: datetime | None = None


@click.command(
    name="replay",
    epilog="""\b
    Examples:
      hookline replay --since 2h --to billing
      hookline replay --since 2026-01-31T08:00Z --until 2026-01-31T09:30Z --to billing --dry-run
      hookline replay --since 3d --to recordings --topic "*.*.recording.*" --source voice
      hookline replay --since 3d --to billing --again wrong-prices
    """,
)
@click.option(
    "--since",
    callback=as_moment,
    metavar="TIME",
    required=True,
    help="Received at this time or later: 2h (ago), or ISO 8601.",
)
@click.option("--until", callback=as_moment, metavar="TIME", help="Received at this time or earlier.  [default: now]")
@click.option("--to", "queue", required=True, metavar="QUEUE", help="The worker's queue; no other gets anything.")
@click.option("--topic", default="#", metavar="PATTERN", help="Only such topics; * is one word, # any number.")
@click.option("--source", help="Only from this source.")
@click.option("--subject", help="Only of this subject: a room, or a recording task.")
@click.option(
    "--again", metavar="NAME", help="Have also that handled anew which the queue has finished: once per NAME."
)
@click.option("--dry-run", is_flag=True, help="Feed nothing; say how many events of which topics it would be.")
@json_option
@config_option
def replay_command(  # noqa: PLR0913  one for each option
    *,
    since: datetime,
    until: datetime | None,
    queue: str,
    topic: str,
    source: str | None,
    subject: str | None,
    again: str | None,
    config: Path,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Feed a worker what was received in the past.

    For a worker that is new, or that lost what it had. The settings must have kept it: [history] enabled = true.
    The queue must be there (start its worker once), and gets only what it is bound to. What it has handled before, and
    the store still remembers, is a duplicate and is not handled again. So it does no harm to interrupt this, and to run
    it again.

    A repaired worker that shall handle again what it finished wrongly needs --again with a name for the occasion. Every
    name gives an event one more handling; the same name again gives none, so that such a replay can be repeated too.
    """
    _check_names(queue, topic, again)
    wanted = Wanted(since, until or datetime.now(UTC), topic, source, subject)
    if wanted.since >= wanted.until:
        raise click.UsageError("--since is not before --until")
    headers = None if dry_run else {REPLAYED_AT: datetime.now(UTC).isoformat(), **({AGAIN: again} if again else {})}
    settings = load(config, with_sources=False)
    progress = Progress()
    try:
        run_to_end(_replay(settings, queue, wanted, headers, progress, hidden=as_json))
    except (KeyboardInterrupt, Unreachable, NotDurable):
        click.echo(f"Stopped; {queue} was fed {_events(progress)}. Run it again: none is handled twice.", err=True)
        raise
    click.echo(_json(queue, wanted, progress, dry_run=dry_run) if as_json else _text(queue, progress, dry_run=dry_run))


def _check_names(queue: str, topic: str, again: str | None) -> None:
    try:
        topics.check_queue(queue)
        topics.binding(topic)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if again is not None and not topics.NAME.fullmatch(again):
        raise click.UsageError("--again: a name is 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit")


async def _replay(
    settings: Settings,
    queue: str,
    wanted: Wanted,
    headers: Mapping[str, str] | None,
    progress: Progress,
    *,
    hidden: bool,
) -> None:
    """With a bar on a terminal: how many were fed is not known before, but how much of the time is behind us is."""
    span_s = int((wanted.until - wanted.since).total_seconds()) + 1
    async with Installation(settings) as installation:
        broker = await installation.broker()
        with click.progressbar(
            length=span_s,
            label="Counting" if headers is None else "Feeding",
            file=sys.stderr,
            hidden=hidden or not _is_seen(),
        ) as bar:

            def notify() -> None:
                if progress.reached is not None:
                    reached_s = int((progress.reached - wanted.since).total_seconds())
                    bar.update(max(0, reached_s - bar.pos))

            await _feed(broker.history, queue, wanted, headers, progress, notify)
            bar.update(span_s - bar.pos)


async def _feed(
    history: History,
    queue: str,
    wanted: Wanted,
    headers: Mapping[str, str] | None,
    progress: Progress,
    notify: Callable[[], None],
) -> None:
    """Feed a queue what it wants of the past, with these headers besides; without headers only count it.

    `progress` is kept up to date, and `notify` called after each page. What the queue is not bound to is not fed to it.
    Raises SettingsError if there is no such queue or no history, Unreachable or NotDurable.
    """
    keys = await history.wanted_by(queue)
    async with aclosing(history.read(wanted.since, wanted.until)) as pages:
        async for page in pages:
            chosen = [envelope for envelope in page if wanted.includes(envelope) and _is_wanted(envelope, keys)]
            if headers is not None and chosen:
                await history.feed(queue, chosen, headers)
            progress.topics.update(envelope.topic for envelope in chosen)
            if page:
                progress.reached = page[-1].received_at
            notify()


def _is_wanted(envelope: Envelope, keys: frozenset[str]) -> bool:
    return any(topics.matches(key, envelope.routing_key) for key in keys)


def _is_seen() -> bool:
    return sys.stderr.isatty()


def _events(progress: Progress) -> str:
    count = progress.topics.total()
    return f"{count} event{'' if count == 1 else 's'}"


def _text(queue: str, progress: Progress, *, dry_run: bool) -> str:
    lines = [f"{count:>9}  {topic}" for topic, count in sorted(progress.topics.items())]
    done = f"{queue} {'would be' if dry_run else 'was'} fed {_events(progress)}"
    return "\n".join([*lines, done])


def _json(queue: str, wanted: Wanted, progress: Progress, *, dry_run: bool) -> str:
    told: dict[str, Any] = {
        "queue": queue,
        "since": wanted.since,
        "until": wanted.until,
        "dry_run": dry_run,
        "events": progress.topics.total(),
        "topics": dict(sorted(progress.topics.items())),
    }
    return msgspec.json.encode(told).decode()
