"""Deliveries with several events, as a callback that names several members makes them: each has its own end.

The attempts of such an event are counted by the store, because the message has one number for all of them. That it was
parked is noted there too, in the same number, for the other processes that get the delivery.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from hookline.schemas.broker import Again, Outcome, Parked
from hookline.schemas.dead_letters import EVENTS
from hookline.schemas.events import CanonicalEvent
from hookline.workers.bounded_dict import BoundedDict
from hookline.workers.store import Acquired
from hookline.workers.work import DUPLICATE, HANDLED, SUPERSEDED, Ending

_MAX_REMEMBERED = 10_000
_STRONGEST_FIRST = (HANDLED, SUPERSEDED, DUPLICATE)
_ENDED = 1_000_000  # more failures than any event may have
_REASONS = ("failed", "timeout", "retry", "too_old", "poisoned", "crashed")


class ParkedSiblings:
    """Events that were parked while others of their delivery are still retried, with the details that no store has."""

    def __init__(self) -> None:
        self._parked: BoundedDict[str, Parked] = BoundedDict(_MAX_REMEMBERED)

    def note(self, key: str, parked: Parked) -> None:
        """Remember it until the delivery ends. The oldest is forgotten when there are very many."""
        self._parked.note(key, parked)

    def remembered(self, key: str, parked: Parked) -> Parked:
        """What was noted here of an event that the store says is parked."""
        if self.get(key) is None:
            self.note(key, parked)
        return self._parked[key]

    def get(self, key: str) -> Parked | None:
        return self._parked.get(key)

    def forget(self, key: str) -> None:
        self._parked.pop(key, None)


def end_mark(parked: Parked) -> int:
    """What is added to the failures of an event that is parked while its delivery goes on."""
    return _ENDED * (1 + (_REASONS.index(parked.reason) if parked.reason in _REASONS else 0))


def failures_of(claim: Acquired) -> int:
    """The failures that the store has counted, without the mark of an end."""
    return claim.failures % _ENDED


def noted_end(claim: Acquired, attempts: int) -> Parked | None:
    """The end of an event that was parked while its delivery goes on, as the store knows it."""
    if claim.failures < _ENDED:
        return None
    reason = _REASONS[min(claim.failures // _ENDED, len(_REASONS)) - 1]
    return Parked(reason, "another process of the queue has parked it", attempts)


def chosen(events: Sequence[CanonicalEvent], headers: Mapping[str, Any]) -> tuple[CanonicalEvent, ...]:
    """The events to handle: all, or those that failed when the delivery was parked."""
    named = headers.get(EVENTS)
    if not named:
        return tuple(events)
    ids = frozenset(str(named).split(","))
    return tuple(event for event in events if event.id in ids)


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
