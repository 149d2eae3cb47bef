"""The latency of the ingress at half of its capacity, and that of others at the same rate."""

from collections.abc import Iterator

from benchmarks import closed, filling, peers, preparing, queues, steady
from benchmarks.callbacks import Prepared
from benchmarks.comparing import check_handled, check_kept
from benchmarks.figures import Comparison, Measured, Row, Target, p99_ms
from benchmarks.load import CONNECTIONS
from benchmarks.processes import Ingress
from benchmarks.run import Run
from benchmarks.turns import by_turns
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
            ours.append(_ours(run, ingress, prepared, rate_per_s))
    yield Row(
        name="ingress, RabbitMQ, at half of its capacity",
        unit="p99 ms",
        figure=p99_ms,
        ours=ours,
        target=Target("<=", 10),
    )


def beside_go(run: Run) -> Iterator[Row]:
    """The p99 of one provider at half of the ingress's capacity, beside Go and the bare application at that rate."""
    installation = preparing.with_empty_queue(run)
    source = preparing.signed_for_go(installation)
    sources = {source.name: source}
    with (
        installation.ingress() as ingress,
        peers.go_ingress(run, source.keys[0].decode()) as go_ingress,
        peers.bare(run) as bare_ingress,
    ):
        rate_per_s = closed.measure(run, ingress, run.prepare(sources), closed.kept_by_us).per_s / 2
        ours, go, bare = by_turns(
            run.extent.rounds,
            lambda: run.prepare(sources, round(rate_per_s * run.extent.seconds)),
            lambda prepared: _ours(run, ingress, prepared, rate_per_s),
            lambda prepared: _go(run, go_ingress, prepared, rate_per_s),
            lambda prepared: steady.measure(run, bare_ingress, prepared, rate_per_s, CONNECTIONS)[0],
        )
    name = "ingress, RabbitMQ, one provider, at half of its capacity"
    for reference_name, reference in (("Go", go), ("bare aiohttp", bare)):
        compared = Comparison(name, ours, reference_name, reference)
        yield from (compared.p99(), compared.cpu())


def _ours(run: Run, ingress: Ingress, prepared: Prepared, rate_per_s: float) -> Measured:
    measured, _ = steady.measure(run, ingress, prepared, rate_per_s, CONNECTIONS)
    found = queues.emptied(run.servers.amqp_url, topics.queue_name(filling.QUEUE))
    check_handled("hookline ingress at half load", [message.id for message in found], prepared.ids)
    return measured


def _go(run: Run, ingress: Ingress, prepared: Prepared, rate_per_s: float) -> Measured:
    measured, _ = steady.measure(run, ingress, prepared, rate_per_s, CONNECTIONS)
    found = queues.emptied(run.servers.amqp_url, queues.REFERENCE_QUEUE)
    check_kept("Go at the same rate", [message.body for message in found], len(prepared.ids), 0)
    return measured
