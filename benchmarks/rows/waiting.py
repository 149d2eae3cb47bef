"""The cost of an event while a million others wait: at the ingress, and in a worker that starts to drain them."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial

import msgspec

from benchmarks import closed, draining, filling, queues
from benchmarks.accounting import rss_mib
from benchmarks.callbacks import Prepared
from benchmarks.comparing import check_among, check_no_duplicates
from benchmarks.errors import InvalidRun
from benchmarks.figures import Comparison, Measured, Row, Target
from benchmarks.installation import Installation
from benchmarks.load import CONNECTIONS, Load
from benchmarks.run import Run
from hookline.schemas import topics
from hookline.schemas.envelope import Envelope

_DISTINCT = 10_000
_WORKER = "benchmarks.handlers.unordered"
_FLAT = Target("<=", 1.25)

Count = Callable[[], int]


def on_rabbitmq(run: Run) -> Iterator[Row]:
    """A million events waiting on RabbitMQ, against none."""
    queues.clear(run.servers.amqp_url)
    count = partial(queues.waiting, run.servers.amqp_url, topics.queue_name(filling.QUEUE))
    yield from _rows(run, run.installation(), count, "RabbitMQ")


def embedded(run: Run) -> Iterator[Row]:
    """A million events waiting in the embedded broker's file, against none."""
    installation = run.embedded()
    yield from _rows(run, installation, partial(_in_file, installation), "embedded")


def _rows(run: Run, installation: Installation, count: Count, broker: str) -> Iterator[Row]:
    filling.make_queue(installation.settings)
    ingresses, workers = _measured(run, installation, count, set())
    waiting = _fill(run, installation)
    full_ingresses, full_workers = _measured(run, installation, count, waiting)
    for role, full, empty in (("ingress", full_ingresses, ingresses), ("worker", full_workers, workers)):
        name = f"{role}, {broker}, {run.extent.waiting:,} waiting"
        yield Comparison(name, full, "none waiting", empty).cpu(_FLAT)


def _measured(
    run: Run, installation: Installation, count: Count, known: set[str]
) -> tuple[list[Measured], list[Measured]]:
    """Rounds of ingress and worker in turn. The worker handles as many events as the ingress accepted."""
    ingresses, workers = [], []
    for _ in range(run.extent.growth_rounds):
        prepared = run.prepare(installation.sources)
        known.update(prepared.ids)
        with installation.ingress() as ingress:
            before = count()
            ingresses.append(closed.measure(run, ingress, prepared, partial(_check_kept, count, before)))
        taken = count() - before
        measured, noted = draining.measure(run, partial(installation.worker, _WORKER), taken)
        check_no_duplicates("hookline worker", noted.ids)
        check_among("hookline worker", noted.ids, known)
        workers.append(measured)
    return ingresses, workers


def _check_kept(count: Count, before: int, run: Run, load: Load, prepared: Prepared) -> None:
    more = count() - before
    if not load.accepted <= more <= load.accepted + CONNECTIONS:
        raise InvalidRun(f"hookline ingress: {load.accepted} events were accepted, and {more} more are there")


def _fill(run: Run, installation: Installation) -> set[str]:
    """Publish a million events with bodies of real ones; returns their ids."""
    ids = [f"{number:032x}" for number in range(run.extent.waiting)]
    started_s = time.monotonic()
    filling.fill(installation.settings, _envelopes(run, installation, ids))
    resident = {name: f"{rss_mib(pids()):,.0f} MiB" for name, pids in run.servers.groups().items()}
    run.say(
        f"  {run.extent.waiting:,} events are waiting, after {time.monotonic() - started_s:.0f} s; resident: {resident}"
    )
    return set(ids)


def _envelopes(run: Run, installation: Installation, ids: Sequence[str]) -> Iterator[Envelope]:
    real = list(run.callbacks.envelopes(installation.sources, _DISTINCT))
    for number, event_id in enumerate(ids):
        yield msgspec.structs.replace(real[number % _DISTINCT], id=event_id)


def _in_file(installation: Installation) -> int:
    with closing(sqlite3.connect(installation.folder / "hookline.db")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM deliveries").fetchone()
    return int(count)
