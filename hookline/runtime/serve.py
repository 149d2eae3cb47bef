"""Runs the ingress and workers in one process, from the start to a shutdown that loses nothing."""

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from hookline.runtime.installation import Installation
from hookline.runtime.listening import cannot_listen
from hookline.runtime.logs import log_queue, log_sources
from hookline.runtime.outcome_log import OutcomeLog
from hookline.runtime.shutdown import Stop
from hookline.schemas.broker import Broker, Publisher
from hookline.settings import Settings, WorkersSettings
from hookline.workers.admission import ExclusiveGate
from hookline.workers.api import Worker
from hookline.workers.ordered_pool import OrderedPool, partition_prefetch
from hookline.workers.pipeline import Normalise, Pipeline, normaliser
from hookline.workers.pool import Pool, Report, longest_unsettled_s, prefetch
from hookline.workers.rooms import rooms_worker
from hookline.workers.state import States
from hookline.workers.store import Store

if TYPE_CHECKING:
    from hookline.ingress.server import Ingress

log = logging.getLogger("hookline")


async def serve(
    settings: Settings,
    outcome_log: OutcomeLog,
    *,
    ingress: bool,
    workers: Sequence[Worker[Any]],
    rooms: bool,
    supervised: bool = False,
) -> None:
    """Run these roles until SIGTERM or SIGINT, or until a supervisor stops them. A second signal ends the draining.

    Order of the shutdown: readiness off, requests answered and confirmed, events in flight handled or put back, the
    state of workers closed, then broker and store. Raises Unreachable, SettingsError, NotStarted, or the error that
    ended a part.
    """
    stop = Stop(supervised=supervised)
    async with Installation(settings) as installation, States(settings.workers.state_s) as states:
        chosen = [await states.ready(worker) for worker in workers]
        broker = await installation.broker()
        if rooms:
            chosen.insert(0, rooms_worker(await installation.event_log()))
        pools = []
        if chosen:
            normalise = normaliser(settings.providers)
            starting = _Starting(broker, await installation.store(), normalise, outcome_log.report, settings.workers)
            pools = [await starting.pool(worker) for worker in chosen]
        server = await _open_ingress(settings, broker.publisher) if ingress else None
        _report_open(settings, ingress=ingress, supervised=supervised)
        running = [asyncio.create_task(pool.run()) for pool in pools]
        try:
            await stop.wait(running)
        finally:
            log.info("stopping")
            draining = _close(server, pools, settings.workers.shutdown_s)
            await stop.drain(draining, lambda: _close(None, pools, 0))
            outcome_log.log_totals()
            for task in running:
                task.cancel()


class _Starting:
    """Starts workers that share a broker, a store, and an exclusive gate: an event may kill their common process."""

    def __init__(
        self, broker: Broker, store: Store, normalise: Normalise, report: Report, settings: WorkersSettings
    ) -> None:
        self._broker = broker
        self._store = store
        self._normalise = normalise
        self._report = report
        self._settings = settings
        self._exclusive_gate = ExclusiveGate()

    async def pool(self, worker: Worker[Any]) -> Pool | OrderedPool:
        pipeline = Pipeline(
            worker,
            self._store,
            self._exclusive_gate,
            self._normalise,
            unwanted_after_s=self._settings.unwanted_after_s,
        )
        pool = await (self._unordered(pipeline) if worker.order is None else self._ordered(pipeline))
        log.info("worker %s handles %s", worker.queue, ", ".join(p.removeprefix("*.*.") for p in worker.patterns))
        return pool

    async def _unordered(self, pipeline: Pipeline) -> Pool:
        worker = pipeline.worker
        queue = await self._broker.subscribe(
            worker.queue, worker.patterns, prefetch(worker), unsettled_s=longest_unsettled_s(worker, prefetch(worker))
        )
        return Pool(pipeline, queue, self._report)

    async def _ordered(self, pipeline: Pipeline) -> OrderedPool:
        worker = pipeline.worker
        await self._broker.declare_partitions(worker.queue, worker.patterns)
        open_ = partial(
            self._broker.subscribe,
            worker.queue,
            worker.patterns,
            partition_prefetch(worker),
            unsettled_s=longest_unsettled_s(worker, partition_prefetch(worker)),
        )
        return OrderedPool(pipeline, self._store, open_, self._report)


async def _open_ingress(settings: Settings, publisher: Publisher) -> "Ingress":
    """An ingress that listens. Raises Unreachable if it cannot listen."""
    from hookline.ingress.receive import Receiver  # noqa: PLC0415  a process of workers loads no web server
    from hookline.ingress.server import Ingress  # noqa: PLC0415  see above

    receiver = Receiver(settings.sources, publisher, settings.ingress, settings.trusted_proxies)
    ingress = Ingress(receiver, settings.ingress)
    try:
        port = await ingress.start()
    except OSError as error:
        raise cannot_listen(settings.ingress.host, settings.ingress.port, error) from None
    log.info("listening on http://%s:%d", settings.ingress.host, port)
    return ingress


def _report_open(settings: Settings, *, ingress: bool, supervised: bool) -> None:
    """Say that everything is open: to the supervisor, which logs the rest once for all processes, or in the log."""
    if supervised:
        with suppress(BrokenPipeError):  # it has ended, and the end of stdin stops this process
            os.write(sys.stdout.fileno(), b"open\n")
        return
    if ingress:
        log_sources(settings)
    log_queue(settings)


async def _close(server: "Ingress | None", pools: Sequence[Pool | OrderedPool], shutdown_s: float) -> None:
    if server is not None:
        await server.stop()
    await asyncio.gather(*(pool.stop(shutdown_s) for pool in pools))
