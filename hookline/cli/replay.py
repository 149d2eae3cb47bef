"""`hookline replay`: feeds a worker what was received in the past, from the history."""

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

from hookline.cli import tables
from hookline.cli.known_names import leave_if_unknown, naming_queues
from hookline.cli.options import as_moment, as_pattern, as_queue, config_option, json_option
from hookline.cli.output import say
from hookline.runtime.event_loop import run_to_end
from hookline.runtime.installation import Installation
from hookline.schemas import topics
from hookline.schemas.broker import History
from hookline.schemas.dead_letters import AGAIN, REPLAYED_AT
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable, Unreachable
from hookline.settings import Settings, load


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which envelopes of the history are fed. None means any."""

    since: datetime
    until: datetime
    pattern: str = "#"
    source: str | None = None
    subject: str | None = None

    def matches(self, envelope: Envelope) -> bool:
        return (
            self.source in (None, envelope.source)
            and self.subject in (None, envelope.subject)
            and topics.matches(topics.binding(self.pattern), envelope.routing_key)
        )


@dataclass(slots=True)
class Progress:
    """How many events of each topic were fed, and when the last event of the last page was received."""

    topics: Counter[str] = field(default_factory=Counter)
    reached: datetime | None = None


@click.command(
    name="replay",
    epilog="""\b
    Examples:
      hookline replay --since 2h --to billing
      hookline replay --since 2026-01-31T08:00Z --until 1d --to billing --dry-run
      hookline replay --since 3d --to billing --topic "*.*.recording.*"
      hookline replay --since 3d --to billing --again wrong-prices
    """,
)
@click.option(
    "--since",
    callback=as_moment,
    metavar="TIME",
    required=True,
    help="Only events received at this time or later: 2h (ago), or ISO 8601 with a time zone.",
)
@click.option(
    "--until",
    callback=as_moment,
    metavar="TIME",
    help="Only events received at this time or earlier.  [default: now]",
)
@click.option(
    "--to",
    "queue",
    required=True,
    callback=as_queue,
    metavar="QUEUE",
    help="The worker's queue. No other queue gets them.",
)
@click.option(
    "--topic",
    callback=as_pattern,
    default="#",
    metavar="PATTERN",
    help="Only topics that match: * is one word, # is any number of words.",
)
@click.option("--source", help="Only from this source.")
@click.option("--subject", help="Only with this subject: a room or a recording task.")
@click.option(
    "--again",
    metavar="NAME",
    help="Have events handled again that the queue has already finished, once for each NAME.",
)
@click.option("--dry-run", is_flag=True, help="Feed nothing. Show how many events of which topics would be fed.")
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
    """Feed a worker events that were received in the past.

    Use it for a new worker, or for one that has lost its data. The history must be on: [history] enabled = true. The
    queue must exist, so start its worker once. It gets only the events that it is bound to. Events that it has already
    handled, and that the store still remembers, are duplicates and are not handled again. You can interrupt this
    command and run it again.

    A repaired worker that must handle events again needs --again with a name for this repair. Each name gives an event
    one more handling. The same name again gives none, so such a replay can be repeated too.
    """
    if again is not None and not topics.NAME.fullmatch(again):
        raise click.UsageError("--again: a name is 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit")
    chosen = HistoryFilter(since, until or datetime.now(UTC), topic, source, subject)
    if chosen.since >= chosen.until:
        raise click.UsageError("--since is not before --until")
    headers = None if dry_run else {REPLAYED_AT: datetime.now(UTC).isoformat(), **({AGAIN: again} if again else {})}
    settings = load(config, with_sources=False)
    progress = Progress()
    try:
        run_to_end(_replay(settings, queue, chosen, headers, progress, hidden=as_json))
    except (KeyboardInterrupt, Unreachable, NotDurable):
        if not dry_run:
            text = f"Stopped: {queue} was fed {_events(progress)} or more. Run it again: no event is handled twice."
            say(text, err=True)
        raise
    if not progress.topics:
        leave_if_unknown(settings, provider=None, source=source)
    if as_json:
        click.echo(_json(queue, chosen, progress, dry_run=dry_run))
    else:
        _show(queue, progress, dry_run=dry_run)


async def _replay(
    settings: Settings,
    queue: str,
    chosen: HistoryFilter,
    headers: Mapping[str, str] | None,
    progress: Progress,
    *,
    hidden: bool,
) -> None:
    """Feed the queue, with a progress bar over the time from `since` to `until`: the number of events is not known."""
    span_s = int((chosen.until - chosen.since).total_seconds()) + 1
    label = "Counting" if headers is None else "Feeding"
    hidden = hidden or not sys.stderr.isatty()
    async with Installation(settings) as installation, naming_queues(await installation.broker()) as broker:
        with click.progressbar(length=span_s, label=label, file=sys.stderr, hidden=hidden) as bar:

            def notify() -> None:
                if progress.reached is not None:
                    reached_s = int((progress.reached - chosen.since).total_seconds())
                    bar.update(max(0, reached_s - bar.pos))

            await _feed(broker.history, queue, chosen, headers, progress, notify)
            bar.update(span_s - bar.pos)


async def _feed(
    history: History,
    queue: str,
    chosen: HistoryFilter,
    headers: Mapping[str, str] | None,
    progress: Progress,
    notify: Callable[[], None],
) -> None:
    """Feed a queue the events that match and that it is bound to, with these headers added. None only counts them.

    `progress` is kept up to date, and `notify` is called after each page. Raises SettingsError if there is no such
    queue or no history, Unreachable or NotDurable.
    """
    keys = await history.wanted_by(queue)
    async with aclosing(history.read(chosen.since, chosen.until)) as pages:
        async for page in pages:
            matching = [envelope for envelope in page if chosen.matches(envelope) and _is_bound(envelope, keys)]
            if headers is not None and matching:
                await history.feed(queue, matching, headers)
            progress.topics.update(envelope.topic for envelope in matching)
            if page:
                progress.reached = page[-1].received_at
            notify()


def _is_bound(envelope: Envelope, keys: frozenset[str]) -> bool:
    return any(topics.matches(key, envelope.routing_key) for key in keys)


def _events(progress: Progress) -> str:
    count = progress.topics.total()
    return f"{count} event{'' if count == 1 else 's'}"


def _show(queue: str, progress: Progress, *, dry_run: bool) -> None:
    if progress.topics:
        rows = [(str(count), topic) for topic, count in sorted(progress.topics.items())]
        tables.show([("events",), ("topic",)], rows, numbers={"events"})
    click.echo(f"{queue} {'would be' if dry_run else 'was'} fed {_events(progress)}")


def _json(queue: str, chosen: HistoryFilter, progress: Progress, *, dry_run: bool) -> str:
    result: dict[str, Any] = {
        "queue": queue,
        "since": chosen.since,
        "until": chosen.until,
        "dry_run": dry_run,
        "events": progress.topics.total(),
        "topics": dict(sorted(progress.topics.items())),
    }
    return msgspec.json.encode(result).decode()
