"""Deliveries of types that this process does not want: put back for a process that does, and at last parked.

A queue holds such deliveries while two versions of a worker run side by side, after a type was removed, or when two
applications use one queue name.
"""

import logging
from collections import Counter

from hookline.schemas.broker import Again, Outcome, Parked
from hookline.workers.bounded_dict import BoundedDict

log = logging.getLogger("hookline.workers")

UNWANTED_AFTER_S = 600.0
FIRST_DELAY_S = 1.0
MAX_DELAY_S = 10.0
_LOG_EVERY_S = 60.0
_MAX_REMEMBERED = 100_000


class Unwanted:
    """Remembers since when each delivery has been unwanted here. Time is an argument, on the monotonic clock."""

    def __init__(self, queue: str, park_after_s: float) -> None:
        self._queue = queue
        self._park_after_s = park_after_s
        self._since: BoundedDict[str, float] = BoundedDict(_MAX_REMEMBERED)
        self._unlogged: Counter[str] = Counter()
        self._log_after_s = float("-inf")

    def outcome(self, event_id: str, topic: str, attempt: int, now_s: float, chance: float) -> Outcome:
        """Again without using up an attempt, or Parked once the delivery has been unwanted for long enough.

        The delay grows with the time. `chance`, from 0 to 1, spreads it, so that processes do not take turns in step.
        """
        waited_s = now_s - self._remember(event_id, now_s)
        self._log(topic, now_s)
        if waited_s >= self._park_after_s:
            del self._since[event_id]
            return Parked(
                "unwanted", f"no process of the queue has wanted {topic} for {self._park_after_s:g} s", attempt
            )
        longest_s = min(max(FIRST_DELAY_S, waited_s / 2), MAX_DELAY_S)
        return Again(longest_s * (0.5 + chance / 2), attempt, "unwanted")

    def _remember(self, event_id: str, now_s: float) -> float:
        if event_id not in self._since:
            self._since.note(event_id, now_s)
        return self._since[event_id]

    def _log(self, topic: str, now_s: float) -> None:
        self._unlogged[topic] += 1
        if now_s >= self._log_after_s:
            self._log_after_s = now_s + _LOG_EVERY_S
            for each, count in self._unlogged.items():
                log.warning("%s: %d of %s are not wanted here and are put back", self._queue, count, each)
            self._unlogged.clear()
