"""Why an event may be handled again although its function was called before: its process died, froze or was cut off."""

from tests.chaos.faults import LEASE_S, RABBITMQ, STORE
from tests.chaos.history import Call, Disturbance, History

_SETTLED_S = 5.0
"""A call that ended is settled within this time, unless store, broker or path are away."""
_MARGIN_S = 2.0
_LONG_S = LEASE_S - 3.0
"""The lease of a process counts from its last heartbeat, which is up to three seconds before a disturbance."""


class Explanations:
    def __init__(self, history: History) -> None:
        self._began_at = history.began_at
        self._ended_at = history.ended_at
        self._names = {life.pid: life.name for life in history.lives}
        self._deaths = {
            life.pid: life.ended_at for life in history.lives if life.how != "stopped" and life.ended_at is not None
        }
        self._ends = {life.pid: life.ended_at for life in history.lives if life.ended_at is not None}
        self._disturbances = history.disturbances
        self._outages = sorted(
            happened.period for happened in history.happened if happened.fault.target in (RABBITMQ, STORE)
        )

    def of_repeat(self, before: Call, call: Call) -> str | None:
        """Why the event of a call was called again; None if it should not have been."""
        unsettled_until = self._unsettled_until(before)
        died_at = self._deaths.get(before.pid)
        if died_at is not None and before.began_at <= died_at <= min(unsettled_until, call.began_at):
            return "died"
        if self._stopped_during_outage(before.pid, min(unsettled_until, call.began_at)):
            return "stopped in an outage"
        for disturbance in self._disturbances:
            if disturbance.pid == before.pid and self._excuses(disturbance, before, call, unsettled_until):
                return disturbance.what
        return None

    def of_overlap(self, before: Call, call: Call) -> bool:
        """Whether two calls of a room may run at a time: one of their processes was away for longer than a lease."""
        return any(
            _is_long(disturbance)
            and disturbance.pid in (before.pid, call.pid)
            and disturbance.period.meets(before.began_at - LEASE_S, call.began_at + _MARGIN_S)
            for disturbance in self._disturbances
        )

    def end_of(self, call: Call) -> float:
        """When a call was over: by itself, or with its process."""
        ended_at = call.ended_at if call.ended_at is not None else call.cancelled_at
        return self._ends.get(call.pid, self._ended_at) if ended_at is None else ended_at

    def since(self, at: float) -> str:
        return f"{at - self._began_at:.2f} s"

    def name_of(self, pid: int) -> str:
        return self._names.get(pid, "?")

    def _excuses(self, disturbance: Disturbance, before: Call, call: Call, unsettled_until: float) -> bool:
        """A long one excuses what was not settled; a short freeze, only a call whose time-out ended during it."""
        if _is_long(disturbance):
            period = disturbance.period
            return period.began_at <= unsettled_until and period.meets(before.began_at - _LONG_S, call.began_at)
        return (
            disturbance.what == "frozen"
            and before.cancelled_at is not None
            and disturbance.period.meets(before.began_at, before.cancelled_at)
        )

    def _stopped_during_outage(self, pid: int, by: float) -> bool:
        """Whether a process ended in order, but at a time when it could not settle anything."""
        stopped_at = self._ends.get(pid)
        if stopped_at is None or stopped_at > by:
            return False
        cuts = (disturbance.period for disturbance in self._disturbances if disturbance.pid == pid)
        return any(period.meets(stopped_at, stopped_at) for period in (*self._outages, *cuts))

    def _unsettled_until(self, call: Call) -> float:
        """How long the end of a call may have been unknown to the store: outages and cuts put it off."""
        until = self.end_of(call) + _SETTLED_S
        cuts = (disturbance.period for disturbance in self._disturbances if disturbance.pid == call.pid)
        for period in sorted([*self._outages, *cuts]):
            if period.meets(self.end_of(call), until):
                until = max(until, period.ended_at + LEASE_S + _SETTLED_S)
        return until


def _is_long(disturbance: Disturbance) -> bool:
    """Whether others may have taken over what the process had. Without RabbitMQ alone nobody takes its claims."""
    return disturbance.what in ("frozen", "cut off") and disturbance.period.lasts_s >= _LONG_S
