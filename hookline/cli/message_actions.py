"""What the commands of `hookline dead`, `unrouted` and `retrying` do: list, show, replay, drop, have tried now."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import click

from hookline.cli.known_names import leave_if_unknown
from hookline.cli.message_output import (
    DEAD_COLUMNS,
    RETRY_COLUMNS,
    content,
    dead_facts,
    dead_page,
    dead_row,
    retry_facts,
    retry_page,
    retry_row,
)
from hookline.cli.message_selection import (
    Message,
    MessageFilter,
    Part,
    act,
    counts,
    dead_letters,
    find,
    find_wanted,
    name_of,
    retries,
)
from hookline.cli.output import as_json_line, check_no_terminal, leave, numbered, printed_at_the_end
from hookline.cli.tables import Columns, show
from hookline.runtime.event_loop import run_to_end
from hookline.schemas.dead_letters import Action
from hookline.settings import Settings, load

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Kind(Generic[M]):
    """What a group of commands is about, and how it is shown. `counted` is the name of its number in JSON."""

    part: Part[M]
    noun: str
    nouns: str
    counted: str
    columns: Columns
    row: Callable[[M], tuple[str, ...]]
    facts: Callable[[M], dict[str, Any]]
    content: Callable[[M], dict[str, Any]]
    page: Callable[[M], str]

    def number(self, count: int) -> str:
        return numbered(count, self.noun, self.nouns)


DEAD = Kind(
    dead_letters, "dead letter", "dead letters", "letters", DEAD_COLUMNS, dead_row, dead_facts, content, dead_page
)
NOT_WANTED = replace(DEAD, noun="unrouted event", nouns="unrouted events")
RETRYING = Kind(
    retries, "event that waits", "events that wait", "retrying",
    RETRY_COLUMNS, retry_row, retry_facts, content, retry_page,
)  # fmt: skip


def list_messages(kind: Kind[M], *, queue: str | None, chosen: MessageFilter, config: Path, as_json: bool) -> None:
    if queue is None and chosen != MessageFilter():
        raise click.UsageError(f"name a QUEUE: without one, the numbers of all {kind.nouns} are shown, unfiltered")
    settings = load(config, with_sources=False)
    if queue is None:
        _list_queues(kind, run_to_end(counts(settings, kind.part)), as_json=as_json)
        return
    found = _show_rows(kind, settings, queue, chosen, as_json=as_json)
    _check_found(kind, found, settings, chosen)
    if not as_json:
        click.echo(kind.number(found))


def _check_found(kind: Kind[M], found: int, settings: Settings, chosen: MessageFilter) -> None:
    """End the command if it found nothing of what it was told to find. Other filters may select nothing today."""
    if not found:
        leave_if_unknown(settings, provider=chosen.provider, source=chosen.source)
        if chosen.ids:
            leave(f"no {kind.noun} has the id {' or '.join(sorted(chosen.ids))}")


def _list_queues(kind: Kind[M], numbers: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        for queue, number in numbers.items():
            click.echo(as_json_line({"queue": queue, kind.counted: number}))
    elif numbers:
        rows = [(queue, str(number)) for queue, number in numbers.items()]
        show([("queue", kind.nouns)], rows, numbers={kind.nouns})
    else:
        click.echo(f"There are no {kind.nouns}.")


def show_messages(kind: Kind[M], *, queue: str, chosen: MessageFilter, config: Path, raw: bool, as_json: bool) -> None:
    if raw:
        check_no_terminal()
    settings = load(config, with_sources=False)
    if raw or (chosen.limit is None and not chosen.ids):
        chosen = replace(chosen, limit=1)

    found = (
        _write_body(kind, settings, queue, chosen)
        if raw
        else _show_pages(kind, settings, queue, chosen, as_json=as_json)
    )
    if not found:
        _check_found(kind, 0, settings, chosen)
        leave(f"no {kind.noun} matches")


def _write_body(kind: Kind[M], settings: Settings, queue: str, chosen: MessageFilter) -> int:
    """Write the body of the only message that is chosen. Returns the number of those that match."""
    bodies: list[bytes] = []
    found = run_to_end(find(settings, kind.part, queue, chosen, lambda message: bodies.append(message.body)))
    sys.stdout.buffer.write(b"".join(bodies))
    return found


def _show_pages(kind: Kind[M], settings: Settings, queue: str, chosen: MessageFilter, *, as_json: bool) -> int:
    """Print those that match in full. Returns their number."""

    def text(message: M) -> str:
        return as_json_line(kind.facts(message) | kind.content(message)) if as_json else kind.page(message)

    with printed_at_the_end() as show_line:
        return run_to_end(find(settings, kind.part, queue, chosen, lambda message: show_line(text(message))))


def replay_dead(
    kind: Kind[M], *, queue: str, chosen: MessageFilter, config: Path, dry_run: bool, as_json: bool
) -> None:
    settings = load(config, with_sources=False)
    if dry_run:
        found = _show_rows(kind, settings, queue, chosen, as_json=as_json, to=queue)
        _check_found(kind, found, settings, chosen)
        text = f"{kind.number(found)} would be replayed to {queue}"
        _sum_up({"to": queue, "would_replay": found}, text, as_json=as_json)
        return
    _replay_now(kind, settings, queue, chosen, to=queue, as_json=as_json)


def replay_unrouted(
    kind: Kind[M], *, queue: str, chosen: MessageFilter, config: Path, dry_run: bool, as_json: bool
) -> None:
    settings, to = load(config, with_sources=False), "the queues that want it"
    if dry_run:
        with _shown(NOT_WANTED, as_json=as_json, to=to) as show_one:
            found, staying = run_to_end(find_wanted(settings, chosen, show_one))
        _check_found(kind, found + staying, settings, chosen)
        text = f"{kind.number(found)} would be replayed to the queues that want them; {staying} would stay"
        _sum_up({"to": to, "would_replay": found, "would_stay": staying}, text, as_json=as_json)
        return
    _replay_now(kind, settings, queue, chosen, to=to, as_json=as_json)


def _replay_now(
    kind: Kind[M], settings: Settings, queue: str, chosen: MessageFilter, *, to: str, as_json: bool
) -> None:
    done, left = run_to_end(act(settings, kind.part, queue, chosen, Action.REPLAY, "Replaying"))
    _check_found(kind, done, settings, chosen)
    _sum_up({"to": to, "replayed": done, "left": left}, f"{kind.number(done)} replayed, {left} left", as_json=as_json)


def make_due(kind: Kind[M], *, queue: str, chosen: MessageFilter, config: Path, dry_run: bool, as_json: bool) -> None:
    settings = load(config, with_sources=False)
    if dry_run:
        found = _show_rows(kind, settings, queue, chosen, as_json=as_json)
        _check_found(kind, found, settings, chosen)
        _sum_up({"queue": queue, "would_be_due": found}, f"{kind.number(found)} would be due now", as_json=as_json)
        return
    done, left = run_to_end(act(settings, kind.part, queue, chosen, Action.REPLAY, "Making due"))
    _check_found(kind, done, settings, chosen)
    text = f"{numbered(done, 'event is', 'events are')} due now, {numbered(left, 'waits', 'wait')}"
    _sum_up({"queue": queue, "due": done, "left": left}, text, as_json=as_json)


def drop_messages(  # noqa: PLR0913  one for each option
    kind: Kind[M], *, queue: str, chosen: MessageFilter, config: Path, dry_run: bool, yes: bool, as_json: bool
) -> None:
    settings = load(config, with_sources=False)
    if dry_run:
        found = _show_rows(kind, settings, queue, chosen, as_json=as_json)
        _check_found(kind, found, settings, chosen)
        _sum_up({"would_drop": found}, f"{kind.number(found)} would be dropped", as_json=as_json)
        return
    if not yes:
        chosen = _confirmed(kind, settings, queue, chosen)
    done, left = run_to_end(act(settings, kind.part, queue, chosen, Action.DROP, "Dropping"))
    _check_found(kind, done, settings, chosen)
    _sum_up({"dropped": done, "left": left}, f"{kind.number(done)} dropped, {left} left", as_json=as_json)


def _confirmed(kind: Kind[M], settings: Settings, queue: str, chosen: MessageFilter) -> MessageFilter:
    """Ask before more than one is deleted. The result selects those and no others, which may come meanwhile.

    Raises UsageError where nobody can answer.
    """
    names: list[str] = []
    found = run_to_end(find(settings, kind.part, queue, chosen, lambda message: names.append(name_of(message))))
    if found > 1:
        if not sys.stdin.isatty():
            raise click.UsageError(f"this would delete {kind.number(found)} for good; confirm it with --yes")
        click.confirm(f"Delete {kind.number(found)} for good?", abort=True, err=True)
    return replace(chosen, limit=found, only=frozenset(names))


def _show_rows(
    kind: Kind[M], settings: Settings, queue: str, chosen: MessageFilter, *, as_json: bool, to: str | None = None
) -> int:
    """Print those that match. Returns their number."""
    with _shown(kind, as_json=as_json, to=to) as show_one:
        return run_to_end(find(settings, kind.part, queue, chosen, show_one))


@contextmanager
def _shown(kind: Kind[M], *, as_json: bool, to: str | None) -> Iterator[Callable[[M], object]]:
    """A function for messages that are printed at the end, as JSON objects or in a table."""
    if as_json:
        target = {} if to is None else {"to": to}
        with printed_at_the_end() as show_line:
            yield lambda message: show_line(as_json_line({**kind.facts(message), **target}))
        return
    rows: list[tuple[str, ...]] = []
    yield lambda message: rows.append(kind.row(message))
    if rows:
        show(kind.columns, rows)


def _sum_up(summary: dict[str, Any], text: str, *, as_json: bool) -> None:
    click.echo(as_json_line(summary) if as_json else text)
