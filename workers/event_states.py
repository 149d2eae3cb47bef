"""What each queue has done with one event, as the store knows it. Reads only; workers do not use it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from hookline.workers.attempts import has_ended, used_attempts


class EventState(msgspec.Struct, frozen=True, kw_only=True):
    """What a queue has done with an event.

    `finished`: its function has returned, or the event was superseded; `finished_at` is None where the store keeps no
    time. `claimed`: a process has it, or died with it. `tried`: `failures` attempts went wrong, or it was in flight at
    `deaths` deaths of a process, and no process has it now. `parked`: it is a dead letter, or was one until it was
    dropped; a replay has a record of its own. `unknown`: the store has no record, or no longer.
    """

    queue: str
    state: Literal["finished", "claimed", "tried", "parked", "unknown"]
    finished_at: datetime | None = None
    failures: int = 0
    deaths: int = 0


class EventStates(Protocol):
    """Looks up one event."""

    async def of(self, event_id: str, queues: Sequence[str]) -> Sequence[EventState]:
        """What these queues have done with an event. The cost is that of a look-up for each. Raises Unreachable."""


def claimed_or_tried(queue: str, owner: str | None, failures: int, deaths: int) -> EventState:
    """The state of an event that is not finished, and of which the store has a claim."""
    state: Literal["claimed", "parked", "tried"] = "parked" if has_ended(failures) else "tried"
    return EventState(queue=queue, state="claimed" if owner else state, failures=used_attempts(failures), deaths=deaths)
