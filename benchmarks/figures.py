"""What was measured, and the ratio of two programs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One program in one round. `cpu_s` is by group of processes: `program`, and `rabbitmq` and `load` where known.

    `load_late_p99_ms` is how late the generator was with its own schedule.
    """

    events: int
    seconds: float
    cpu_s: Mapping[str, float]
    p50_ms: float | None = None
    p99_ms: float | None = None
    rss_start_mib: float | None = None
    rss_end_mib: float | None = None
    rss_peak_mib: float | None = None
    max_ms: float | None = None
    load_late_p99_ms: float = 0.0

    @property
    def per_s(self) -> float:
        return self.events / self.seconds

    def cpu_us(self, group: str = "program") -> float:
        """CPU time for each event."""
        return self.cpu_s.get(group, math.nan) / self.events * 1e6


def joined(first: Measured, second: Measured) -> Measured:
    """Two measurements of one program as one. Its latencies are those of the worse one."""
    return Measured(
        events=first.events + second.events,
        seconds=first.seconds + second.seconds,
        cpu_s={group: spent_s + second.cpu_s[group] for group, spent_s in first.cpu_s.items()},
        p50_ms=_greater(first.p50_ms, second.p50_ms),
        p99_ms=_greater(first.p99_ms, second.p99_ms),
        rss_start_mib=first.rss_start_mib,
        rss_end_mib=second.rss_end_mib,
        rss_peak_mib=_greater(first.rss_peak_mib, second.rss_peak_mib),
        max_ms=_greater(first.max_ms, second.max_ms),
        load_late_p99_ms=max(first.load_late_p99_ms, second.load_late_p99_ms),
    )


def _greater(first: float | None, second: float | None) -> float | None:
    return first if second is None else second if first is None else max(first, second)


@dataclass(frozen=True, slots=True)
class Target:
    """The target of the ratio, or of the figure where there is no reference."""

    sign: Literal["<=", ">="]
    value: float

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g}"

    def is_met(self, value: float) -> bool:
        return value <= self.value if self.sign == "<=" else value >= self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table: our figure in each round, and that of a reference measured in turn with it."""

    name: str
    unit: str
    figure: Callable[[Measured], float]
    ours: Sequence[Measured]
    reference_name: str = ""
    reference: Sequence[Measured] = ()
    target: Target | None = None

    @property
    def ratios(self) -> list[float]:
        """Ours to the reference's, in each round."""
        pairs = zip(self.ours, self.reference, strict=False)
        return [self.figure(ours) / self.figure(reference) for ours, reference in pairs]

    @property
    def judged(self) -> Sequence[float]:
        """The values that are compared with the target: one for each round."""
        return self.ratios if self.reference else [self.figure(each) for each in self.ours]

    @property
    def verdict(self) -> str:
        """A target is met if the worst round meets it."""
        if self.target is None:
            return ""
        return "met" if all(map(self.target.is_met, self.judged)) else "MISSED"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rounds of ours and of a reference, measured in turn. Each method makes a row of them."""

    name: str
    ours: Sequence[Measured]
    reference_name: str
    reference: Sequence[Measured]

    def cpu(self, target: Target | None = None) -> Row:
        return self._row("CPU µs/event", cpu_us, target)

    def throughput(self, target: Target | None = None) -> Row:
        return self._row("events/s", per_s, target)

    def p99(self) -> Row:
        return self._row("p99 ms", p99_ms, None)

    def _row(self, unit: str, figure: Callable[[Measured], float], target: Target | None) -> Row:
        return Row(
            name=self.name,
            unit=unit,
            figure=figure,
            ours=self.ours,
            reference_name=self.reference_name,
            reference=self.reference,
            target=target,
        )


def cpu_us(measured: Measured) -> float:
    return measured.cpu_us()


def per_s(measured: Measured) -> float:
    return measured.per_s


def p99_ms(measured: Measured) -> float:
    return math.nan if measured.p99_ms is None else measured.p99_ms


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that is not exceeded by `percent` of the values, which are sorted."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
