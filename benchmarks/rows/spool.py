"""The spool: what it costs while RabbitMQ works, and how fast it drains beside live callbacks."""

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import closed, filling, preparing, queues, steady
from benchmarks.comparing import check_handled
from benchmarks.errors import InvalidRun
from benchmarks.figures import Comparison, Measured, Row, Target, p99_ms, per_s
from benchmarks.run import DEFAULT_STORE, Run
from hookline.schemas import topics

_SPOOL = "hookline-spool"
_LIVE_SHARE = 0.1
_WITHIN_S = 600.0


def cost(run: Run) -> Iterator[Row]:
    """CPU time of the ingress with a spool that is empty, against the same without a spool."""
    installation = preparing.with_empty_queue(run)
    plain = run.installation(DEFAULT_STORE)
    plain.set("[spool]", 'path = ""')
    ours, without = closed.by_turns_of_two(run, run.extent.rounds, installation, plain)
    yield Comparison("ingress with a spool", ours, "without", without).cpu(Target("<=", 1.03))


def draining(run: Run) -> Iterator[Row]:
    """How fast a full spool drains against the ingress's capacity, and the p99 of live callbacks meanwhile."""
    drained, capacity, busy, quiet = [], [], [], []
    installation = preparing.with_empty_queue(run)
    for _ in range(run.extent.rounds):
        with installation.ingress() as ingress:
            capacity.append(closed.measure(run, ingress, run.prepare(installation.sources), closed.kept_by_us))
            rate_per_s = capacity[-1].per_s * _LIVE_SHARE
            prepared = run.prepare(installation.sources, round(rate_per_s * run.extent.seconds))
            quiet.append(steady.measure(run, ingress, prepared, rate_per_s, 16)[0])
        queues.emptied(run.servers.amqp_url, topics.queue_name(filling.QUEUE))
        events = list(run.callbacks.envelopes(installation.sources, run.extent.spooled))
        filling.spool(installation.settings, events)
        prepared = run.prepare(installation.sources, round(rate_per_s * run.extent.seconds))
        started_s = time.monotonic()
        with installation.ingress() as ingress:
            busy.append(steady.measure(run, ingress, prepared, rate_per_s, 16)[0])
            seconds = _emptied(installation.folder / _SPOOL) - started_s
        run.say(f"  {len(events) / seconds:,.0f} events/s from the spool")
        drained.append(Measured(events=len(events), seconds=seconds, cpu_s={}))
        found = queues.emptied(run.servers.amqp_url, topics.queue_name(filling.QUEUE))
        check_handled("the spool", [each.id for each in found], [*(each.id for each in events), *prepared.ids])
    yield Row(
        name=f"spool of {run.extent.spooled:,} drains beside live callbacks",
        unit="events/s",
        figure=per_s,
        ours=drained,
        reference_name="capacity of the ingress",
        reference=capacity,
        target=Target(">=", 0.5),
    )
    yield Row(
        name="live callbacks beside a drain",
        unit="p99 ms",
        figure=p99_ms,
        ours=busy,
        reference_name="without",
        reference=quiet,
    )


def _emptied(spool: Path) -> float:
    """The time at which a spool has no files any more. Raises InvalidRun if that takes too long."""
    until_s = time.monotonic() + _WITHIN_S
    while any(spool.rglob("*.segment")):
        if time.monotonic() > until_s:
            raise InvalidRun("the spool does not drain")
        time.sleep(0.05)
    return time.monotonic()
