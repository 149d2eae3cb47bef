"""The ingress on RabbitMQ: what an event costs, and how many it takes, beside programs that do less."""

from collections.abc import Iterator

from benchmarks import closed, filling, peers, queues
from benchmarks.figures import Measured, Row, Target, cpu_us, per_s
from benchmarks.run import Run


def on_rabbitmq(run: Run) -> Iterator[Row]:
    """CPU against the bare application, capacity against the obvious way and FastStream."""
    ours: list[Measured] = []
    bare: list[Measured] = []
    obvious: list[Measured] = []
    faststream: list[Measured] = []
    installation = run.installation()
    queues.clear(run.servers.amqp_url)
    filling.make_queue(installation.settings)
    with (
        installation.ingress() as ingress,
        peers.bare(run) as bare_door,
        peers.obvious_ingress(run) as obvious_door,
        peers.faststream_ingress(run) as faststream_door,
    ):
        for _ in range(run.extent.rounds):
            prepared = run.prepare(installation.sources)
            ours.append(closed.measure(run, ingress, prepared, closed.kept_by_us))
            bare.append(closed.measure(run, bare_door, prepared, closed.nothing_kept))
            obvious.append(closed.measure(run, obvious_door, prepared, closed.kept_by_reference))
            faststream.append(closed.measure(run, faststream_door, prepared, closed.kept_by_reference))
    name = "ingress, RabbitMQ"
    yield Row(
        name=name,
        unit="CPU µs/event",
        figure=cpu_us,
        ours=ours,
        reference_name="bare aiohttp",
        reference=bare,
        target=Target("<=", 1.4),
    )
    yield Row(
        name=name,
        unit="events/s",
        figure=per_s,
        ours=ours,
        reference_name="obvious",
        reference=obvious,
        target=Target(">=", 4),
    )
    yield Row(name=name, unit="events/s", figure=per_s, ours=ours, reference_name="FastStream", reference=faststream)
