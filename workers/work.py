"""A delivery on its way through a worker: what is handled, and what became of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hookline.schemas.broker import Done, Outcome, Received
from hookline.schemas.dead_letters import AGAIN
from hookline.schemas.envelope import Envelope
from hookline.schemas.events import CanonicalEvent

HANDLED, DUPLICATE, SUPERSEDED = Done("handled"), Done("duplicate"), Done("superseded")
_STRONGEST_FIRST = (HANDLED, SUPERSEDED, DUPLICATE)


class Case(msgspec.Struct, frozen=True):
    """One event of a delivery. `key` is its name in the store.

    `attempt` counts the store's attempts as well as the message's. `last`: if the function fails, the event is parked,
    however many attempts are left. `subject` and `occurred_s` are set for a worker that asks which events are late.
    """

    event: CanonicalEvent
    key: str
    subject: str | None
    occurred_s: float
    envelope: Envelope
    received: Received
    attempt: int
    last: bool


class Ending(msgspec.Struct, frozen=True, gc=False):
    """What became of one event of a delivery."""

    outcome: Outcome
    attempt: int
    late: bool = False


class Work(msgspec.Struct, frozen=True):
    """What became of one delivery. `envelope` is None for a message that Hookline did not seal."""

    received: Received
    envelope: Envelope | None
    events: tuple[CanonicalEvent, ...]
    outcome: Outcome
    late: bool = False


def event_key(event_id: str, headers: Mapping[str, Any]) -> str:
    """The name of an event in the store: its id, and the name of the replay that wants it handled again, if any."""
    again = headers.get(AGAIN)
    return event_id if again is None else f"{event_id}@{again}"


def finished(
    received: Received, envelope: Envelope, events: tuple[CanonicalEvent, ...], endings: Sequence[Ending]
) -> Work:
    """What became of a delivery, from what became of its events: the one that is not done, or else the strongest.

    Its attempt is the highest of all events.
    """
    ending = endings[0] if len(endings) == 1 else _combined(endings, received.attempt)
    if ending.attempt != received.attempt:
        received = msgspec.structs.replace(received, attempt=ending.attempt)
    return Work(received, envelope, events, ending.outcome, ending.late)


def _combined(endings: Sequence[Ending], attempt: int) -> Ending:
    if not endings:
        return Ending(HANDLED, attempt)
    if not isinstance(endings[-1].outcome, Done):
        return endings[-1]
    outcomes = [ending.outcome for ending in endings]
    strongest = next(outcome for outcome in _STRONGEST_FIRST if outcome in outcomes)
    return Ending(strongest, max(ending.attempt for ending in endings), any(ending.late for ending in endings))
