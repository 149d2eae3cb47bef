"""`hookline dead` and `hookline unrouted`: what workers could not handle, and what no queue wanted."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import msgspec

from hookline.cli import tables
from hookline.cli.dead_letter_output import COLUMNS, all_facts, facts, page, row
from hookline.cli.dead_letter_selection import DeadLetterFilter, act, counts, find, find_wanted
from hookline.cli.known_names import REASONS, check_reason, leave_if_unknown
from hookline.cli.options import as_moment, as_pattern, config_option, json_option
from hookline.runtime.event_loop import run_to_end
from hookline.runtime.shutdown import ExitCode
from hookline.schemas.dead_letters import UNROUTED, Action, DeadLetter
from hookline.settings import Settings, load

Option = Callable[[Any], Any]


@click.group(
    epilog="""\b
    Examples:
      hookline dead list                           the queues that have dead letters
      hookline dead show billing
      hookline dead replay billing --since 2h --reason failed
    """
)
def dead() -> None:
    """List, show, replay or drop dead letters.

    A dead letter is an event that a worker could not handle. It is kept with the reason and the traceback.
    """


@click.group(
    epilog="""\b
    Examples:
      hookline unrouted list --since 1d
      hookline unrouted replay --topic "*.*.recording.*"
    """
)
def unrouted() -> None:
    """List, show, replay or drop unrouted events.

    An unrouted event is one that no queue wanted when it was received. It is kept until you replay or drop it.
    """


_FILTERS: tuple[Option, ...] = (
    click.option("--provider", help="Only from this provider."),
    click.option("--source", help="Only from this source."),
    click.option("--topic", callback=as_pattern, metavar="PATTERN",
                 help="Only topics that match: * is one word, # is any number of words."),
    click.option("--subject", help="Only with this subject: a room or a recording task."),
    click.option("--since", callback=as_moment, metavar="TIME",
                 help="Only those stored at this time or later: 2h (ago), or ISO 8601 with a time zone."),
    click.option("--until", callback=as_moment, metavar="TIME", help="Only those stored at this time or earlier."),
    click.option("--id", "ids", multiple=True, help="Only the event with this id. Can be given several times."),
    click.option("--limit", type=click.IntRange(1), help="At most this many, the oldest first."),
)  # fmt: skip
_REASON = click.option("--reason", callback=check_reason, help=f"Only with this reason: {', '.join(REASONS)}.")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Change nothing. Show what would be done.")
_RAW = click.option("--raw", is_flag=True, help="Write only the body of one message, byte for byte.")
_YES = click.option("--yes", is_flag=True, help="Do not ask.")


def _list(*, queue: str | None, chosen: DeadLetterFilter, config: Path, as_json: bool) -> None:
    settings = load(config, with_sources=False)
    if queue is None:
        _list_queues(run_to_end(counts(settings)), as_json=as_json)
        return
    found = _show_rows(settings, queue, chosen, as_json=as_json)
    _check_found(found, settings, chosen)
    if not as_json:
        click.echo(_number(found, queue))


def _check_found(found: int, settings: Settings, chosen: DeadLetterFilter) -> None:
    if not found:
        leave_if_unknown(settings, provider=chosen.provider, source=chosen.source)


def _list_queues(numbers: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        for queue, number in numbers.items():
            click.echo(_json({"queue": queue, "letters": number}))
    elif numbers:
        rows = [(queue, str(number)) for queue, number in numbers.items()]
        tables.show([("queue", "dead letters")], rows, numbers={"dead letters"})
    else:
        click.echo("No dead letters.")


def _show(*, queue: str, chosen: DeadLetterFilter, config: Path, raw: bool, as_json: bool) -> None:
    settings = load(config, with_sources=False)
    if raw or (chosen.limit is None and not chosen.ids):
        chosen = replace(chosen, limit=1)

    def write(dead_letter: DeadLetter) -> None:
        if raw:
            sys.stdout.buffer.write(dead_letter.body)
        else:
            click.echo(_json(all_facts(dead_letter)) if as_json else page(dead_letter))

    if not run_to_end(find(settings, queue, chosen, write)):
        click.echo(f"hookline: no {_noun(queue)} matches", err=True)
        sys.exit(ExitCode.FAILED)


def _replay(*, queue: str, chosen: DeadLetterFilter, config: Path, dry_run: bool, as_json: bool) -> None:
    settings = load(config, with_sources=False)
    to = "the queues that want it" if queue == UNROUTED else queue
    if dry_run and queue == UNROUTED:
        with _shown(as_json=as_json, to=to) as show:
            found, staying = run_to_end(find_wanted(settings, chosen, show))
        _check_found(found + staying, settings, chosen)
        text = f"{_number(found, queue)} would be replayed to the queues that want them; {staying} would stay"
        _sum_up({"to": to, "would_replay": found, "would_stay": staying}, text, as_json=as_json)
        return
    if dry_run:
        found = _show_rows(settings, queue, chosen, as_json=as_json, to=to)
        _check_found(found, settings, chosen)
        _sum_up(
            {"to": to, "would_replay": found}, f"{_number(found, queue)} would be replayed to {to}", as_json=as_json
        )
        return
    done, left = run_to_end(act(settings, queue, chosen, Action.REPLAY, "Replaying"))
    _check_found(done, settings, chosen)
    _sum_up(
        {"to": to, "replayed": done, "left": left}, f"{_number(done, queue)} replayed, {left} left", as_json=as_json
    )


def _drop(*, queue: str, chosen: DeadLetterFilter, config: Path, dry_run: bool, yes: bool, as_json: bool) -> None:
    settings = load(config, with_sources=False)
    if dry_run:
        found = _show_rows(settings, queue, chosen, as_json=as_json)
        _check_found(found, settings, chosen)
        _sum_up({"would_drop": found}, f"{_number(found, queue)} would be dropped", as_json=as_json)
        return
    if not yes:
        _confirm(run_to_end(find(settings, queue, chosen, lambda _: None)), queue)
    done, left = run_to_end(act(settings, queue, chosen, Action.DROP, "Dropping"))
    _check_found(done, settings, chosen)
    _sum_up({"dropped": done, "left": left}, f"{_number(done, queue)} dropped, {left} left", as_json=as_json)


def _confirm(found: int, queue: str) -> None:
    """Ask before more than one is deleted. Raises UsageError where nobody can answer."""
    if found > 1:
        if not sys.stdin.isatty():
            raise click.UsageError(f"this would delete {_number(found, queue)} for good; confirm it with --yes")
        click.confirm(f"Delete {_number(found, queue)} for good?", abort=True, err=True)


def _show_rows(
    settings: Settings, queue: str, chosen: DeadLetterFilter, *, as_json: bool, to: str | None = None
) -> int:
    """Print those that match. Returns their number."""
    with _shown(as_json=as_json, to=to) as show:
        return run_to_end(find(settings, queue, chosen, show))


@contextmanager
def _shown(*, as_json: bool, to: str | None) -> Iterator[Callable[[DeadLetter], None]]:
    """A function that prints a dead letter, as a JSON object at once or in a table at the end."""
    if as_json:
        target = {} if to is None else {"to": to}
        yield lambda dead_letter: click.echo(_json({**facts(dead_letter), **target}))
        return
    rows: list[tuple[str, ...]] = []
    yield lambda dead_letter: rows.append(row(dead_letter))
    if rows:
        tables.show(COLUMNS, rows)


def _sum_up(summary: dict[str, Any], text: str, *, as_json: bool) -> None:
    click.echo(_json(summary) if as_json else text)


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()


def _noun(queue: str) -> str:
    return "unrouted event" if queue == UNROUTED else "dead letter"


def _number(count: int, queue: str) -> str:
    return f"{count} {_noun(queue)}{'' if count == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class _Command:
    """A command of both groups. Those of `dead` take a QUEUE, which stands first in the examples."""

    name: str
    action: Callable[..., None]
    help_dead: str
    help_unrouted: str
    options: tuple[Option, ...]
    examples: tuple[str, ...]


_COMMANDS = (
    _Command(
        "list", _list,
        "List the dead letters of a queue, the oldest first. Without QUEUE, list the queues that have dead letters.",
        "List the unrouted events, the oldest first.",
        (), ("", "--since 2h", '--topic "krtc.*.room.*" --json'),
    ),
    _Command(
        "show", _show,
        "Show dead letters in full. That is reason, times, traceback, headers and body. Without --id or --limit, show "
        "the oldest that matches.",
        "Show unrouted events in full. That is times, headers and body. Without --id or --limit, show the oldest that "
        "matches.",
        (_RAW,), ("", "--id 0d7f9225e4d20093946bc69519b09046", "--raw > body.json"),
    ),
    _Command(
        "replay", _replay,
        "Put dead letters back into their queue. No other queue gets them. Events that were handled in the meantime "
        "are not handled again, so you can interrupt this command and run it again.",
        "Send unrouted events to all queues that want them now. Events that no queue wants yet are kept. You can "
        "interrupt this command and run it again: no event is handled twice.",
        (_DRY_RUN,), ("--source krtc-main --dry-run", "--since 1d --limit 10"),
    ),
    _Command(
        "drop", _drop,
        "Delete dead letters for good. Asks for confirmation if there are several.",
        "Delete unrouted events for good. Asks for confirmation if there are several.",
        (_DRY_RUN, _YES),
        ("--id 0d7f9225e4d20093946bc69519b09046", "--until 30d --dry-run", "--until 30d --yes"),
    ),
)  # fmt: skip


def _add(group: click.Group, command: _Command) -> None:
    takes_queue = group is dead
    lines = [["hookline", group.name, command.name, "billing" * takes_queue, each] for each in command.examples]
    examples = "\n".join("      " + " ".join(filter(None, words)) for words in lines)

    def run(**given: Any) -> None:
        filters = {field: given.pop(field, None) for field in DeadLetterFilter.__dataclass_fields__}
        chosen = DeadLetterFilter(**{**filters, "ids": frozenset(filters["ids"] or ())})
        command.action(**{"queue": UNROUTED, **given}, chosen=chosen)

    made: Any = run
    queue = click.argument("queue", required=command.name != "list")
    options: tuple[Option, ...] = (*_FILTERS, *command.options, json_option, config_option)
    for option in reversed((queue, _REASON, *options) if takes_queue else options):
        made = option(made)
    text = command.help_dead if takes_queue else command.help_unrouted
    group.command(command.name, help=text, epilog=f"\b\n    Examples:\n{examples}")(made)


for _command in _COMMANDS:
    _add(dead, _command)
    _add(unrouted, _command)
