"""Metrics: what is counted, and what Prometheus reads."""

import re
import timeit
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hookline.admin.metrics import Metrics, as_text, merged
from hookline.schemas.broker import Again, Done, Outcome, Parked, Received
from hookline.schemas.envelope import Envelope, to_headers
from hookline.schemas.metrics import METRICS
from hookline.schemas.observer import NOBODY, Observer
from hookline.workers.work import Work

ALERTS = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"
AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
ENVELOPE = Envelope(
    id="event",
    provider="krtc",
    source="krtc-main",
    event_type="room.created",
    subject="lesson",
    occurred_at=AT - timedelta(seconds=3),
    received_at=AT,
    content_type="application/json",
    body=b"{}",
)
RECEIVED = Received(to_headers(ENVELOPE), "application/json", b"{}", 1, None)
CALLS: Mapping[str, tuple[object, ...]] = {
    "accepted": (ENVELOPE, 0.003, 0.004),
    "checked": ("krtc-main",),
    "refused": ("krtc-main", "bad_signature"),
    "conflicted": ("krtc-main",),
    "fetched": ("billing", [RECEIVED]),
    "called": ("billing", [0.02]),
    "settled": ("billing", [(Work(RECEIVED, ENVELOPE, (), Done("handled")), 0.03)]),
    "stored": ("claim", 0.001),
    "reconnected": ("hookline consumer",),
    "partition_lost": ("billing",),
    "guard_found": ("hookline.billing is missing",),
    "breaker_opened": ("billing",),
    "suspected": ("billing",),
    "bindings_restored": ("billing", 2),
    "unrouted_dropped": (3,),
}
"""A call of every method of an observer."""


def samples(text: bytes) -> dict[str, float]:
    """The samples by `name{label="value"}`."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def told(*names: str) -> dict[str, float]:
    metrics = Metrics()
    for name in names:
        getattr(metrics, name)(*CALLS[name])
    return samples(metrics.text())


def test_the_calls_here_are_all_that_an_observer_has() -> None:
    assert set(CALLS) == {name for name in vars(Observer) if not name.startswith("_")}


def test_what_happens_is_counted_under_its_own_labels() -> None:
    found = told(*CALLS)
    assert found['hookline_received_total{source="krtc-main"}'] == 1
    assert found['hookline_refused_total{reason="bad_signature",source="krtc-main"}'] == 1
    assert found['hookline_id_conflicts_total{source="krtc-main"}'] == 1
    assert found['hookline_published_total{via="broker"}'] == 1
    assert found['hookline_fetched_total{queue="billing"}'] == 1
    assert found['hookline_settled_total{outcome="done",queue="billing",reason="handled"}'] == 1
    assert found['hookline_reconnects_total{connection="hookline consumer"}'] == 1
    assert found['hookline_partitions_lost_total{queue="billing"}'] == 1
    assert found["hookline_guard_faults_total"] == 1
    assert found['hookline_breaker_opened_total{queue="billing"}'] == 1
    assert found['hookline_crash_suspects_total{queue="billing"}'] == 1
    assert found['hookline_bindings_restored_total{queue="billing"}'] == 2


@pytest.mark.parametrize("name", ["partitions_lost", "breaker_opened", "crash_suspects", "bindings_restored"])
def test_what_is_rare_is_counted_from_0_so_that_its_first_time_is_an_increase(name: str) -> None:
    metrics = Metrics()
    metrics.expect((), ["billing"])
    assert samples(metrics.text())[f'hookline_{name}_total{{queue="billing"}}'] == 0


def test_conflicts_of_a_source_are_counted_from_0() -> None:
    metrics = Metrics()
    metrics.expect(["krtc-main"])
    assert samples(metrics.text())['hookline_id_conflicts_total{source="krtc-main"}'] == 0


def test_refusals_that_an_alert_is_about_are_counted_from_0() -> None:
    metrics = Metrics()
    metrics.expect(["krtc-main"])
    found = samples(metrics.text())
    selected = re.findall(r'hookline_refused_total\{reason=~"([^"]+)"', ALERTS.read_text())
    assert len(selected) > 1
    for reason in "|".join(selected).split("|"):
        assert found[f'hookline_refused_total{{reason="{reason}",source="krtc-main"}}'] == 0


@pytest.mark.parametrize(
    ("outcome", "label"),
    [(Again(1, 2, "failed"), "again"), (Parked("failed", "", 1), "parked")],
    ids=["again", "parked"],
)
def test_an_outcome_is_counted_with_its_reason(outcome: Outcome, label: str) -> None:
    metrics = Metrics()
    metrics.settled("billing", [(Work(RECEIVED, None, (), outcome), 0.1)])
    found = samples(metrics.text())
    assert found[f'hookline_settled_total{{outcome="{label}",queue="billing",reason="failed"}}'] == 1


def test_times_are_counted_in_buckets_that_add_up() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.0011, 0.3, 99.0):
        metrics.accepted(ENVELOPE, 0.001, seconds)
    found = samples(metrics.text())
    assert [found[f'hookline_answer_seconds_bucket{{le="{le}"}}'] for le in ("0.001", "0.0025", "0.5", "+Inf")] == [
        1,
        2,
        3,
        4,
    ]
    assert found["hookline_answer_seconds_count"] == 4
    assert found["hookline_answer_seconds_sum"] == pytest.approx(99.3021)


def test_what_went_to_the_spool_is_counted_apart() -> None:
    metrics, spooled = Metrics(), [0]
    metrics.spooled = lambda: spooled[0]
    for _ in range(5):
        metrics.accepted(ENVELOPE, 0.001, 0.001)
    spooled[0] = 2
    assert samples(metrics.text())['hookline_published_total{via="broker"}'] == 3
    spooled[0] = 4  # which were not answered in time
    found = samples(metrics.text())
    assert found['hookline_published_total{via="spool"}'] == 4
    assert found['hookline_published_total{via="broker"}'] == 3


def test_a_process_that_accepts_nothing_shows_no_histograms_of_it() -> None:
    found = told("settled")
    assert not [name for name in found if name.startswith(("hookline_answer_seconds", "hookline_confirm_seconds"))]


def test_the_delay_of_a_provider_is_the_time_from_the_event_to_its_receipt() -> None:
    found = told("accepted")
    assert found['hookline_provider_delay_seconds_sum{source="krtc-main"}'] == 3


def test_a_callback_without_a_time_of_the_provider_has_no_delay() -> None:
    metrics = Metrics()
    metrics.accepted(msgspec.structs.replace(ENVELOPE, occurred_at=ENVELOPE.received_at), 0.001, 0.001)
    assert not [name for name in samples(metrics.text()) if "provider_delay" in name]


def test_a_source_from_which_nothing_has_come_is_silent_since_the_start() -> None:
    now_s = [100.0]
    metrics = Metrics(clock=lambda: now_s[0])
    metrics.expect(["krtc-main", "meetings"])
    now_s[0] = 160.0
    metrics.accepted(ENVELOPE, 0.001, 0.001)
    now_s[0] = 165.0
    found = samples(metrics.text())
    assert found['hookline_last_received_seconds{source="krtc-main"}'] == 5
    assert found['hookline_last_received_seconds{source="meetings"}'] == 65
    assert found['hookline_received_total{source="meetings"}'] == 0


def test_a_source_is_silent_from_when_the_settings_name_it_until_they_do_not() -> None:
    now_s = [100.0]
    metrics = Metrics(clock=lambda: now_s[0])
    metrics.expect(["krtc-main", "meetings"])
    now_s[0] = 160.0
    metrics.expect(["meetings", "calls"])
    now_s[0] = 165.0
    found = samples(metrics.text())
    silent = {name: value for name, value in found.items() if name.startswith("hookline_last_received")}
    named = 'hookline_last_received_seconds{{source="{}"}}'.format
    assert silent == {named("meetings"): 65, named("calls"): 5}
    assert found['hookline_id_conflicts_total{source="calls"}'] == 0


def test_the_metrics_of_several_processes_are_one_text() -> None:
    texts = []
    for process in (1, 2):
        metrics = Metrics(process)
        metrics.accepted(ENVELOPE, 0.001, 0.001)
        texts.append(metrics.text())
    text = merged(texts)
    found = samples(text)
    assert found['hookline_published_total{process="1",via="broker"}'] == 1
    assert found['hookline_published_total{process="2",via="broker"}'] == 1
    assert text.count(b"# TYPE hookline_published_total counter") == 1
    assert merged([text]) == text


def test_every_metric_that_is_declared_can_be_written() -> None:
    metrics = Metrics()
    for name in CALLS:
        getattr(metrics, name)(*CALLS[name])
    for metric in METRICS.values():
        if metric.kind == "gauge" or metric.name not in metrics.text().decode():
            metrics.gauge(metric.name.removeprefix("hookline_"), dict)
    written = {family.name for family in text_string_to_metric_families(as_text(metrics.collect()).decode())}
    counted = {name.removesuffix("_total") for name, metric in METRICS.items() if metric.kind != "gauge"}
    assert counted - written <= {"hookline_spool_set_aside", "hookline_log_dropped"}


def test_a_name_that_is_not_declared_is_refused() -> None:
    with pytest.raises(KeyError):
        Metrics().gauge("nothing", dict)


def test_a_hundred_thousand_refusals_make_as_many_series_as_one() -> None:
    metrics = Metrics()
    for number in range(100_000):
        metrics.refused("-", "unknown_source")
        if number < 100:
            metrics.accepted(msgspec.structs.replace(ENVELOPE, id=str(number), subject=str(number)), 0.001, 0.001)
    assert len(samples(metrics.text())) < 100


def test_an_observer_that_nobody_has_costs_little() -> None:
    """Under a microsecond on an idle machine; the limit leaves room for a busy one."""
    calls = 20_000
    best_s = min(timeit.repeat(lambda: NOBODY.accepted(ENVELOPE, 0.001, 0.001), number=calls, repeat=5)) / calls
    nothing_s = min(timeit.repeat(lambda: None, number=calls, repeat=5)) / calls
    assert best_s - nothing_s < 20 * nothing_s + 1e-6
