"""How long a process takes to start, and its memory then."""

from collections.abc import Callable, Iterator

from benchmarks.figures import Measured, Row, Target
from benchmarks.installation import Installation
from benchmarks.run import Run

_HALF_A_SECOND = Target("<=", 0.5)


def start_up(run: Run) -> Iterator[Row]:
    """From the start of the process, with a source of each provider, to the first 200 of /readyz; the memory then."""
    for name, make in (("RabbitMQ", run.installation), ("embedded", run.embedded)):
        started = [_started(make) for _ in range(run.extent.rounds + 1)][1:]  # the first creates queues and files
        yield Row(name=f"ingress, {name}, start-up", unit="s", figure=_seconds, ours=started, target=_HALF_A_SECOND)
        yield Row(name=f"ingress, {name}, resident at start", unit="MiB", figure=_resident, ours=started)


def _started(make: Callable[[], Installation]) -> Measured:
    with make().ingress() as ingress:
        return Measured(events=1, seconds=ingress.start_s, cpu_s={}, rss_start_mib=ingress.rss_mib())


def _seconds(measured: Measured) -> float:
    return measured.seconds


def _resident(measured: Measured) -> float:
    return measured.rss_start_mib or 0.0
