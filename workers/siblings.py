"""Deliveries with several events, as a callback that names several members makes them: each has its own end.

The attempts of such an event are counted by the store alone, because the message has one number for all of them.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from hookline.schemas.broker import Again, Outcome, Parked, Received
from hookline.schemas.dead_letters import EVENTS
from hookline.schemas.events import CanonicalEvent
from hookline.workers.api import Worker
from hookline.workers.attempts import end_mark
from hookline.workers.held_claims import HeldClaims
from hookline.workers.unwanted import UnwantedDeliveries
from hookline.workers.work import DUPLICATE, HANDLED, SUPERSEDED, Case, Ending, Held

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


class Siblings:
    """Ends deliveries with several events: one that fails, or is not wanted, keeps no other from being handled."""

    def __init__(self, worker: Worker[Any], claims: HeldClaims, unwanted: UnwantedDeliveries) -> None:
        self._wants = worker.wants
        self._claims = claims
        self._unwanted = unwanted

    async def end(
        self, cases: Sequence[Case], received: Received, handle: Callable[[Case], Awaitable[Ending]]
    ) -> Ending:
        """Handle the events that are wanted. The claims of those that failed are held until the delivery is settled."""
        async with self._claims.held(received) as held:
            ended = await self._ended(cases, handle, held)
            known = [case for case in cases if case.key in ended]
            endings = [ended[case.key] for case in known]
            left = [case for case in cases if case.key not in ended]
            ending = combined([case.event for case in known], endings, received.attempt, len(left))
            if left and not isinstance(ending.outcome, Again):
                outcome = self._unwanted.outcome(left[0].envelope, received)
                ending = with_unwanted(ending, [case.event for case in left], outcome)
                if isinstance(ending.outcome, Parked):
                    await self._claims.note_end(left, end_mark(ending.outcome), held)
        return replace(ending, held=tuple(held))

    async def _ended(
        self, cases: Sequence[Case], handle: Callable[[Case], Awaitable[Ending]], held: list[Held]
    ) -> Mapping[str, Ending]:
        """What became of the events that are wanted, and of those that have ended in a process that wants them."""
        ended = {}
        for case in cases:
            if self._wants(case.event):
                ending = ended[case.key] = await handle(case)
                held += ending.held
        for case in cases:
            if not self._wants(case.event) and (elsewhere := await self._unwanted.ended_elsewhere(case)) is not None:
                ended[case.key] = elsewhere
        return ended


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
    is_known = all(outcome.is_known for outcome in outcomes)
    return Parked(outcomes[0].reason, detail, attempts, tuple(parked) if is_part else (), is_known)
