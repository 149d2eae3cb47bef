"""The ingress on the embedded broker, every answer after its fsync."""

from collections.abc import Iterator

from benchmarks import closed, filling, peers
from benchmarks.figures import Measured, Row, Target, cpu_us, per_s
from benchmarks.run import Run


def ingress(run: Run) -> Iterator[Row]:
    """Throughput and CPU of the ingress on the embedded broker, against the bare application."""
    ours: list[Measured] = []
    bare: list[Measured] = []
    with peers.bare(run) as bare_door:
        for _ in range(run.extent.rounds):
            installation = run.embedded()
            filling.make_queue(installation.settings)
            prepared = run.prepare(installation.sources)
            with installation.ingress() as ours_door:
                check = closed.kept_in_file(installation.folder / "hookline.db")
                ours.append(closed.measure(run, ours_door, prepared, check))
            bare.append(closed.measure(run, bare_door, prepared, closed.nothing_kept))
    name = "ingress, embedded"
    yield Row(
        name=name,
        unit="events/s",
        figure=per_s,
        ours=ours,
        reference_name="bare aiohttp",
        reference=bare,
        target=Target(">=", 0.7),
    )
    yield Row(name=name, unit="CPU µs/event", figure=cpu_us, ours=ours, reference_name="bare aiohttp", reference=bare)
