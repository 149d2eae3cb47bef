"""The ingress on RabbitMQ: the cost of an event and the capacity, beside programs that do less."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks import closed, peers, preparing
from benchmarks.figures import Comparison, Measured, Row, Target
from benchmarks.load import CONNECTIONS
from benchmarks.run import Run
from benchmarks.turns import by_turns

_FEWER_CONNECTIONS = (16, 64)


def on_rabbitmq(run: Run) -> Iterator[Row]:
    """CPU time against the bare application, capacity against the obvious publisher and FastStream."""
    installation = preparing.with_empty_queue(run)
    with (
        installation.ingress() as ingress,
        peers.bare(run) as bare_ingress,
        peers.obvious_ingress(run) as obvious_ingress,
        peers.faststream_ingress(run) as faststream_ingress,
    ):
        ours, bare, obvious, faststream = by_turns(
            run.extent.rounds,
            lambda: run.prepare(installation.sources),
            lambda prepared: closed.measure(run, ingress, prepared, closed.kept_by_us),
            lambda prepared: closed.measure(run, bare_ingress, prepared, closed.nothing_kept),
            lambda prepared: closed.measure(run, obvious_ingress, prepared, closed.kept_by_reference),
            lambda prepared: closed.measure(run, faststream_ingress, prepared, closed.kept_by_reference),
        )
    name = "ingress, RabbitMQ"
    yield Comparison(name, ours, "bare aiohttp", bare).cpu(Target("<=", 0.9))
    yield Comparison(name, ours, "obvious", obvious).throughput(Target(">=", 4))
    yield Comparison(name, ours, "FastStream", faststream).throughput()


def two_processes(run: Run) -> Iterator[Row]:
    """Two processes of the ingress, against one. RabbitMQ and the load need cores, too."""
    installation, single = preparing.with_empty_queue(run), run.installation()
    installation.use_processes(2)
    ours, one = closed.by_turns_of_two(run, run.extent.rounds, installation, single)
    compared = Comparison("ingress, 2 processes", ours, "1 process", one)
    yield from (compared.throughput(Target(">=", 1.5)), compared.cpu())


def against_go(run: Run) -> Iterator[Row]:
    """CPU time against a Go program that verifies, seals and publishes the same, and against two that only answer."""
    with _beside_go(run) as beside_go:
        ours, go, bare, protocol = beside_go(CONNECTIONS, run.extent.rounds)
    name = "ingress, RabbitMQ, one provider"
    yield Comparison(name, ours, "Go", go).cpu(Target("<=", 1.25))
    yield Comparison(name, ours, "bare aiohttp", bare).cpu(Target("<=", 0.9))
    yield Comparison(name, ours, "bare protocol", protocol).cpu()


def with_fewer_connections(run: Run) -> Iterator[Row]:
    """The same with 16 and 64 connections: fewer events share a turn of the event loop, and a write to RabbitMQ."""
    with _beside_go(run) as beside_go:
        for connections in _FEWER_CONNECTIONS:
            ours, go, bare, _ = beside_go(connections, run.extent.growth_rounds)
            name = f"ingress, RabbitMQ, one provider, at capacity on {connections} connections"
            yield Comparison(name, ours, "Go", go).cpu()
            yield Comparison(name, ours, "Go", go).throughput()
            yield Comparison(name, ours, "bare aiohttp", bare).cpu()


@contextmanager
def _beside_go(run: Run) -> Iterator[Callable[[int, int], tuple[list[Measured], ...]]]:
    """Measures ours, Go, the bare application and the bare protocol, on so many connections and in so many rounds."""
    installation = preparing.with_empty_queue(run)
    source = preparing.signed_for_go(installation)
    with (
        installation.ingress() as ingress,
        peers.go_ingress(run, source.keys[0].decode()) as go_ingress,
        peers.bare(run) as bare_ingress,
        peers.bare_protocol(run) as bare_protocol,
    ):

        def beside_go(connections: int, rounds: int) -> tuple[list[Measured], ...]:
            return by_turns(
                rounds,
                lambda: run.prepare({source.name: source}),
                lambda prepared: closed.measure(run, ingress, prepared, closed.kept_by_us, connections),
                lambda prepared: closed.measure(run, go_ingress, prepared, closed.kept_by_reference, connections),
                lambda prepared: closed.measure(run, bare_ingress, prepared, closed.nothing_kept, connections),
                lambda prepared: closed.measure(run, bare_protocol, prepared, closed.nothing_kept, connections),
            )

        yield beside_go
