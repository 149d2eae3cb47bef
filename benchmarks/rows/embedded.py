"""The ingress on the embedded broker, which answers after the fsync."""

from collections.abc import Iterator, Sequence

from benchmarks import closed, filling, peers
from benchmarks.figures import Comparison, Measured, Row, Target
from benchmarks.installation import USUAL
from benchmarks.run import Run


def ingress(run: Run) -> Iterator[Row]:
    """Throughput and CPU of the ingress on the embedded broker, against the bare application."""
    yield from _against_bare(run, "ingress, embedded", USUAL)
    yield from _against_bare(run, "ingress, embedded, one provider", ("krtc",))


def _against_bare(run: Run, name: str, providers: Sequence[str]) -> Iterator[Row]:
    ours: list[Measured] = []
    bare: list[Measured] = []
    with peers.bare(run) as bare_ingress:
        for _ in range(run.extent.rounds):
            installation = run.embedded(providers)
            filling.make_queue(installation.settings)
            prepared = run.prepare(installation.sources)
            with installation.ingress() as our_ingress:
                check = closed.kept_in_file(installation.folder / "hookline.db")
                ours.append(closed.measure(run, our_ingress, prepared, check))
            bare.append(closed.measure(run, bare_ingress, prepared, closed.nothing_kept))
    compared = Comparison(name, ours, "bare aiohttp", bare)
    yield compared.throughput(Target(">=", 1.1))
    yield compared.cpu()
