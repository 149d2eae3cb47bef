"""Measures an ingress at capacity (a closed loop), and checks that every accepted event was kept."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from benchmarks import queues
from benchmarks.accounting import Meter
from benchmarks.callbacks import Prepared
from benchmarks.comparing import check_among, check_kept
from benchmarks.figures import Measured
from benchmarks.filling import QUEUE
from benchmarks.installation import Installation
from benchmarks.load import CONNECTIONS, Load, closed
from benchmarks.processes import Ingress
from benchmarks.run import Run
from benchmarks.turns import by_turns
from hookline.schemas import topics

Check = Callable[[Run, Load, Prepared], None]


def measure(run: Run, ingress: Ingress, prepared: Prepared, check: Check, connections: int = CONNECTIONS) -> Measured:
    """One round. Raises InvalidRun if an event is lost, duplicated or refused."""
    rss_start_mib = ingress.rss_mib()
    meter = Meter({"program": ingress.pids, **run.servers.groups()})
    load = closed(ingress.port, prepared, connections, run.extent.seconds)
    measured = Measured(
        events=load.accepted,
        seconds=load.seconds,
        cpu_s=meter.spent_s(),
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        rss_start_mib=rss_start_mib,
        rss_end_mib=ingress.rss_mib(),
        rss_peak_mib=ingress.peak_mib(),
    )
    run.say(f"  {ingress.name}: {measured.per_s:,.0f} events/s, {measured.cpu_us():.0f} µs CPU each")
    check(run, load, prepared)
    return measured


def by_turns_of_two(run: Run, rounds: int, ours: Installation, other: Installation) -> tuple[list[Measured], ...]:
    """The rounds of two installations of ours. Each is sent events of its own."""
    with ours.ingress() as ingress, other.ingress() as other_ingress:
        return by_turns(
            rounds,
            lambda: None,
            lambda _: measure(run, ingress, run.prepare(ours.sources), kept_by_us),
            lambda _: measure(run, other_ingress, run.prepare(other.sources), kept_by_us),
        )


def nothing_kept(run: Run, load: Load, prepared: Prepared) -> None:
    """The bare application keeps nothing."""


def kept_by_us(run: Run, load: Load, prepared: Prepared) -> None:
    found = queues.emptied(run.servers.amqp_url, topics.queue_name(QUEUE))
    ids: Sequence[str] = [message.id for message in found]
    check_kept("hookline ingress on RabbitMQ", ids, load.accepted, CONNECTIONS)
    check_among("hookline ingress on RabbitMQ", ids, prepared.ids)


def kept_by_reference(run: Run, load: Load, prepared: Prepared) -> None:
    found = queues.emptied(run.servers.amqp_url, queues.REFERENCE_QUEUE)
    check_kept("the reference on RabbitMQ", [message.body for message in found], load.accepted, CONNECTIONS)


def kept_in_file(path: Path) -> Check:
    """Checks that the embedded broker's file has every accepted event."""

    def check(run: Run, load: Load, prepared: Prepared) -> None:
        statement = "SELECT json_extract(headers, '$.cloudEvents_id') FROM deliveries JOIN envelopes USING (seq)"
        with closing(sqlite3.connect(path)) as connection:
            ids: Sequence[str] = [event_id for (event_id,) in connection.execute(statement)]
        check_kept("hookline ingress, embedded", ids, load.accepted, CONNECTIONS)
        check_among("hookline ingress, embedded", ids, prepared.ids)

    return check
