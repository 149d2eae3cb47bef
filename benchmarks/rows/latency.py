"""The ingress at a constant rate: its latency at half of its capacity, and the cost of an event at a low rate."""

from collections.abc import Iterator

from benchmarks import closed, filling, peers, preparing, queues, steady
from benchmarks.callbacks import Prepared
from benchmarks.comparing import check_handled
from benchmarks.figures import Comparison, Measured, Row, Target, p99_ms
from benchmarks.load import CONNECTIONS
from benchmarks.run import Run
from hookline.schemas import topics

_LOW_RATE_PER_S = 1_000
_FEW_CONNECTIONS = 10


def at_half_capacity(run: Run) -> Iterator[Row]:
    """The ingress's p99 on RabbitMQ at a constant rate of half its capacity, counted from the schedule."""
    ours = []
    installation = preparing.with_empty_queue(run)
    with installation.ingress() as ingress:
        capacity = closed.measure(run, ingress, run.prepare(installation.sources), closed.kept_by_us)
        rate_per_s = capacity.per_s / 2
        for _ in range(run.extent.rounds):
            prepared = run.prepare(installation.sources, round(rate_per_s * run.extent.seconds))
            measured, _ = steady.measure(run, ingress, prepared, rate_per_s, CONNECTIONS)
            _check_kept(run, prepared)
            ours.append(measured)
    yield Row(
        name=f"ingress, RabbitMQ, at {rate_per_s:,.0f}/s",
        unit="p99 ms",
        figure=p99_ms,
        ours=ours,
        target=Target("<=", 15),
    )


def at_low_rate(run: Run) -> Iterator[Row]:
    """CPU time of an event that is alone in its turn of the event loop, against the bare application."""
    ours: list[Measured] = []
    bare: list[Measured] = []
    installation = preparing.with_empty_queue(run)
    with installation.ingress() as ingress, peers.bare(run) as bare_ingress:
        for _ in range(run.extent.rounds):
            prepared = run.prepare(installation.sources, _LOW_RATE_PER_S * run.extent.seconds)
            ours.append(steady.measure(run, ingress, prepared, _LOW_RATE_PER_S, _FEW_CONNECTIONS)[0])
            _check_kept(run, prepared)
            bare.append(steady.measure(run, bare_ingress, prepared, _LOW_RATE_PER_S, _FEW_CONNECTIONS)[0])
    yield Comparison(f"ingress, RabbitMQ, at {_LOW_RATE_PER_S:,}/s", ours, "bare aiohttp", bare).cpu(Target("<=", 2))


def _check_kept(run: Run, prepared: Prepared) -> None:
    found = queues.emptied(run.servers.amqp_url, topics.queue_name(filling.QUEUE))
    check_handled("hookline ingress at a constant rate", [message.id for message in found], prepared.ids)
