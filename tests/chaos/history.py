"""What happened in a run, as far as the checker needs it. All times are monotonic, and comparable across processes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos.events import Key, Sent
from tests.chaos.faults import Fault
from tests.chaos.processes import Life


class Period(NamedTuple):
    began_at: float
    ended_at: float

    @property
    def lasts_s(self) -> float:
        return self.ended_at - self.began_at

    def meets(self, began_at: float, ended_at: float) -> bool:
        return self.began_at <= ended_at and began_at <= self.ended_at


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a worker's function. One that neither ended nor was cancelled died with its process."""

    worker: str
    key: Key
    pid: int
    attempt: int
    began_at: float
    ended_at: float | None = None
    cancelled_at: float | None = None


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A process was frozen or cut off."""

    pid: int
    what: str
    period: Period


@dataclass(frozen=True, slots=True)
class Happened:
    """A fault, and when it happened."""

    fault: Fault
    period: Period


@dataclass(frozen=True)
class History:
    """What the checker judges.

    `left` names the place of every event that was in a queue at the end, by worker. `left_bound` is when the new
    version's events were bound to the queue of the worker that is deployed. `never_ready` names processes that did not
    start. `slowdown` is how many seconds a second of computing took.
    """

    began_at: float
    ended_at: float
    workers: Sequence[str]
    sent: Sequence[Sent]
    calls: Sequence[Call]
    lives: Sequence[Life] = ()
    disturbances: Sequence[Disturbance] = ()
    happened: Sequence[Happened] = ()
    left: Mapping[str, Mapping[Key, str]] = field(default_factory=dict)
    left_bound: Sequence[Period] = ()
    never_ready: Sequence[str] = ()
    slowdown: float = 1.0

    @property
    def last_fault_at(self) -> float:
        return max([self.began_at, *(happened.period.ended_at for happened in self.happened)])

    @property
    def quiet(self) -> list[Period]:
        """When no fault was going on."""
        quiet, since = list[Period](), self.began_at
        for period in sorted(happened.period for happened in self.happened):
            if period.began_at > since:
                quiet.append(Period(since, period.began_at))
            since = max(since, period.ended_at)
        return [*quiet, Period(since, self.ended_at)]
