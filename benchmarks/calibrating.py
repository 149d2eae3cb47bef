"""Measures how fast this machine is, so that the right number of requests is prepared."""

from dataclasses import replace

from benchmarks import load, peers
from benchmarks.run import Run

_FIRST_GUESS_PER_S = 60_000
_MARGIN = 1.4


def calibrated(run: Run) -> Run:
    """The run with its `most_per_s`: somewhat more than the bare application answers here."""
    installation = run.embedded()
    prepared = run.prepare(installation.sources, _FIRST_GUESS_PER_S)
    with peers.bare(run) as ingress:
        taken = load.closed(ingress.port, prepared, load.CONNECTIONS, 1)
    return replace(run, most_per_s=round(taken.answered / taken.seconds * _MARGIN))
