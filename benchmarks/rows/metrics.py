"""What metrics cost: the ingress and a worker with the operator's port, beside the same without it."""

from collections.abc import Iterator

from benchmarks import closed, draining, preparing
from benchmarks.figures import Comparison, Row, Target
from benchmarks.installation import Installation
from benchmarks.run import DEFAULT_STORE, Run
from benchmarks.turns import by_turns

_HANDLER = "benchmarks.handlers.unordered"
_MOST = Target("<=", 1.03)


def ingress(run: Run) -> Iterator[Row]:
    """CPU time of the ingress with metrics, against the same without."""
    installation, plain = preparing.with_empty_queue(run), _without(run.installation(DEFAULT_STORE))
    ours, without = closed.by_turns_of_two(run, run.extent.rounds, installation, plain)
    yield Comparison("ingress with metrics", ours, "without", without).cpu(_MOST)


def worker(run: Run) -> Iterator[Row]:
    """CPU time of a worker with metrics, against the same without."""
    ours, without = by_turns(
        run.extent.rounds,
        lambda: None,
        lambda _: draining.measure_filled(run, preparing.with_empty_queue(run), _HANDLER),
        lambda _: draining.measure_filled(run, _without(preparing.with_empty_queue(run)), _HANDLER),
    )
    yield Comparison("worker with metrics", ours, "without", without).cpu(_MOST)


def _without(installation: Installation) -> Installation:
    installation.set("[admin]", "port = 0")
    return installation
