"""The latency of the ingress at half of its capacity."""

from collections.abc import Iterator

from benchmarks import closed, filling, preparing, queues, steady
from benchmarks.comparing import check_handled
from benchmarks.figures import Row, Target, p99_ms
from benchmarks.load import CONNECTIONS
from benchmarks.run import Run
from hookline.schemas import topics


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
            found = queues.emptied(run.servers.amqp_url, topics.queue_name(filling.QUEUE))
            check_handled("hookline ingress at half load", [message.id for message in found], prepared.ids)
            ours.append(measured)
    yield Row(
        name="ingress, RabbitMQ, at half of its capacity",
        unit="p99 ms",
        figure=p99_ms,
        ours=ours,
        target=Target("<=", 10),
    )
