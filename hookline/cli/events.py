"""`hookline events`: the event log, by room, user, id, source, topic and time."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from hookline.age import age_text, time_text
from hookline.cli import tables
from hookline.cli.known_names import leave_if_unknown, unknown
from hookline.cli.options import as_moment, config_option, json_option
from hookline.cli.output import leave, say, shortened, titled
from hookline.event_facts import event_facts, late_s
from hookline.runtime.event_loop import run_to_end, run_until_interrupted
from hookline.runtime.installation import Installation
from hookline.runtime.logs import printable
from hookline.schemas.errors import Unreachable
from hookline.schemas.events import EVENT_TYPES, CanonicalEvent, Event, Unknown, event_topic
from hookline.settings import Settings, load
from hookline.workers.event_follower import EventFollower
from hookline.workers.event_log import MAX_LIMIT, EventLog, Query

COLUMNS = (("occurred", "source", "topic"), ("id",), ("what",))
_LOGGED = tuple(topic for topic in EVENT_TYPES if topic != event_topic(Unknown))
_AT_MOST = 100_000
_LOOK_EVERY_S = 1.0
_FEW = 10


def _topic(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and text not in _LOGGED:
        raise click.BadParameter(unknown("topic", text, _LOGGED), context, parameter)
    return text


@click.command(
    epilog="""\b
    Examples:
      hookline events
      hookline events --room lesson --user teacher
      hookline events --topic recording.failed --since 1d
      hookline events --id 0d7f9225e4d20093946bc69519b09046 --json
      hookline events --source krtc-main --follow
    """
)
@click.option("--room", help="Only of the room with this id, in every source that has one.")
@click.option("--user", help="Only those that name this user, in any part.")
@click.option("--id", "event_id", help="Only the event with this id.")
@click.option("--source", help="Only from this source.")
@click.option("--topic", callback=_topic, metavar="TOPIC", help="Only of this topic, such as participant.joined.")
@click.option(
    "--since",
    callback=as_moment,
    metavar="TIME",
    help="Only those that occurred at this time or later: 2h (ago), or ISO 8601 with a time zone.",
)
@click.option("--until", callback=as_moment, metavar="TIME", help="Only those that occurred before this time.")
@click.option(
    "--limit",
    type=click.IntRange(1, _AT_MOST),
    default=100,
    show_default=True,
    help="How many to show at most: the latest.",
)
@click.option("--follow", is_flag=True, help="Show the latest 10, and then each as it comes, until Ctrl-C.")
@json_option
@config_option
def events(  # noqa: PLR0913  one for each option
    *,
    room: str | None,
    user: str | None,
    event_id: str | None,
    source: str | None,
    topic: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    follow: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Show events from the event log, in order of their times.

    The worker `rooms` must run: it keeps every event once, except those of unknown types, for `store.rooms_ttl_s`. The
    events are shown as workers get them.
    """
    query = Query(room_id=room, user_id=user, source=source, topic=topic, since=since, until=until)
    if event_id is not None and (query != Query() or follow):
        raise click.UsageError("--id names one event: it goes with no other filter and not with --follow")
    if follow and (since or until):
        raise click.UsageError("--follow shows what comes from now on: it goes with neither --since nor --until")
    settings = load(config, with_sources=False)
    if event_id is not None:
        _show_one(settings, event_id, as_json=as_json)
    elif follow:
        run_until_interrupted(_follow(settings, query, as_json=as_json))
    else:
        _show_latest(settings, query, limit, as_json=as_json)


def _show_one(settings: Settings, event_id: str, *, as_json: bool) -> None:
    async def read() -> tuple[Event | None, Mapping[str, int]]:
        async with Installation(settings) as installation:
            log = await installation.event_log()
            return await log.get(event_id), await log.repeats([event_id])

    event, repeats = run_to_end(read())
    if event is None:
        leave(f"the event log has no event {shortened(event_id)}")
    if as_json:
        click.echo(_json(event))
    else:
        click.echo("\n".join(titled(name, printable(text), 15) for name, text in _all_facts(event, repeats).items()))


def _show_latest(settings: Settings, query: Query, limit: int, *, as_json: bool) -> None:
    async def read() -> tuple[list[Event], Mapping[str, int]]:
        async with Installation(settings) as installation:
            log = await installation.event_log()
            found = await _latest(log, query, limit + 1)
            if not found:
                leave_if_unknown(settings, provider=None, source=query.source)
                await _leave_if_never_named(log, query)
            return found, {} if as_json else await log.repeats([event.id for event in found])

    found, repeats = run_to_end(read())
    shown = found[:limit][::-1]
    if as_json:
        for event in shown:
            click.echo(_json(event))
    elif shown:
        tables.show(COLUMNS, [_row(event, repeats) for event in shown])
    else:
        click.echo("No events match." if query != Query() else _NOTHING)
    if len(found) > limit:
        click.echo(f"The latest {limit} are shown; --limit shows more.", err=True)


_NOTHING = "No events yet. The worker `rooms` keeps them; `hookline send SOURCE` sends sample callbacks."


async def _leave_if_never_named(log: EventLog, query: Query) -> None:
    """End the command if no event of any time has this room, or names this user. Raises Unreachable."""
    if query.room_id is not None and not await _latest(log, Query(room_id=query.room_id), 1):
        room = shortened(query.room_id)
        leave(f"there are no events of a room {room}: `hookline rooms` shows the latest rooms")
    if query.user_id is not None and not await _latest(log, Query(user_id=query.user_id), 1):
        user = shortened(query.user_id)
        leave(f"no event names a user {user}: `hookline events` shows the latest events")


async def _latest(log: EventLog, query: Query, limit: int) -> list[Event]:
    """Up to `limit` events, the latest first. Raises Unreachable."""
    found, cursor = list[Event](), None
    while True:
        page = await log.search(query, limit=min(limit - len(found), MAX_LIMIT), cursor=cursor)
        found += page.events
        cursor = page.cursor
        if cursor is None or len(found) == limit:
            return found


async def _follow(settings: Settings, query: Query, *, as_json: bool) -> None:
    """Print until cancelled. A store that is away for a while costs a sentence."""
    show = _json if as_json else _line
    async with Installation(settings) as installation:
        log = await installation.event_log()
        follower = EventFollower(log)
        await follower.start()
        latest = (await _latest(log, query, _FEW))[::-1]
        if not latest:
            leave_if_unknown(settings, provider=None, source=query.source)
        for event in latest:
            click.echo(show(event))
        shown = {event.id for event in latest}
        async for event in _new(follower):
            if query.matches(event) and event.id not in shown:
                click.echo(show(event))
                sys.stdout.flush()


async def _new(follower: EventFollower) -> AsyncIterator[Event]:
    """Each event as it comes. A store that is away for a while costs a sentence."""
    is_away = False
    while True:
        try:
            new = await follower.new()
        except Unreachable as error:
            if not is_away:
                say(f"hookline: {error}; still trying", err=True)
            is_away, new = True, []
        else:
            is_away = False
        for event in new:
            yield event
        await asyncio.sleep(_LOOK_EVERY_S)


def _row(event: Event, repeats: Mapping[str, int]) -> tuple[str, ...]:
    what = _what(event) + (f" (delivered {repeats[event.id] + 1} times)" if event.id in repeats else "")
    return (_at(event.occurred_at), event.source, event_topic(event), event.id, what.lstrip())


def _line(event: Event) -> str:
    """An event in one line, however it looks: those to come are not known."""
    head = f"{_at(event.occurred_at)}  {event.source:<12} {event_topic(event):<24}"
    return f"{head} {printable(_what(event))}"


def _what(event: Event) -> str:
    late = late_s(event)
    facts = [f"{name}={text}" for name, text in event_facts(event).items()]
    return " ".join(facts + ([f"(received {age_text(late)} later)"] if late is not None else []))


def _all_facts(event: Event, repeats: Mapping[str, int]) -> dict[str, Any]:
    head = {name: getattr(event, name) for name in CanonicalEvent.__struct_fields__}
    texts = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in head.items()}
    delivered = {"delivered": f"{repeats[event.id] + 1} times"} if event.id in repeats else {}
    return {"topic": event_topic(event), **texts, **delivered, **event_facts(event)}


def _json(event: Event) -> str:
    return msgspec.json.encode(event).decode()


def _at(time: datetime) -> str:
    return time_text(time)
