"""What a worker tells of many events at once is counted as if each had been told by itself."""

import random
from bisect import bisect_left
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import accumulate

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hookline.admin.metrics import Metrics
from hookline.schemas.broker import Again, Done, Outcome, Parked, Received
from hookline.schemas.envelope import Envelope
from hookline.schemas.metrics import METRICS
from hookline.workers.work import Work

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENVELOPE = Envelope(
    id="1",
    provider="krtc",
    source="krtc-main",
    event_type="room.created",
    subject="lesson",
    occurred_at=NOW,
    received_at=NOW,
    content_type="application/json",
    body=b"{}",
)
OUTCOMES: tuple[Outcome, ...] = (
    Done("handled"),
    Done("handled"),
    Done("duplicate"),
    Again(1.0, 2, "failed", "KeyError"),
    Again(2.0, 3, "failed", "ValueError"),
    Parked("failed", "", 10),
)
KINDS = {Done: "done", Again: "again", Parked: "parked"}


class PerEvent:
    """Counts event by event, in the plainest way."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.values: dict[str, list[float]] = {}

    def count(self, name: str, **labels: str) -> None:
        self.counts[_sample(f"{name}_total", {"queue": "billing", **labels})] += 1

    def observe(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def samples(self) -> dict[str, float]:
        found = dict[str, float](self.counts)
        for name, values in self.values.items():
            buckets = METRICS[f"hookline_{name}"].buckets
            at = Counter(bisect_left(buckets, value) for value in values)
            bounds = [*map(str, buckets), "+Inf"]
            for bound, count in zip(bounds, accumulate(at[place] for place in range(len(bounds))), strict=True):
                found[_sample(f"{name}_bucket", {"queue": "billing", "le": bound})] = count
            found[_sample(f"{name}_count", {"queue": "billing"})] = len(values)
            found[_sample(f"{name}_sum", {"queue": "billing"})] = sum(values)
        return found


@pytest.mark.parametrize("size", [1, 7, 1500])
def test_a_group_is_counted_as_each_of_its_events(size: int) -> None:
    chance = random.Random(size)  # noqa: S311  # no secret
    metrics, per_event = Metrics(wall_clock=NOW.timestamp), PerEvent()
    last = None
    for _ in range(4):
        received = [Received({}, "", b"", chance.choice((1, 1, 2)), number) for number in range(size)]
        seconds = [chance.expovariate(20) for _ in received]
        settled = [(_work(each, chance), took_s) for each, took_s in zip(received, seconds, strict=True)]
        metrics.fetched("billing", received)
        metrics.called("billing", seconds)
        metrics.settled("billing", settled)
        for each, took_s in settled:
            last = each.received if each.received.attempt == 1 else last
            per_event.count("fetched")
            per_event.observe("handler_seconds", took_s)
            per_event.observe("delivery_seconds", took_s)
            per_event.count("settled", outcome=KINDS[type(each.outcome)], reason=each.outcome.reason)
            if each.envelope is not None and not isinstance(each.outcome, Again):
                per_event.observe("done_after_seconds", max((NOW - each.envelope.received_at).total_seconds(), 0.0))
    expected = per_event.samples()
    found = _samples(metrics)
    assert {name: value for name, value in found.items() if "billing" in name} == pytest.approx(expected)
    assert metrics._last_fetched.get("billing") is last  # only the age of a queue shows it  # noqa: SLF001


def _work(received: Received, chance: random.Random) -> Work:
    age = timedelta(seconds=chance.uniform(-1, 60))  # another machine's clock may be ahead
    envelope = msgspec.structs.replace(ENVELOPE, received_at=NOW - age) if chance.random() < 0.9 else None
    return Work(received, envelope, (), chance.choice(OUTCOMES))


def _samples(metrics: Metrics) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        _sample(sample.name.removeprefix("hookline_"), sample.labels): sample.value
        for family in families
        for sample in family.samples
    }


def _sample(name: str, labels: dict[str, str]) -> str:
    return f"{name}{sorted(labels.items())}"
