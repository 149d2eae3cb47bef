"""Deliveries of types that this process does not want: put back for a process that does, and at last parked.

A queue holds such deliveries while two versions of a worker run side by side, after a type was removed, or when two
applications use one queue name.
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from hookline.schemas.broker import Again, Outcome, Parked, Received
from hookline.schemas.dead_letters import REPLAYED_AT
from hookline.schemas.envelope import ID_HEADER, RECEIVED_AT_HEADER, Envelope
from hookline.workers.attempts import copy_number, end_mark, is_surplus, starts_anew
from hookline.workers.bounded_dict import BoundedDict
from hookline.workers.held_claims import HeldClaims
from hookline.workers.store import Acquired, Duplicate, LeasedElsewhere, Store
from hookline.workers.work import DUPLICATE, Case, Ending

log = logging.getLogger("hookline.workers")

UNWANTED = "unwanted"
UNWANTED_AFTER_S = 600.0
FIRST_DELAY_S = 1.0
MAX_DELAY_S = 10.0
_UNDELAYED_PER_S = 50.0
_LOG_EVERY_S = 60.0
_MAX_REMEMBERED = 100_000

DeliveryKey: TypeAlias = tuple[str, ...]


def delivery_key(headers: Mapping[str, Any]) -> DeliveryKey:
    """What tells a delivery from the others of its event: the times at which it was received and replayed."""
    return tuple(str(headers.get(name, "")) for name in (ID_HEADER, RECEIVED_AT_HEADER, REPLAYED_AT))


class Unwanted:
    """Remembers since when each delivery has been unwanted here. Time is an argument, on the monotonic clock.

    Another process may have handled the event meanwhile. A replay or a re-send of it is another delivery.
    """

    def __init__(self, queue: str, park_after_s: float) -> None:
        self._queue = queue
        self._park_after_s = park_after_s
        self._since: BoundedDict[DeliveryKey, float] = BoundedDict(_MAX_REMEMBERED)
        self._next_turn_s = float("-inf")
        self._unlogged: Counter[str] = Counter()
        self._log_after_s = float("-inf")

    def outcome(self, key: DeliveryKey, topic: str, attempt: int, now_s: float, chance: float) -> Outcome:
        """Again without using up an attempt, or Parked once the delivery has been unwanted for long enough.

        `chance`, from 0 to 1, spreads the delay, so that processes do not take turns in step.
        """
        waited_s = now_s - self._remember(key, now_s)
        self._log(topic, now_s)
        if waited_s >= self._park_after_s:
            del self._since[key]
            return Parked(UNWANTED, f"no process of the queue has wanted {topic} for {self._park_after_s:g} s", attempt)
        longest_s = max(FIRST_DELAY_S, min(waited_s / 2, self._turn_after_s(now_s)))
        return Again(longest_s * (0.5 + chance / 2), attempt, UNWANTED)

    def _remember(self, key: DeliveryKey, now_s: float) -> float:
        if key not in self._since:
            self._since.note(key, now_s)
        return self._since[key]

    def _turn_after_s(self, now_s: float) -> float:
        """How long one more may wait, so that a process puts back only so many a second.

        Each return may lead to a process that wants the event. Where few are put back, none waits for long.
        """
        turn_s = max(self._next_turn_s, now_s)
        self._next_turn_s = min(turn_s + 1 / _UNDELAYED_PER_S, now_s + MAX_DELAY_S)
        return turn_s - now_s

    def _log(self, topic: str, now_s: float) -> None:
        self._unlogged[topic] += 1
        if now_s >= self._log_after_s:
            self._log_after_s = now_s + _LOG_EVERY_S
            for each, count in self._unlogged.items():
                log.warning("%s: %d of %s are not wanted here and are put back", self._queue, count, each)
            self._unlogged.clear()


class UnwantedDeliveries:
    """Ends the deliveries of which a worker wants nothing in this process, or not all."""

    def __init__(self, store: Store, queue: str, claims: HeldClaims, park_after_s: float) -> None:
        self._store = store
        self._queue = queue
        self._claims = claims
        self._unwanted = Unwanted(queue, park_after_s)

    def outcome(self, envelope: Envelope, received: Received) -> Outcome:
        """Put a delivery back: another process of the queue may want it. At last it is parked."""
        chance = random.random()  # noqa: S311  # no secret
        key = delivery_key(received.headers)
        return self._unwanted.outcome(key, envelope.topic, received.attempt, time.monotonic(), chance)

    async def end(self, cases: Sequence[Case], envelope: Envelope, received: Received) -> Ending:
        """Put back a delivery of which nothing is wanted here. At last it is parked, but not if it has ended before."""
        outcome = self.outcome(envelope, received)
        if not isinstance(outcome, Parked):
            return Ending(outcome, received.attempt)
        if all([await self.ended_elsewhere(case) for case in cases]):
            return Ending(DUPLICATE, received.attempt)
        async with self._claims.held(received) as held:
            await self._claims.note_end(cases, end_mark(outcome), held)
        return Ending(outcome, received.attempt, held=tuple(held))

    async def ended_elsewhere(self, case: Case) -> Ending | None:
        """What became of an event that is not wanted here, if it has ended in a process that wants it."""
        try:
            claim = await self._store.claim(self._queue, case.key)
        finally:
            await self._claims.release(case)
        number = copy_number(case.received.headers)
        if isinstance(claim, Duplicate) or (isinstance(claim, Acquired) and is_surplus(number, claim.copy)):
            return Ending(DUPLICATE, case.attempt)
        if isinstance(claim, LeasedElsewhere) or starts_anew(number, claim.copy):
            return None
        parked = self._claims.ends.noted(case.key, claim, case.received.attempt)
        return None if parked is None else Ending(parked, case.attempt)
