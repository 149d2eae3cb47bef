"""Measures an ingress at a constant rate (an open loop)."""

from benchmarks.callbacks import Prepared
from benchmarks.figures import Measured
from benchmarks.load import opened
from benchmarks.load_open import Result
from benchmarks.processes import Ingress
from benchmarks.run import Run


def measure(
    run: Run, ingress: Ingress, prepared: Prepared, rate_per_s: float, connections: int
) -> tuple[Measured, Result]:
    """One round. Raises InvalidRun if a request was not accepted."""
    rss_start_mib = ingress.rss_mib()
    groups = {"program": ingress.pids, **run.servers.groups()}
    result, cpu_s = opened(ingress.port, prepared, connections, rate_per_s, groups)
    measured = Measured(
        events=len(prepared.ids),
        seconds=len(prepared.ids) / rate_per_s,
        cpu_s=cpu_s,
        p50_ms=result.latency_ms(50),
        p99_ms=result.latency_ms(99),
        rss_start_mib=rss_start_mib,
        rss_end_mib=ingress.rss_mib(),
        rss_peak_mib=ingress.peak_mib(),
        max_ms=max(result.latencies_ms),
        load_late_p99_ms=result.late_p99_ms,
    )
    text = f"{measured.cpu_us():.0f} µs CPU each, p50 {measured.p50_ms:.1f} ms, p99 {measured.p99_ms:.1f} ms"
    run.say(f"  {ingress.name}: at {rate_per_s:,.0f} events/s {text}")
    return measured, result
