"""Counts what happens, and writes it in Prometheus' text format.

Counting adds to plain numbers, which costs less than prometheus-client's own counters with their locks: all of it
happens on the event loop. The library is loaded at the first scrape, and writes the format.
"""

import platform
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

from hookline.schemas.broker import Again, Done, Outcome, Parked, Received
from hookline.schemas.envelope import RECEIVED_AT_HEADER, Envelope
from hookline.schemas.metrics import METRICS, PREFIX, Metric
from hookline.schemas.observer import Observer, Settled

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

Labels: TypeAlias = tuple[str, ...]
Values: TypeAlias = Mapping[Any, float]
"""By a tuple of all labels, or by the only one as it is."""
Read: TypeAlias = Callable[[], Values]
"""The values of a gauge now, by their labels."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NO_LABELS: Labels = ()
_FOLDED_AT_ONCE = 1000
_ALARMING = (
    "bad_signature",
    "missing_signature",
    "stale_timestamp",
    "refused_address",
    "too_many_requests",
    "not_durable",
    "overloaded",
)
_RARE = ("partitions_lost_total", "breaker_opened_total", "crash_suspects_total", "bindings_restored_total")


class Histogram:
    """Counts values by buckets, for each value of its label; for "" if it has none.

    `new` takes values as they come, since appending is all that an event can afford. They are counted many at a time.
    """

    def __init__(self, buckets: Sequence[float]) -> None:
        self.new: defaultdict[str, list[float]] = defaultdict(list)
        self._buckets = buckets
        self._up_to: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(buckets) + 1))
        self._sums: defaultdict[str, float] = defaultdict(float)

    def observe(self, label: str, value: float) -> None:
        new = self.new[label]
        new.append(value)
        if len(new) >= _FOLDED_AT_ONCE:
            self._fold(label)

    def observe_all(self, label: str, values: Iterable[float]) -> None:
        new = self.new[label]
        new += values
        if len(new) >= _FOLDED_AT_ONCE:
            self._fold(label)

    def observe_equal(self, label: str, value: float, count: int) -> None:
        """Count a value so many times at once."""
        up_to = self._up_to[label]
        for number in range(bisect_left(self._buckets, value), len(up_to)):
            up_to[number] += count
        self._sums[label] += value * count

    def _fold(self, label: str) -> None:
        values = sorted(self.new[label])
        self.new[label].clear()
        up_to = self._up_to[label]
        for number, bucket in enumerate(self._buckets):
            up_to[number] += bisect_right(values, bucket)
        up_to[-1] += len(values)
        self._sums[label] += sum(values)

    def values(self) -> Iterator[tuple[str, list[tuple[str, float]], float]]:
        """For each label: how many values were at most as large as each bucket, and the sum of all."""
        for label in list(self.new):
            self._fold(label)
        names = [*map(str, self._buckets), "+Inf"]
        for label, up_to in self._up_to.items():
            yield label, list(zip(names, map(float, up_to), strict=True)), self._sums[label]


class Metrics(Observer):
    """The metrics of one process. `process` is its number among several that share a port."""

    def __init__(
        self,
        process: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._started_s = clock()
        self._process = process
        counters = [name for name, metric in METRICS.items() if metric.kind == "counter"]
        self._counts = {name: defaultdict[Labels | str, float](float) for name in counters}
        self._histograms = {name: Histogram(each.buckets) for name, each in METRICS.items() if each.buckets}
        self._gauges: dict[str, Read] = {}
        self._last: dict[str, float] = {}
        self._last_fetched: dict[str, Received] = {}
        self._accepted: list[tuple[str, float, float, datetime, datetime]] = []
        self._published = 0
        self._to_broker = 0
        build = (version("hookline"), platform.python_version())
        self.gauge("build_info", lambda: {build: 1})
        self.gauge("last_received_seconds", self._silence)
        self.spooled: Callable[[], int] = lambda: 0
        self.gauge("published_total", self._published_via)
        self._bind()
        self.unrouted_dropped(0)

    def _bind(self) -> None:
        """Look up by name once, not for each event."""
        count, histogram = self._counts, self._histograms
        self._received = count[f"{PREFIX}received_total"]
        self._fetched = count[f"{PREFIX}fetched_total"]
        self._settled = count[f"{PREFIX}settled_total"]
        self._delay_s = histogram[f"{PREFIX}provider_delay_seconds"]
        self._answer_s = histogram[f"{PREFIX}answer_seconds"]
        self._confirm_s = histogram[f"{PREFIX}confirm_seconds"]
        self._handler_s = histogram[f"{PREFIX}handler_seconds"]
        self._delivery_s = histogram[f"{PREFIX}delivery_seconds"]
        self._done_after_s = histogram[f"{PREFIX}done_after_seconds"]
        self._store_s = histogram[f"{PREFIX}store_seconds"]

    def gauge(self, name: str, read: Read) -> None:
        """Read a gauge, or a counter that another part keeps, at each scrape. `name` is without the prefix."""
        self._gauges[METRICS[f"{PREFIX}{name}"].name] = read

    def expect(self, sources: Iterable[str], queues: Iterable[str] = ()) -> None:
        """Show these queues from the start, and these sources from now on.

        A source from which nothing has ever come is silent, too, and one that was removed is not. A counter that
        begins with 1 has no increase for Prometheus, so that its alert would miss the first time.
        """
        for queue in queues:
            for name in _RARE:
                self._count(name, (queue,), 0)
        now_s = self._clock() if self._last else self._started_s
        self._last = {source: self._last.get(source, now_s) for source in sources}
        for source in self._last:
            self._received[source] += 0
            self._count("id_conflicts_total", (source,), 0)
            for reason in _ALARMING:
                self._count("refused_total", (source, reason), 0)

    def last_fetched(self, queue: str) -> datetime | None:
        """When the message was received that was last taken from a queue."""
        received = self._last_fetched.get(queue)
        if received is None:
            return None
        try:
            return datetime.fromisoformat(str(received.headers.get(RECEIVED_AT_HEADER)))
        except ValueError:
            return None

    def accepted(self, envelope: Envelope, durable_s: float, answer_s: float) -> None:
        source = envelope.source
        self._last[source] = self._clock()
        self._accepted.append((source, durable_s, answer_s, envelope.received_at, envelope.occurred_at))
        if len(self._accepted) >= _FOLDED_AT_ONCE:
            self._count_accepted()

    def _count_accepted(self) -> None:
        """Count what was accepted since the last time. A process that accepts nothing shows no histograms of it."""
        accepted, self._accepted = self._accepted, []
        if not accepted:
            return
        self._published += len(accepted)
        self._confirm_s.observe_all("", [durable_s for _, durable_s, _, _, _ in accepted])
        self._answer_s.observe_all("", [answer_s for _, _, answer_s, _, _ in accepted])
        for source, _, _, received_at, occurred_at in accepted:
            self._received[source] += 1
            if occurred_at is not received_at:
                self._delay_s.observe(source, max((received_at - occurred_at).total_seconds(), 0.0))

    def refused(self, source: str, reason: str) -> None:
        self._count("refused_total", (source, reason))

    def conflicted(self, source: str) -> None:
        self._count("id_conflicts_total", (source,))

    def fetched(self, queue: str, received: Sequence[Received]) -> None:
        self._fetched[queue] += len(received)
        for each in reversed(received):
            if each.attempt == 1:  # one that is tried again says nothing of those behind it
                self._last_fetched[queue] = each
                break

    def called(self, queue: str, seconds: Sequence[float]) -> None:
        self._handler_s.observe_all(queue, seconds)

    def settled(self, queue: str, settled: Sequence[tuple[Settled, float]]) -> None:
        now_s = self._wall_clock()
        for outcome, same in groupby([delivery.outcome for delivery, _ in settled]):  # nearly all are the same
            self._settled[queue, _OUTCOMES[type(outcome)], outcome.reason] += len(list(same))
        self._delivery_s.observe_all(queue, [seconds for _, seconds in settled])
        ages_s = [
            now_s - delivery.envelope.received_at.timestamp()
            for delivery, _ in settled
            if delivery.envelope is not None and type(delivery.outcome) is not Again
        ]
        if ages_s:
            self._done_after_s.observe_all(queue, ages_s if min(ages_s) >= 0 else [max(each, 0.0) for each in ages_s])

    def stored(self, operation: str, seconds: float, events: int = 1) -> None:
        self._store_s.observe_equal(operation, seconds, events)

    def reconnected(self, connection: str) -> None:
        self._count("reconnects_total", (connection,))

    def partition_lost(self, queue: str) -> None:
        self._count("partitions_lost_total", (queue,))

    def guard_found(self, fault: str | None) -> None:
        self._count("guard_faults_total", _NO_LABELS, int(fault is not None))

    def suspected(self, queue: str) -> None:
        self._count("crash_suspects_total", (queue,))

    def bindings_restored(self, queue: str, count: int) -> None:
        self._count("bindings_restored_total", (queue,), count)

    def unrouted_dropped(self, count: int) -> None:
        self._count("unrouted_dropped_total", _NO_LABELS, count)

    def breaker_opened(self, queue: str) -> None:
        self._count("breaker_opened_total", (queue,))

    def _count(self, name: str, labels: Labels, count: float = 1) -> None:
        self._counts[f"{PREFIX}{name}"][labels] += count

    def _published_via(self) -> Values:
        """The spool counts what it has taken. Some of that was not answered in time, so the rest never decreases."""
        spooled = self.spooled()
        self._to_broker = max(self._to_broker, self._published - spooled)
        return {("broker",): self._to_broker, ("spool",): spooled}

    def _silence(self) -> Values:
        now_s = self._clock()
        return {(source,): now_s - last_s for source, last_s in self._last.items()}

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return as_text(self._families())

    def collect(self) -> Iterator["Family"]:
        """Everything, in prometheus-client's form."""
        yield from self._families()

    def _families(self) -> Iterator["Family"]:
        from prometheus_client import ProcessCollector  # noqa: PLC0415  loaded at the first scrape

        self._count_accepted()
        families = [*map(self._family, METRICS.values()), *ProcessCollector(registry=None).collect()]
        for family in families:
            if self._process is not None:
                labels = {"process": str(self._process)}
                family.samples = [sample._replace(labels=labels | sample.labels) for sample in family.samples]
            if family.samples:
                yield family

    def _family(self, metric: Metric) -> "Family":
        from prometheus_client import core  # noqa: PLC0415  see above

        if metric.kind == "histogram":
            histogram = core.HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
            for label, buckets, total in self._histograms[metric.name].values():
                histogram.add_metric([label] if metric.labels else _NO_LABELS, buckets, total)
            return histogram
        kind = core.GaugeMetricFamily if metric.kind == "gauge" else core.CounterMetricFamily
        family = kind(metric.name, metric.meaning, labels=metric.labels)
        read = self._gauges.get(metric.name)
        values = self._counts.get(metric.name, {}) if read is None else read()
        if metric.kind == "counter" and not metric.labels:  # it is there from the start
            values = {_NO_LABELS: 0, **values}
        for labels, value in list(values.items()):
            family.add_metric([labels] if isinstance(labels, str) else labels, value)
        return family


_OUTCOMES: Mapping[type[Outcome], str] = {Done: "done", Again: "again", Parked: "parked"}


class _Collected:
    """What prometheus-client writes in its text format."""

    def __init__(self, families: Iterable["Family"]) -> None:
        self._families = families

    def collect(self) -> Iterable["Family"]:
        return self._families


def as_text(families: Iterable["Family"]) -> bytes:
    """Families in Prometheus' text format."""
    from prometheus_client import generate_latest  # noqa: PLC0415  see above

    return generate_latest(_Collected(families))


def merged(texts: Iterable[bytes]) -> bytes:
    """The metrics of several processes as one text. Their samples differ in the label `process`."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415  see above

    families: dict[str, Family] = {}
    for text in texts:
        for family in text_string_to_metric_families(text.decode()):
            families.setdefault(family.name, family)
            if families[family.name] is not family:
                families[family.name].samples += family.samples
    return as_text(families.values())
