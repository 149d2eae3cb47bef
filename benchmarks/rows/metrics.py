"""What metrics cost: the ingress and a worker with the operator's port, beside the same without it."""

from collections.abc import Iterator
from functools import partial

from benchmarks import closed, draining, filling, preparing
from benchmarks.comparing import check_handled
from benchmarks.figures import Comparison, Measured, Row, Target
from benchmarks.installation import Installation
from benchmarks.run import DEFAULT_STORE, Run
from benchmarks.turns import by_turns

_HANDLER = "benchmarks.handlers.unordered"
_MOST = Target("<=", 1.03)


def ingress(run: Run) -> Iterator[Row]:
    """CPU time of the ingress with metrics, against the same without."""
    installation, plain = preparing.with_empty_queue(run), _without(run.installation(DEFAULT_STORE))
    with installation.ingress() as ingress, plain.ingress() as plain_ingress:
        ours, without = by_turns(
            run.extent.rounds,
            lambda: None,
            lambda _: closed.measure(run, ingress, run.prepare(installation.sources), closed.kept_by_us),
            lambda _: closed.measure(run, plain_ingress, run.prepare(plain.sources), closed.kept_by_us),
        )
    yield Comparison("ingress with metrics", ours, "without", without).cpu(_MOST)


def worker(run: Run) -> Iterator[Row]:
    """CPU time of a worker with metrics, against the same without."""
    ours, without = by_turns(
        run.extent.rounds,
        lambda: None,
        lambda _: _drained(run, preparing.with_empty_queue(run)),
        lambda _: _drained(run, _without(preparing.with_empty_queue(run))),
    )
    yield Comparison("worker with metrics", ours, "without", without).cpu(_MOST)


def _drained(run: Run, installation: Installation) -> Measured:
    envelopes = list(run.callbacks.envelopes(installation.sources, run.extent.events))
    filling.fill(installation.settings, envelopes)
    ids = [envelope.id for envelope in envelopes]
    measured, noted = draining.measure(run, partial(installation.worker, _HANDLER), len(ids), 1)
    check_handled("hookline worker", noted.ids, ids)
    return measured


def _without(installation: Installation) -> Installation:
    installation.set("[admin]", "port = 0")
    return installation
