"""From the HTTP request to the function that handled it, door and worker working at the same time."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import filling, load, notes, peers, queues, steady
from benchmarks.accounting import Meter, peak_mib
from benchmarks.callbacks import Prepared
from benchmarks.comparing import check_among, check_handled, check_none_doubled
from benchmarks.faults import Worthless
from benchmarks.figures import Measured, Row, Target, p99_ms, per_s, percentile
from benchmarks.installation import Installation
from benchmarks.load import CONNECTIONS
from benchmarks.notes import Notes
from benchmarks.processes import Consumer, Door
from benchmarks.run import Run

_WORKER = "benchmarks.handlers.unordered"
_HANDLED_WITHIN_S = 60.0
_SETTLE_S = 0.5


def against_faststream(run: Run) -> Iterator[Row]:
    """HTTP to handler done, against FastStream; then from answer to handler under half that load."""
    installation = run.installation()
    queues.clear(run.servers.amqp_url)
    filling.make_queue(installation.settings)
    ours, faststream = [], []
    with installation.door() as door, peers.faststream_ingress(run) as faststream_door:
        for _ in range(run.extent.rounds):
            prepared = run.prepare(installation.sources)
            worker = partial(installation.worker, _WORKER)
            measured, noted = _sustained(run, door, worker, prepared)
            check_none_doubled("hookline, whole way", noted.ids)
            check_among("hookline, whole way", noted.ids, prepared.ids)
            ours.append(measured)
            faststream_worker = partial(peers.faststream_worker, run)
            measured, _ = _sustained(run, faststream_door, faststream_worker, prepared)
            faststream.append(measured)
        latencies = list(_latencies(run, installation, door, min(each.per_s for each in ours) / 2))
    name = "HTTP to handler"
    yield Row(
        name=name,
        unit="events/s",
        figure=per_s,
        ours=ours,
        reference_name="FastStream",
        reference=faststream,
        target=Target(">=", 3),
    )
    yield Row(name="answer to handler", unit="p99 ms", figure=p99_ms, ours=latencies, target=Target("<=", 50))


def _sustained(run: Run, door: Door, worker: Callable[[Path], Consumer], prepared: Prepared) -> tuple[Measured, Notes]:
    """Events per second from the first request to the last event handled."""
    folder = run.new_folder()
    with worker(folder) as consumer:
        _await_start(consumer, folder)
        pids = [door.pid, consumer.pid]
        meter = Meter({"program": lambda: pids, **run.servers.groups()})
        started_s = time.time()
        taken = load.closed(door.port, prepared, CONNECTIONS, run.extent.seconds)
        _await_handled(consumer, folder, taken.accepted)
        cpu_s = meter.spent_s()
        rss_peak_mib = peak_mib(pids)
    noted = notes.noted(folder)
    if not taken.accepted <= len(noted.times_s) <= taken.accepted + CONNECTIONS:
        raise Worthless(f"{door.name}: {taken.accepted} events were accepted, {len(noted.times_s)} handled")
    measured = Measured(
        events=len(noted.times_s),
        seconds=max(noted.times_s) - started_s,
        cpu_s=cpu_s,
        p50_ms=taken.p50_ms,
        p99_ms=taken.p99_ms,
        rss_peak_mib=rss_peak_mib,
    )
    run.say(f"  {door.name} and {consumer.name}: {measured.per_s:,.0f} events/s, {measured.cpu_us():.0f} µs CPU each")
    return measured, noted


def _latencies(run: Run, installation: Installation, door: Door, rate_per_s: float) -> Iterator[Measured]:
    """From each answer to the start of the function, on one clock."""
    for _ in range(run.extent.rounds):
        folder = run.new_folder()
        prepared = run.prepare(installation.sources, round(rate_per_s * run.extent.seconds))
        with installation.worker(_WORKER, folder) as consumer:
            _await_start(consumer, folder)
            measured, result = steady.measure(run, door, prepared, rate_per_s, CONNECTIONS)
            _await_handled(consumer, folder, len(prepared.ids))
        noted = notes.noted(folder)
        check_handled("hookline at half load", noted.ids, prepared.ids)
        answered_s = dict(zip(prepared.ids, result.answered_at_s, strict=True))
        handled = zip(noted.ids, noted.times_s, strict=True)
        waits_ms = sorted((at_s - answered_s[event_id]) * 1000 for event_id, at_s in handled)
        p50, p99 = percentile(waits_ms, 50), percentile(waits_ms, 99)
        run.say(f"  answer to handler: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        yield Measured(events=measured.events, seconds=measured.seconds, cpu_s=measured.cpu_s, p50_ms=p50, p99_ms=p99)


def _await_start(consumer: Consumer, folder: Path) -> None:
    consumer.wait_until(lambda: notes.counts(folder) != [], _HANDLED_WITHIN_S)


def _await_handled(consumer: Consumer, folder: Path, count: int) -> None:
    """Until so many are handled, and no more come: requests that were on their way may have become events too."""
    consumer.wait_until(lambda: sum(notes.counts(folder)) >= count, _HANDLED_WITHIN_S)
    before = -1
    while before != sum(notes.counts(folder)):
        before = sum(notes.counts(folder))
        time.sleep(_SETTLE_S)
