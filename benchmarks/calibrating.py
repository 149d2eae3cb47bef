"""How fast this machine is, so that enough requests are prepared for it and not ten times too many."""

from dataclasses import replace

from benchmarks import load, peers
from benchmarks.run import Run

_FIRST_GUESS_PER_S = 60_000
_MARGIN = 1.4


def calibrated(run: Run) -> Run:
    """The run, knowing that an ingress answers at most so many requests a second here: more than the bare one does."""
    installation = run.embedded()
    prepared = run.prepare(installation.sources, _FIRST_GUESS_PER_S)
    with peers.bare(run) as ingress:
        taken = load.closed(ingress.port, prepared, load.CONNECTIONS, 1)
    return replace(run, most_per_s=round(taken.answered / taken.seconds * _MARGIN))
