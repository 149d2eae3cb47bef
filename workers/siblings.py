"""Deliveries with several events, as a callback that names several members makes them: each has its own end.

The attempts of such an event are counted by the store alone, because the message has one number for all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from hookline.schemas.broker import Again, Outcome, Parked
from hookline.schemas.dead_letters import EVENTS
from hookline.schemas.events import CanonicalEvent
from hookline.workers.work import DUPLICATE, HANDLED, SUPERSEDED, Ending

_STRONGEST_FIRST = (HANDLED, SUPERSEDED, DUPLICATE)


def chosen(events: Sequence[CanonicalEvent], headers: Mapping[str, Any]) -> tuple[CanonicalEvent, ...]:
    """The events to handle: all, or those that failed when the delivery was parked.

    Of two with one id the second is a repeat. It would find the first one claimed, and keep the delivery from its end.
    """
    named = headers.get(EVENTS)
    if not named:
        return tuple(events) if len(events) == 1 else _first_of_each_id(events)
    ids = frozenset(str(named).split(","))
    return tuple(event for event in _first_of_each_id(events) if event.id in ids)


def _first_of_each_id(events: Sequence[CanonicalEvent]) -> tuple[CanonicalEvent, ...]:
    first = {event.id: event for event in reversed(events)}
    return tuple(event for event in events if first[event.id] is event)


def combined(events: Sequence[CanonicalEvent], endings: Sequence[Ending], attempt: int, others: int = 0) -> Ending:
    """What becomes of a delivery: retried while one of its events is; else parked with those that failed; else done.

    `attempt` is the message's own, which such a delivery keeps. It has so many `others` that are not wanted here.
    """
    late, highest = any(each.late for each in endings), max((each.attempt for each in endings), default=attempt)
    retried = [each.outcome for each in endings if isinstance(each.outcome, Again)]
    if retried:
        soonest = min(retried, key=lambda outcome: outcome.delay_s)
        return Ending(replace(soonest, attempt=attempt), highest, late)
    parked = {
        event.id: each.outcome for event, each in zip(events, endings, strict=True) if isinstance(each.outcome, Parked)
    }
    if parked:
        return Ending(_together(parked, is_part=len(parked) < len(endings) + others), highest, late)
    outcomes = [each.outcome for each in endings]
    strongest = next((outcome for outcome in _STRONGEST_FIRST if outcome in outcomes), HANDLED)
    return Ending(strongest, highest, late)


def with_unwanted(ending: Ending, unwanted: Sequence[CanonicalEvent], outcome: Outcome) -> Ending:
    """What becomes of a delivery of which all have ended but the `unwanted` events.

    `outcome` is that of an unwanted delivery. At last it is parked with these events, and with those that failed.
    """
    if not isinstance(outcome, Parked):
        return replace(ending, outcome=outcome)
    names, detail = [event.id for event in unwanted], outcome.detail
    if isinstance(ending.outcome, Parked):
        names = [*ending.outcome.events, *names]
        detail = f"{detail}\n\n{ending.outcome.detail}"
    return replace(ending, outcome=replace(outcome, detail=detail, events=tuple(names)))


def _together(parked: Mapping[str, Parked], *, is_part: bool) -> Parked:
    outcomes = list(parked.values())
    detail = "\n\n".join(f"{event_id}: {outcome.detail}" for event_id, outcome in parked.items())
    attempts = max(outcome.attempts for outcome in outcomes)
    return Parked(outcomes[0].reason, detail, attempts, tuple(parked) if is_part else ())
