"""From a queue to a function that does nothing, beside consumers that decode nothing and use no store."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from benchmarks import draining, filling, peers, preparing, queues
from benchmarks.draining import Start
from benchmarks.errors import InvalidRun
from benchmarks.figures import Comparison, Measured, Row, Target, per_s
from benchmarks.installation import Installation
from benchmarks.run import Run
from benchmarks.turns import by_turns

_UNORDERED = "benchmarks.handlers.unordered"
_ORDERED = "benchmarks.handlers.ordered"
_WITH_DELIVERY = "benchmarks.handlers.with_delivery"

_Filled = tuple[Installation, list[str]]
"""An installation, and the ids of the events that wait in its queue and in the reference's."""


def sqlite_store(run: Run) -> Iterator[Row]:
    """One worker on RabbitMQ with its store in SQLite, against the obvious consumer."""
    yield from _against_obvious(run, "worker, RabbitMQ + SQLite", "sqlite:store.db")


def redis_store(run: Run) -> Iterator[Row]:
    """One worker on RabbitMQ with its store in Redis, against the obvious consumer."""
    yield from _against_obvious(run, "worker, RabbitMQ + Redis", run.servers.redis_url)


def four_processes(run: Run) -> Iterator[Row]:
    """Four processes of a worker on RabbitMQ and Redis, against four obvious consumers."""
    yield from _against_obvious(run, "4 workers, RabbitMQ + Redis", run.servers.redis_url, processes=4)


def with_delivery(run: Run) -> Iterator[Row]:
    """CPU time of a worker whose function takes a `Delivery`, against the same without."""
    ours, without = by_turns(
        run.extent.rounds,
        lambda: None,
        lambda _: draining.measure_filled(run, preparing.with_empty_queue(run), _WITH_DELIVERY),
        lambda _: draining.measure_filled(run, preparing.with_empty_queue(run), _UNORDERED),
    )
    yield Comparison("worker with a Delivery", ours, "without", without).cpu(Target("<=", 1.1))


def ordered(run: Run) -> Iterator[Row]:
    """One ordered worker on RabbitMQ with its store in SQLite, against the obvious consumer, which keeps no order."""

    def filled() -> _Filled:
        installation = run.installation()
        queues.clear(run.servers.amqp_url)
        filling.make_partitions(installation.settings)
        return installation, _fill_both(run, installation, run.extent.events)

    ours, reference = _by_turns(run, filled, _ORDERED)
    compared = Comparison("ordered worker, RabbitMQ + SQLite", ours, "obvious", reference)
    yield from (compared.throughput(Target(">=", 2)), compared.cpu())


def embedded(run: Run) -> Iterator[Row]:
    """One worker on the embedded broker with its store in the same file; unordered and ordered."""
    for name, module, make in (
        ("worker, embedded", _UNORDERED, filling.make_queue),
        ("ordered worker, embedded", _ORDERED, filling.make_partitions),
    ):
        ours: list[Measured] = []
        for _ in range(run.extent.rounds):
            installation = run.embedded()
            make(installation.settings)
            ours.append(draining.measure_filled(run, installation, module))
        yield Row(name=name, unit="events/s", figure=per_s, ours=ours)


def _against_obvious(run: Run, name: str, store_url: str, processes: int = 1) -> Iterator[Row]:

    def filled() -> _Filled:
        installation = preparing.with_empty_queue(run, store_url)
        count = run.extent.events * (1 if processes == 1 else 2)  # some are handled before all processes have started
        return installation, _fill_both(run, installation, count)

    ours, reference = _by_turns(run, filled, _UNORDERED, processes)
    compared = Comparison(name, ours, "obvious", reference)
    yield from (compared.throughput(Target(">=", 2)), compared.cpu(Target("<=", 0.5)))


def _by_turns(run: Run, fill: Callable[[], _Filled], module: str, processes: int = 1) -> tuple[list[Measured], ...]:
    """The rounds of a worker of ours, and of the obvious consumer, with as many processes each."""
    return by_turns(
        run.extent.rounds,
        fill,
        lambda filled: draining.measure_handled(run, partial(filled[0].worker, module), filled[1], processes),
        lambda filled: _reference(run, partial(peers.obvious_worker, run), filled[1], processes),
    )


def _fill_both(run: Run, installation: Installation, count: int) -> list[str]:
    """Publish the same events to our queue and to the references'; returns their ids."""
    queues.copy_to_reference(run.servers.amqp_url)
    envelopes = list(run.callbacks.envelopes(installation.sources, count))
    filling.fill(installation.settings, envelopes)
    return [envelope.id for envelope in envelopes]


def _reference(run: Run, start: Start, ids: Sequence[str], processes: int = 1) -> Measured:
    measured, noted = draining.measure(run, start, len(ids), processes)
    if len(noted.times_s) != len(ids):
        raise InvalidRun(f"the reference received {len(noted.times_s)} of {len(ids)} messages")
    return measured
