"""`hookline status`: what waits where."""

import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from hookline.admin.visit import OnPort, processes_here
from hookline.age import age_text
from hookline.audit.reader import RefusalReader
from hookline.broker.spool.visit import contents
from hookline.cli import tables
from hookline.cli.options import config_option, json_option
from hookline.cli.output import say
from hookline.cli.status_processes import process_hints, show_processes
from hookline.doctor.queues import LONELY
from hookline.runtime.event_loop import run_to_end, run_until_interrupted
from hookline.runtime.installation import broker_name, is_rabbitmq, refusals_path, sharing_one_file, spool_folder
from hookline.runtime.visiting import visiting_event_log, visiting_queues
from hookline.schemas.errors import HooklineError, MissingSignature, StaleTimestamp, Unreachable
from hookline.schemas.queue_states import QueueState
from hookline.schemas.refusals import RefusalCount
from hookline.settings import Settings, load
from hookline.workers.source_states import SourceState, source_states

COLUMNS = (("queue",), ("waiting", "oldest", "in flight", "retrying", "dead", "consumers"))
_NUMBERS = frozenset(COLUMNS[1])
SOURCE_COLUMNS = (("source",), ("last event",), ("rhythm",))
_WATCH_EVERY_S = 2.0
_REFUSED_WITHIN_S = 3600.0
_MAX_REFUSED = 10
_AHEAD_S = 60.0
"""What was noted later than that was noted by a clock that was ahead."""
_NOW_S = 600.0
"""What was refused longer ago may have been mended since."""
_COMMON_CAUSES = {
    StaleTimestamp.reason: (
        "clock: time stamps of several sources were too old or too new: is this machine's clock right? Run NTP"
    ),
    MissingSignature.reason: (
        "proxy: requests of several sources had no signature: does a load balancer or a firewall remove headers?"
    ),
}
"""What to do about a reason for which several sources were refused."""
_CLEAR = "\x1b[2J\x1b[H"


class SpoolState(msgspec.Struct, frozen=True):
    """What waits on this machine's disk for RabbitMQ."""

    events: int
    bytes: int
    oldest_s: float | None


class Status(msgspec.Struct, frozen=True):
    """What the command shows, as JSON.

    `queues` and `unrouted` are null if the broker cannot be reached, and `queues_fault` says why. `spool` is null where
    there is none: on the embedded queue, for example. `spool_fault` and `refused_fault` say what cannot be read.
    """

    queues: Sequence[QueueState] | None
    unrouted: int | None
    spool: SpoolState | None
    refused: Sequence[RefusalCount]
    """What the ingress of this machine has refused in the last hour, the latest first."""
    sources: Sequence[SourceState] | None = None
    """When each source last sent something; null if the event log cannot be read, and `sources_fault` says why."""
    sources_fault: str = ""
    queues_fault: str = ""
    spool_fault: str = ""
    refused_fault: str = ""
    processes: Sequence[OnPort] = ()
    """What listens on the operator's ports of this machine, with what its workers are doing."""


@click.command(
    epilog="""\b
    Examples:
      hookline status
      hookline status --watch
      hookline status --json | jq '.queues[] | select(.dead > 0)'
    """
)
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@json_option
@config_option
def status(config: Path, *, watch: bool, as_json: bool) -> None:
    """Show what waits in the queues, and what does not.

    For each worker's queue: the events that wait, how old the oldest is, those in flight, those that wait for their
    next attempt, the dead letters, and how many processes consume. `-` is what the broker does not show: RabbitMQ shows
    neither ages nor, without `broker.management_url`, what is in flight, and the embedded queue no consumers.
    For each process on this machine: whether it is ready, and for each of its workers the calls of its function that
    run, of how many that may, how long the oldest has run, and the messages that it has of the broker and has not
    settled: no other number has these on RabbitMQ.
    For each source: how long ago its latest event in the event log was received, which the worker `rooms` keeps, and
    whether it is silent at a time at which it usually is not.
    Below it stands what to do, and what the ingress of this machine has refused in the last hour.
    """
    settings = load(config, with_sources=False)
    shown = _show(settings, watch=watch, as_json=as_json)
    if watch:
        run_until_interrupted(shown)
    else:
        run_to_end(shown)


async def _show(settings: Settings, *, watch: bool, as_json: bool) -> None:
    while True:
        found = await _look(settings)
        if watch and sys.stdout.isatty():
            click.echo(_CLEAR, nl=False)
        click.echo(msgspec.json.encode(found).decode()) if as_json else _print(found, watch=watch)
        if not watch:
            if found.queues is None:
                raise Unreachable(found.queues_fault)  # the text leaves saying it to this
            return
        sys.stdout.flush()
        await asyncio.sleep(_WATCH_EVERY_S)


async def _look(settings: Settings) -> Status:
    """What cannot be read hides nothing else: a broker that is away, or a file of another user."""
    status = Status(None, None, None, (), processes=await processes_here(settings.admin, broker_name(settings)))
    status = await asyncio.to_thread(_with_spool, status, settings)
    status = await asyncio.to_thread(_with_refusals, status, settings)
    return await _with_sources(await _with_queues(status, settings), settings)


def _with_spool(status: Status, settings: Settings) -> Status:
    try:
        return msgspec.structs.replace(status, spool=_look_at_spool(settings))
    except Unreachable as error:
        return msgspec.structs.replace(status, spool_fault=str(error))


def _with_refusals(status: Status, settings: Settings) -> Status:
    try:
        return msgspec.structs.replace(status, refused=_look_at_refusals(settings))
    except Unreachable as error:
        return msgspec.structs.replace(status, refused_fault=str(error))


async def _with_queues(status: Status, settings: Settings) -> Status:
    try:
        async with visiting_queues(settings) as states:
            queues = await states.states(await states.names(), retrying=True)
            return msgspec.structs.replace(status, queues=queues, unrouted=await states.unrouted())
    except Unreachable as error:
        return msgspec.structs.replace(status, queues_fault=str(error))


async def _with_sources(status: Status, settings: Settings) -> Status:
    if status.queues is None and sharing_one_file(settings):
        return msgspec.structs.replace(status, sources_fault=status.queues_fault)
    try:
        async with visiting_event_log(settings) as log:
            sources = await source_states(log, settings.source_names, datetime.now(UTC))
            return msgspec.structs.replace(status, sources=sources)
    except HooklineError as error:
        return msgspec.structs.replace(status, sources_fault=str(error))


def _look_at_refusals(settings: Settings) -> Sequence[RefusalCount]:
    path = refusals_path(settings)
    if path is None:
        return ()
    since_s = time.time() - _REFUSED_WITHIN_S
    counts = RefusalReader(path).counts()
    ahead_s = time.time() + _AHEAD_S
    recent = (each for each in counts if each.last_s >= since_s)
    return sorted(recent, key=lambda each: (each.last_s > ahead_s, -each.last_s))


def _look_at_spool(settings: Settings) -> SpoolState | None:
    if not settings.spool.path or not is_rabbitmq(settings.broker):
        return None
    folder = spool_folder(settings)
    try:
        found = contents(folder)
    except OSError as error:
        raise Unreachable(f"the spool in {folder} cannot be read: {error.strerror}") from None
    oldest_s = None if found.oldest_at_s is None else max(time.time() - found.oldest_at_s, 0.0)
    return SpoolState(found.events, found.bytes, oldest_s)


def _print(found: Status, *, watch: bool) -> None:
    if found.queues is None:
        _print_unknown_queues(found, f": {found.queues_fault}" if watch else "")
    else:
        _print_queues(found.queues, found.unrouted)
    if found.processes:
        click.echo("\nprocesses of this machine:")
        show_processes(found.processes)
        click.echo()
    if found.spool is not None:
        oldest = "" if found.spool.oldest_s is None else f", the oldest {age_text(found.spool.oldest_s)} old"
        click.echo(f"spool of this machine: {found.spool.events} events, {found.spool.bytes} bytes{oldest}")
    if found.spool_fault:
        say(found.spool_fault)
    if found.refused_fault:
        say(f"what the ingress of this machine has refused is not known: {found.refused_fault}")
    _print_sources(found)
    for hint in _hints(found):
        say(hint)


def _print_unknown_queues(found: Status, why: str) -> None:
    """The sources have a line of their own, unless one fault hides both."""
    what = "what waits in the queues"
    if found.sources_fault == found.queues_fault:
        what += ", and when each source last sent something,"
    say(f"{what} is not known{why}")


def _print_queues(queues: Sequence[QueueState], unrouted: int | None) -> None:
    if queues:
        tables.show(COLUMNS, [_row(each) for each in queues], numbers=_NUMBERS, style=_style)
    else:
        click.echo("There are no queues yet: a worker makes its queue when it starts.")
    click.echo(f"\nunrouted: {unrouted}")


def _print_sources(found: Status) -> None:
    if found.sources is None and found.sources_fault != found.queues_fault:
        say(f"sources: when they last sent something is not known: {found.sources_fault}")
    elif found.sources:
        click.echo()
        tables.show(
            SOURCE_COLUMNS, [_source_row(each, datetime.now(UTC)) for each in found.sources], style=_style_source
        )
        click.echo()


def _source_row(state: SourceState, now: datetime) -> tuple[str, str, str]:
    if state.last_at is None:
        return state.source, "none", ""
    age = age_text(max((now - state.last_at).total_seconds(), 0.0))
    return state.source, f"{age} ago", "silent, unlike yesterday at this time" if state.silent else ""


def _style_source(row: Sequence[str]) -> str:
    return "red" if row[2] != "-" else ""


def _hints(found: Status) -> list[str]:
    hints = process_hints(found.processes)
    hints += [hint for each in found.queues or () for hint in _queue_hints(each)]
    hints += ["unrouted: `hookline unrouted list` shows them"] if found.unrouted else []
    hints += [_spool_hint(is_broker_there=found.queues is not None)] if found.spool and found.spool.events else []
    hints += [
        f"{each.source}: nothing has come for half an hour; is the callback still on in the provider's console?"
        for each in found.sources or ()
        if each.silent
    ]
    now_s = time.time()
    hints += _common_causes([each for each in found.refused if -_NOW_S <= each.last_s - now_s <= _AHEAD_S])
    return hints + [_refused_hint(each, now_s) for each in found.refused[:_MAX_REFUSED]]


def _common_causes(refused: Sequence[RefusalCount]) -> list[str]:
    several = {
        reason for reason in _COMMON_CAUSES if len({each.source for each in refused if each.reason == reason}) > 1
    }
    return [hint for reason, hint in _COMMON_CAUSES.items() if reason in several]


def _queue_hints(state: QueueState) -> list[str]:
    name = state.queue
    is_lonely, is_untouched = state.waiting and state.consumers == 0, state.is_untouched
    hints = {
        f"{name}: {LONELY}": is_lonely,
        f"{name}: no process takes its events; does its worker run?": is_untouched,
        f"{name}: `hookline retrying show {name}` shows the last error": state.retrying,
        f"{name}: `hookline dead list {name}` shows why": state.dead,
    }
    return [hint for hint, holds in hints.items() if holds]


def _spool_hint(*, is_broker_there: bool) -> str:
    if not is_broker_there:
        return "spool: its events are published once RabbitMQ is back"
    return (
        "spool: RabbitMQ answers; if the number does not fall, it refuses events: is a queue at its max-length, "
        "or an alarm on? The log of the ingress has its words"
    )


def _refused_hint(count: RefusalCount, now_s: float) -> str:
    name, source = (count.source, count.source) if count.source else ("unknown paths", "-")
    ahead_s = count.last_s - now_s
    when = f"{age_text(max(-ahead_s, 0.0))} ago" if ahead_s <= _AHEAD_S else "by a clock that was ahead of this one"
    return f"{name}: refused ({count.reason}, {when}): `hookline refused list --source {source}`"


def _row(state: QueueState) -> tuple[str, ...]:
    numbers = (state.in_flight, state.retrying, state.dead, state.consumers)
    age = "" if state.oldest_s is None else age_text(state.oldest_s)
    return (state.queue, str(state.waiting), age, *("" if number is None else str(number) for number in numbers))


def _style(row: Sequence[str]) -> str:
    return "red" if row[5] not in {"0", "-"} else ""
