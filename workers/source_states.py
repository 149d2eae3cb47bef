"""When each source last sent something, and whether it is silent at a time at which it usually is not."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from hookline.workers.event_log import EventLog, Query

SILENT_AFTER = timedelta(minutes=30)
USUAL_EVENTS = 10
"""A source that sent more events than this in the same half hour yesterday is expected to send some now."""
_DAY, _WEEK = timedelta(days=1), timedelta(weeks=1)


class SourceState(msgspec.Struct, frozen=True, kw_only=True):
    """A source, as the event log knows it. Events of unknown types are not in the log.

    `last_at` is when its latest event was received, None if there is none. `usual` is the number of its events in the
    half hour that ended a day ago, at most 11. `silent` says that nothing has come for half an hour although more than
    10 events had come by this time yesterday, and also a week ago if the log goes back so far. The alert
    HooklineSourceSilent has the same numbers.
    """

    source: str
    last_at: datetime | None
    usual: int = 0
    silent: bool = False


async def source_states(log: EventLog, sources: Iterable[str], now: datetime) -> Sequence[SourceState]:
    """The states of these sources, in their order. The cost is that of a few look-ups for each. Raises Unreachable."""
    return [await _state(log, source, now) for source in sources]


async def _state(log: EventLog, source: str, now: datetime) -> SourceState:
    events = (await log.search(Query(source=source), limit=1)).events
    if not events:
        return SourceState(source=source, last_at=None)
    last_at = events[0].received_at
    if now - last_at <= SILENT_AFTER:
        return SourceState(source=source, last_at=last_at)
    usual = await _number(log, source, now - _DAY)
    is_silent = usual > USUAL_EVENTS and await _was_usual(log, source, now - _WEEK)
    return SourceState(source=source, last_at=last_at, usual=usual, silent=is_silent)


async def _was_usual(log: EventLog, source: str, then: datetime) -> bool:
    """Whether events came at that time, too, or the log does not go back so far."""
    if await _number(log, source, then) > USUAL_EVENTS:
        return True
    return not (await log.search(Query(source=source, until=then - SILENT_AFTER), limit=1)).events


async def _number(log: EventLog, source: str, until: datetime) -> int:
    """How many events came in the half hour before, at most 11."""
    query = Query(source=source, since=until - SILENT_AFTER, until=until)
    return len((await log.search(query, limit=USUAL_EVENTS + 1)).events)
