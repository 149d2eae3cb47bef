"""Measures the processes of a worker while they drain a queue, and returns what they handled."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import filling, notes
from benchmarks.accounting import Meter, peak_mib, rss_mib
from benchmarks.comparing import check_handled
from benchmarks.figures import Measured
from benchmarks.installation import Installation
from benchmarks.notes import Notes
from benchmarks.processes import Consumer
from benchmarks.run import Run

Start = Callable[[Path], Consumer]

_LONGEST_S = 120.0


def measure(run: Run, start: Start, waiting: int, processes: int = 1) -> tuple[Measured, Notes]:
    """Measure from the moment when every process has started and handled an event to the last event."""
    folder = run.new_folder()
    with ExitStack() as running:
        consumers = [running.enter_context(start(folder)) for _ in range(processes)]
        pids = [consumer.pid for consumer in consumers]
        consumers[0].wait_until(lambda: _all_at_work(folder, consumers), _LONGEST_S)
        meter = Meter({"program": lambda: pids, **run.servers.groups()})
        first, started_s, rss_start_mib = sum(notes.counts(folder)), time.monotonic(), rss_mib(pids)
        consumers[0].wait_until(lambda: sum(notes.counts(folder)) >= waiting, _LONGEST_S)
        measured = Measured(
            events=waiting - first,
            seconds=time.monotonic() - started_s,
            cpu_s=meter.spent_s(),
            rss_start_mib=rss_start_mib,
            rss_end_mib=rss_mib(pids),
            rss_peak_mib=peak_mib(pids),
        )
    run.say(f"  {consumers[0].name}: {measured.per_s:,.0f} events/s, {measured.cpu_us():.0f} µs CPU each")
    return measured, notes.noted(folder)


def measure_filled(run: Run, installation: Installation, module: str) -> Measured:
    """Fill an installation's queue, and measure the worker of this module. Raises InvalidRun as `measure_handled`."""
    envelopes = list(run.callbacks.envelopes(installation.sources, run.extent.events))
    filling.fill(installation.settings, envelopes)
    return measure_handled(run, partial(installation.worker, module), [each.id for each in envelopes])


def measure_handled(run: Run, start: Start, ids: Sequence[str], processes: int = 1) -> Measured:
    """Measure as `measure`. Raises InvalidRun unless each of these events is handled once."""
    measured, noted = measure(run, start, len(ids), processes)
    check_handled("hookline worker", noted.ids, ids)
    return measured


def _all_at_work(folder: Path, consumers: Sequence[Consumer]) -> bool:
    counts = notes.counts(folder)
    return len(counts) == len(consumers) and min(counts) > 0 and all(each.has_started for each in consumers)
