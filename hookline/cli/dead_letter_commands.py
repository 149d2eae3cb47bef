"""`hookline dead` and `hookline unrouted`: what could not be handled, and what no queue wanted."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec

from hookline.cli.dead_letter_output import all_facts, facts, line, page
from hookline.cli.dead_letter_selection import Notify, Wanted, counts, look, move
from hookline.cli.options import as_moment, config_option, json_option
from hookline.runtime.event_loop import run_to_end
from hookline.runtime.shutdown import ExitCode
from hookline.schemas import topics
from hookline.schemas.dead_letters import UNROUTED, Action, DeadLetter
from hookline.settings import load

Option = Callable[[Any], Any]


@click.group(
    epilog="""\b
    Examples:
      hookline dead list                           the queues that have any
      hookline dead show billing
      hookline dead replay billing --since 2h --reason failed
    """
)
def dead() -> None:
    """Dead letters: events that a worker could not handle, kept with the reason."""


@click.group(
    epilog="""\b
    Examples:
      hookline unrouted list --since 1d
      hookline unrouted replay --topic "*.*.recording.*"
    """
)
def unrouted() -> None:
    """Events that no queue wanted: kept, until a worker wants them or you drop them."""


def _topic(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    try:
        if text is not None:
            topics.binding(text)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None
    return text


_TIME = "TIME is 2h (ago), or ISO 8601."
_FILTERS: tuple[Option, ...] = (
    click.option("--provider", help="Only of this provider."),
    click.option("--source", help="Only of this source."),
    click.option("--topic", callback=_topic, metavar="PATTERN", help="Only such topics; * is one word, # any number."),
    click.option("--subject", help="Only of this subject: a room, or a recording task."),
    click.option("--reason", help="Only what was put aside for this: failed, timeout, poisoned, crashed, too_old …"),
    click.option("--since", callback=as_moment, metavar="TIME", help=f"Put aside at this time or later. {_TIME}"),
    click.option("--until", callback=as_moment, metavar="TIME", help="Put aside at this time or earlier."),
    click.option("--id", "ids", multiple=True, help="Only the event of this id; may be given several times."),
    click.option("--limit", type=click.IntRange(1), help="So many at most, the oldest first."),
)
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Do nothing; say what would be done.")
_RAW = click.option("--raw", is_flag=True, help="Only the exact bytes of the body, of one letter.")
_YES = click.option("--yes", is_flag=True, help="Do not ask.")


def _list(*, queue: str | None, wanted: Wanted, config: Path, as_json: bool) -> None:
    settings = load(config, with_sources=False)
    if queue is None:
        _list_queues(run_to_end(counts(settings)), as_json=as_json)
        return
    found = run_to_end(look(settings, queue, wanted, _notifying(facts, line, as_json=as_json)))
    if not as_json:
        click.echo(_letters(found))


def _list_queues(found: dict[str, int], *, as_json: bool) -> None:
    for queue, count in found.items():
        click.echo(_json({"queue": queue, "letters": count}) if as_json else f"{count:>9}  {queue}")
    if not found and not as_json:
        click.echo("No dead letters.")


def _show(*, queue: str, wanted: Wanted, config: Path, raw: bool, as_json: bool) -> None:
    settings = load(config, with_sources=False)
    if raw or (wanted.limit is None and not wanted.ids):
        wanted = replace(wanted, limit=1)
    notify = _write_body if raw else _notifying(all_facts, page, as_json=as_json)
    if not run_to_end(look(settings, queue, wanted, notify)):
        click.echo("hookline: there is no such letter", err=True)
        sys.exit(ExitCode.FAILED)


def _replay(*, queue: str, wanted: Wanted, config: Path, dry_run: bool, as_json: bool) -> None:
    settings = load(config, with_sources=False)
    to = "the queues that want it" if queue == UNROUTED else queue
    if dry_run:
        notify = _notifying(
            lambda letter: {**facts(letter), "to": to}, lambda letter: f"{line(letter)}  → {to}", as_json=as_json
        )
        found = run_to_end(look(settings, queue, wanted, notify))
        _sum_up({"to": to, "would_replay": found}, f"{_letters(found)} would be replayed to {to}", as_json=as_json)
        return
    moved, left = run_to_end(move(settings, queue, wanted, Action.REPLAY, "Replaying"))
    _sum_up({"to": to, "replayed": moved, "left": left}, f"{_letters(moved)} replayed; {left} left", as_json=as_json)


def _drop(*, queue: str, wanted: Wanted, config: Path, dry_run: bool, yes: bool, as_json: bool) -> None:
    settings = load(config, with_sources=False)
    if dry_run:
        found = run_to_end(look(settings, queue, wanted, _notifying(facts, line, as_json=as_json)))
        _sum_up({"would_drop": found}, f"{_letters(found)} would be dropped", as_json=as_json)
        return
    if not yes:
        _ask(run_to_end(look(settings, queue, wanted, lambda _: None)))
    moved, left = run_to_end(move(settings, queue, wanted, Action.DROP, "Dropping"))
    _sum_up({"dropped": moved, "left": left}, f"{_letters(moved)} dropped; {left} left", as_json=as_json)


def _ask(found: int) -> None:
    if found > 1:
        if not sys.stdin.isatty():
            raise click.UsageError(f"this would drop {_letters(found)} for ever; --yes says that it shall")
        click.confirm(f"Drop {_letters(found)} for ever?", abort=True, err=True)


def _notifying(
    told: Callable[[DeadLetter], dict[str, Any]], text: Callable[[DeadLetter], str], *, as_json: bool
) -> Notify:
    def notify(letter: DeadLetter) -> None:
        click.echo(_json(told(letter)) if as_json else text(letter))

    return notify


def _write_body(letter: DeadLetter) -> None:
    sys.stdout.buffer.write(letter.body)


def _sum_up(told: dict[str, Any], text: str, *, as_json: bool) -> None:
    click.echo(_json(told) if as_json else text)


def _json(told: dict[str, Any]) -> str:
    return msgspec.json.encode(told).decode()


def _letters(count: int) -> str:
    return f"{count} letter{'' if count == 1 else 's'}"


def _add(name: str, action: Callable[..., None], text: str, options: tuple[Option, ...], examples: str) -> None:
    """The command for dead letters and the same for unrouted events, which has no QUEUE."""
    required = click.argument("queue", required=name != "list")
    kinds: tuple[tuple[click.Group, tuple[Option, ...]], ...] = ((dead, (required,)), (unrouted, ()))
    for group, argument in kinds:
        words = [each.replace("QUEUE", "billing" if argument else "").strip() for each in examples.split("; ")]
        shown = "\n".join(f"      hookline {group.name} {name} {each}".rstrip() for each in words)

        def command(**given: Any) -> None:
            filters = {field: given.pop(field) for field in Wanted.__dataclass_fields__}
            wanted = Wanted(**{**filters, "ids": frozenset(filters["ids"])})
            action(**{"queue": UNROUTED, **given}, wanted=wanted)

        made: Any = command
        all_options: tuple[Option, ...] = (*argument, *_FILTERS, *options, json_option, config_option)
        for option in reversed(all_options):
            made = option(made)
        group.command(name, help=text, epilog=f"\b\n    Examples:\n{shown}")(made)


_add("list", _list, "One line for each letter, oldest first; of `dead` without QUEUE: how many each queue has.", (),
     'QUEUE; QUEUE --since 2h; QUEUE --topic "krtc.*.room.*" --json')  # fmt: skip
_add("show", _show, "All of a letter: why, when, traceback, headers, body. The oldest that matches, unless told.",
     (_RAW,), "QUEUE; QUEUE --id 0d7f9225e4d20093946bc69519b09046; QUEUE --raw > body.json")  # fmt: skip
_add("replay", _replay,
     "Give letters back to be handled: dead ones to their queue only, unrouted ones to all that want them now. "
     "An event that was handled meanwhile is not handled again, so this may be cut short and repeated.", (_DRY_RUN,),
     "QUEUE; QUEUE --source krtc-main --dry-run; QUEUE --reason timeout --limit 10")  # fmt: skip
_add("drop", _drop, "Delete letters for ever. Asks if it is more than one.", (_DRY_RUN, _YES),
     "QUEUE --id 0d7f9225e4d20093946bc69519b09046; QUEUE --until 30d --dry-run; QUEUE --until 30d --yes")  # fmt: skip
