"""The ingress on the embedded broker, which answers after the fsync."""

from collections.abc import Iterator, Sequence

from benchmarks import closed, filling, peers
from benchmarks.callbacks import Prepared
from benchmarks.figures import Comparison, Measured, Row, Target
from benchmarks.installation import USUAL, Installation
from benchmarks.run import Run
from benchmarks.turns import by_turns


def ingress(run: Run) -> Iterator[Row]:
    """Throughput and CPU of the ingress on the embedded broker, against the bare application."""
    yield from _against_bare(run, "ingress, embedded", USUAL)
    yield from _against_bare(run, "ingress, embedded, one provider", ("krtc",))


def _against_bare(run: Run, name: str, providers: Sequence[str]) -> Iterator[Row]:

    def ready() -> tuple[Installation, Prepared]:
        installation = run.embedded(providers)
        filling.make_queue(installation.settings)
        return installation, run.prepare(installation.sources)

    def hookline(installation: Installation, prepared: Prepared) -> Measured:
        with installation.ingress() as our_ingress:
            check = closed.kept_in_file(installation.folder / "hookline.db")
            return closed.measure(run, our_ingress, prepared, check)

    with peers.bare(run) as bare_ingress:
        ours, bare = by_turns(
            run.extent.rounds,
            ready,
            lambda each: hookline(*each),
            lambda each: closed.measure(run, bare_ingress, each[1], closed.nothing_kept),
        )
    compared = Comparison(name, ours, "bare aiohttp", bare)
    yield compared.throughput(Target(">=", 1.1))
    yield compared.cpu()
