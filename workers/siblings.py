"""Deliveries with several events, as a callback that names several members makes them: each has its own end.

The attempts of such an event are counted by the store, because the message has one number for all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from hookline.schemas.broker import Again, Parked
from hookline.schemas.dead_letters import EVENTS
from hookline.schemas.events import CanonicalEvent
from hookline.workers.bounded_dict import BoundedDict
from hookline.workers.work import DUPLICATE, HANDLED, SUPERSEDED, Ending

_MAX_REMEMBERED = 10_000
_STRONGEST_FIRST = (HANDLED, SUPERSEDED, DUPLICATE)


class ParkedSiblings:
    """Events that have come to their end while others of their delivery are still retried: with the reason of each."""

    def __init__(self) -> None:
        self._parked: BoundedDict[str, Parked] = BoundedDict(_MAX_REMEMBERED)

    def note(self, key: str, parked: Parked) -> None:
        """Remember it until the delivery ends. The oldest is forgotten when there are very many."""
        self._parked.note(key, parked)

    def get(self, key: str) -> Parked | None:
        return self._parked.get(key)

    def forget(self, key: str) -> None:
        self._parked.pop(key, None)


def chosen(events: Sequence[CanonicalEvent], headers: Mapping[str, Any]) -> tuple[CanonicalEvent, ...]:
    """The events to handle: all, or those that failed when the delivery was parked."""
    named = headers.get(EVENTS)
    if not named:
        return tuple(events)
    ids = frozenset(str(named).split(","))
    return tuple(event for event in events if event.id in ids)


def combined(events: Sequence[CanonicalEvent], endings: Sequence[Ending], attempt: int) -> Ending:
    """What becomes of a delivery: retried while one of its events is; else parked with those that failed; else done.

    `attempt` is the message's own, which such a delivery keeps.
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
        return Ending(_together(parked, is_part=len(parked) < len(endings)), highest, late)
    outcomes = [each.outcome for each in endings]
    strongest = next((outcome for outcome in _STRONGEST_FIRST if outcome in outcomes), HANDLED)
    return Ending(strongest, highest, late)


def _together(parked: Mapping[str, Parked], *, is_part: bool) -> Parked:
    outcomes = list(parked.values())
    detail = "\n\n".join(f"{event_id}: {outcome.detail}" for event_id, outcome in parked.items())
    attempts = max(outcome.attempts for outcome in outcomes)
    return Parked(outcomes[0].reason, detail, attempts, tuple(parked) if is_part else ())
