"""From the HTTP request to the function that handles it, with ingress and worker running at the same time."""

import time
from collections.abc import Iterator, Sequence
from functools import partial

from benchmarks import load, notes, peers, preparing, steady
from benchmarks.accounting import Meter, peak_mib
from benchmarks.callbacks import Prepared
from benchmarks.comparing import check_among, check_handled, check_no_duplicates
from benchmarks.draining import Start
from benchmarks.errors import InvalidRun
from benchmarks.figures import Comparison, Measured, Row, Target, p99_ms, percentile
from benchmarks.installation import Installation
from benchmarks.load import CONNECTIONS
from benchmarks.processes import Consumer, Ingress
from benchmarks.run import Run
from benchmarks.turns import by_turns

_WORKER = "benchmarks.handlers.unordered"
_FIRST = 20
_LOW_PER_S = 500.0
_HANDLED_WITHIN_S = 60.0
_SETTLE_S = 0.5


def against_faststream(run: Run) -> Iterator[Row]:
    """From the request to the end of the function, against FastStream; from answer to function at half that load."""
    installation = preparing.with_empty_queue(run)

    def hookline(prepared: Prepared) -> Measured:
        with installation.worker(_WORKER, run.new_folder()) as worker:
            first = _begin(run, installation, ingress, worker)
            measured = _sustained(run, ingress, worker, prepared)
        noted = notes.noted(worker.notes_folder)
        check_no_duplicates("hookline, whole way", noted.ids)
        check_among("hookline, whole way", noted.ids, [*first, *prepared.ids])
        return measured

    def other(prepared: Prepared) -> Measured:
        with peers.faststream_worker(run, run.new_folder()) as worker:
            _begin(run, installation, faststream_ingress, worker)
            return _sustained(run, faststream_ingress, worker, prepared)

    with installation.ingress() as ingress, peers.faststream_ingress(run) as faststream_ingress:
        ours, faststream = by_turns(run.extent.rounds, lambda: run.prepare(installation.sources), hookline, other)
        latencies = list(_latencies(run, installation, ingress, min(each.per_s for each in ours) / 2))
    yield Comparison("HTTP to handler", ours, "FastStream", faststream).throughput(Target(">=", 3.5))
    yield Row(name="answer to handler", unit="p99 ms", figure=p99_ms, ours=latencies, target=Target("<=", 50))


def at_a_low_rate(run: Run) -> Iterator[Row]:
    """CPU time of a worker on RabbitMQ and SQLite at 500 events/s, against the obvious consumer."""
    installation = preparing.with_empty_queue(run)
    with installation.ingress() as ingress, peers.obvious_ingress(run) as obvious_ingress:
        ours, obvious = by_turns(
            run.extent.rounds,
            lambda: run.prepare(installation.sources, round(_LOW_PER_S * run.extent.seconds)),
            lambda prepared: _at_rate(run, installation, ingress, partial(installation.worker, _WORKER), prepared),
            lambda prepared: _at_rate(run, installation, obvious_ingress, partial(peers.obvious_worker, run), prepared),
        )
    yield Comparison("worker at 500 events/s", ours, "obvious", obvious).cpu()


def _at_rate(run: Run, installation: Installation, ingress: Ingress, start: Start, prepared: Prepared) -> Measured:
    """The CPU time of a consumer while an ingress gets callbacks at a constant rate."""
    with start(run.new_folder()) as worker:
        first = _begin(run, installation, ingress, worker)
        meter = Meter({"program": lambda: [worker.pid], **run.servers.groups()})
        measured, _ = steady.measure(run, ingress, prepared, _LOW_PER_S, CONNECTIONS)
        _await_handled(worker, len(first) + len(prepared.ids))
        cpu_s = meter.spent_s()
    handled = len(notes.noted(worker.notes_folder).times_s)
    if handled != len(first) + len(prepared.ids):
        raise InvalidRun(f"{worker.name}: {len(first) + len(prepared.ids)} events were accepted, {handled} handled")
    measured = Measured(events=measured.events, seconds=measured.seconds, cpu_s=cpu_s)
    run.say(f"  {worker.name}: {measured.cpu_us():.0f} µs CPU each")
    return measured


def _begin(run: Run, installation: Installation, ingress: Ingress, worker: Consumer) -> Sequence[str]:
    """Return the ids of a few events once the ingress has accepted and the worker has handled them."""
    prepared = run.callbacks.prepare(run.folder / "first", installation.sources, _FIRST)
    load.opened(ingress.port, prepared, 1, _FIRST, {})
    _await_handled(worker, _FIRST)
    return prepared.ids


def _sustained(run: Run, ingress: Ingress, worker: Consumer, prepared: Prepared) -> Measured:
    """Events per second from the first request to the last event handled."""
    pids = [ingress.pid, worker.pid]
    before = sum(notes.counts(worker.notes_folder))
    meter = Meter({"program": lambda: pids, **run.servers.groups()})
    started_s = time.monotonic()
    taken = load.closed(ingress.port, prepared, CONNECTIONS, run.extent.seconds)
    ended_s = _await_handled(worker, before + taken.accepted)
    handled = sum(notes.counts(worker.notes_folder)) - before
    if handled > taken.accepted + CONNECTIONS:
        raise InvalidRun(f"{ingress.name}: {taken.accepted} events were accepted, {handled} handled")
    measured = Measured(
        events=handled,
        seconds=ended_s - started_s,
        cpu_s=meter.spent_s(),
        p50_ms=taken.p50_ms,
        p99_ms=taken.p99_ms,
        rss_peak_mib=peak_mib(pids),
    )
    run.say(f"  {ingress.name} and {worker.name}: {measured.per_s:,.0f} events/s, {measured.cpu_us():.0f} µs CPU each")
    return measured


def _latencies(run: Run, installation: Installation, ingress: Ingress, rate_per_s: float) -> Iterator[Measured]:
    """The time from each answer to the start of the function, on one clock."""
    for _ in range(run.extent.rounds):
        with installation.worker(_WORKER, run.new_folder()) as worker:
            first = _begin(run, installation, ingress, worker)
            prepared = run.prepare(installation.sources, round(rate_per_s * run.extent.seconds))
            measured, result = steady.measure(run, ingress, prepared, rate_per_s, CONNECTIONS)
            _await_handled(worker, len(first) + len(prepared.ids))
        noted = notes.noted(worker.notes_folder)
        check_handled("hookline at half load", noted.ids, [*first, *prepared.ids])
        handled_s = dict(zip(noted.ids, noted.times_s, strict=True))
        answered = zip(prepared.ids, result.answered_at_s, strict=True)
        waits_ms = sorted((handled_s[event_id] - at_s) * 1000 for event_id, at_s in answered)
        p50, p99 = percentile(waits_ms, 50), percentile(waits_ms, 99)
        run.say(f"  answer to handler: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        yield Measured(events=measured.events, seconds=measured.seconds, cpu_s=measured.cpu_s, p50_ms=p50, p99_ms=p99)


def _await_handled(worker: Consumer, count: int) -> float:
    """Wait until `count` events are handled, and then until no more come; returns when `count` was reached."""
    worker.wait_until(lambda: sum(notes.counts(worker.notes_folder)) >= count, _HANDLED_WITHIN_S)
    ended_s, before = time.monotonic(), -1
    while before != sum(notes.counts(worker.notes_folder)):
        before = sum(notes.counts(worker.notes_folder))
        time.sleep(_SETTLE_S)
    return ended_s
