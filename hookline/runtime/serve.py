"""Runs the ingress and workers in one process, from the start to a shutdown that loses nothing."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from hookline.runtime.control import Control
from hookline.runtime.installation import needs_servers
from hookline.runtime.listening import cannot_listen
from hookline.runtime.logs import log_queue, log_sources, log_written
from hookline.runtime.loop_watch import watching_loop
from hookline.runtime.observing import Observing
from hookline.runtime.outcome_log import OutcomeLog
from hookline.runtime.readiness import Readiness, Watched
from hookline.runtime.roles import Roles
from hookline.runtime.running_workers import RunningWorkers
from hookline.runtime.shutdown import ClosingTime, StoppedEarlyError
from hookline.runtime.starting import Starting
from hookline.runtime.unsent_topics import unsent_topics
from hookline.schemas.broker import Broker, Publisher
from hookline.settings import Settings
from hookline.settings_sections import WorkersSettings
from hookline.workers.admission import ExclusiveGate
from hookline.workers.api import Worker
from hookline.workers.breaker import Breaker
from hookline.workers.normaliser import Normalise, normaliser
from hookline.workers.ordered_pool import OrderedPool, partition_prefetch
from hookline.workers.pipeline import Pipeline
from hookline.workers.pool import Pool, Report, longest_unsettled_s, prefetch
from hookline.workers.rooms import rooms_worker
from hookline.workers.state import States
from hookline.workers.store import Store
from hookline.workers.work import Work

if TYPE_CHECKING:
    from hookline.ingress.receive import Receiver
    from hookline.ingress.server import Ingress

log = logging.getLogger("hookline")

_SHOWN_PATTERNS = 8
_MIN_CONNECTIONS = 500  # fewer than a burst of callbacks may need


async def serve(settings: Settings, roles: Roles, outcome_log: OutcomeLog) -> None:
    """Run these roles until SIGTERM or SIGINT, or until a supervisor stops them. A second signal ends the draining.

    Waits for a broker or store that is away, unless it has to fail fast. Order of the shutdown: readiness off, requests
    answered and confirmed, events in flight handled or put back, the state of workers closed, then broker and store.
    All that is closed shares one deadline, since a server may answer nothing.
    Raises Unreachable, SettingsError, NotStarted, or the error that ended a part.
    """
    control = Control(settings, with_sources=roles.ingress, supervised=roles.supervised)
    waits = not roles.fail_fast and needs_servers(settings)
    starting = Starting(control.stop, waits=waits, waiting=control.service_manager.waiting)
    try:
        await _run(control, starting, roles, outcome_log)
    except StoppedEarlyError:
        control.stopping()
    finally:
        control.close()


async def _run(control: Control, starting: Starting, roles: Roles, outcome_log: OutcomeLog) -> None:
    settings = control.settings
    async with (
        Observing(settings, roles) as observing,
        control.installation as installation,
        States(settings.workers.state_s) as states,
    ):
        installation.observer = observing.observer
        control.gives_settings_to(observing)
        observing.watch(starting)
        chosen = [await states.ready(worker) for worker in roles.workers]
        may_be_away = roles.ingress and not (chosen or roles.rooms or roles.fail_fast)
        broker = await starting.opened(partial(installation.broker, may_be_away=may_be_away))
        for sentence in chain.from_iterable(unsent_topics(worker, settings) for worker in chosen):
            log.warning("%s", sentence)
        if roles.rooms:
            chosen.insert(0, rooms_worker(await starting.opened(installation.event_log)))
        pools: list[Pool | OrderedPool] = []
        server, parts = None, list[Watched]([broker])
        try:
            if chosen:
                normalise = normaliser(settings.providers, keep_urls=settings.workers.keep_urls)
                store = await starting.opened(installation.store)
                parts += [store] if isinstance(store, Watched) else []
                observing.watch(*parts)
                pool_of = Pools(broker, store, normalise, outcome_log, observing, settings.workers).pool
                for worker in chosen:  # it works at once, while the next one may have to wait for a server
                    pools += [await starting.opened(partial(pool_of, worker))]
            if roles.ingress:
                publisher = await starting.opened(partial(installation.ingress_publisher, broker))
                publisher = observing.traced_publisher(publisher)
                server = await _open_ingress(control, publisher, observing, is_alone=not chosen)
                observing.watch_broker(broker.publisher)
                observing.watch_spool(installation.spool)
            observing.opened(broker, [worker.queue for worker in chosen], tuple(settings.sources))
            _report_open(control, ingress=roles.ingress)
            await _until_stopped(control, pools, parts, observing)
        finally:
            if pools or server is not None:
                await _close(control, server, pools, outcome_log)


async def _until_stopped(
    control: Control, pools: Sequence[Pool | OrderedPool], parts: Sequence[Watched], observing: Observing
) -> None:
    """Return when the process is asked to stop. Raises the error that ended a part."""
    running = [asyncio.create_task(pool.run()) for pool in pools]
    watching = asyncio.create_task(Readiness(parts).watch())
    try:
        with watching_loop() if pools else nullcontext() as watch:
            if watch is not None:
                observing.watch_loop(watch)
            await control.stop.wait(running)
    finally:
        for task in (watching, *running):
            task.cancel()


async def _close(
    control: Control, server: "Ingress | None", pools: Sequence[Pool | OrderedPool], outcome_log: OutcomeLog
) -> None:
    """Finish what is in flight, also if the process is stopped before everything is open."""
    control.stopping()
    closing = control.installation.closing
    draining = _drain(server, pools, control.settings.workers.shutdown_s, closing)
    await control.stop.drain(draining, lambda: _drain(None, pools, 0, closing))
    outcome_log.log_totals()
    await closing.close(*(pool.close() for pool in pools))


class Pools:
    """Makes pools that share a broker, a store, and an exclusive gate: an event may kill their common process."""

    def __init__(
        self,
        broker: Broker,
        store: Store,
        normalise: Normalise,
        outcome_log: OutcomeLog,
        observing: Observing,
        settings: WorkersSettings,
    ) -> None:
        self._broker = broker
        self._store = store
        self._normalise = normalise
        self._outcome_log = outcome_log
        self._observing = observing
        self._settings = settings
        self._exclusive_gate = ExclusiveGate()
        self._running = RunningWorkers(observing)

    async def pool(self, worker: Worker[Any]) -> Pool | OrderedPool:
        observer = self._observing.observer
        breaker = Breaker(worker.queue, self._settings.breaker_percent, observer.breaker_opened)
        pipeline = Pipeline(
            self._observing.traced(worker),
            self._store,
            self._exclusive_gate,
            self._normalise,
            unwanted_after_s=self._settings.unwanted_after_s,
        ).watched(observer, breaker)
        pipeline.log_written = log_written
        pipeline.failures.keeps_error_texts = self._outcome_log.has_error_texts
        pool = await (self._unordered(pipeline) if worker.order is None else self._ordered(pipeline))
        self._running.add(pipeline, pool)
        self._observing.watch(breaker)
        log.info("worker %s handles %s", worker.queue, _shown_patterns(worker))
        return pool

    def _reporting(self, pipeline: Pipeline) -> Report:
        """What is done with the outcomes of deliveries."""
        breaker, observer, log_outcomes = pipeline.breaker, pipeline.observer, self._outcome_log.report

        def report(queue: str, settled: Sequence[tuple[Work, float]]) -> None:
            log_outcomes(queue, settled)
            breaker.note([work.outcome for work, _ in settled])
            observer.settled(queue, settled)

        return report

    async def _unordered(self, pipeline: Pipeline) -> Pool:
        worker = pipeline.worker
        queue = await self._broker.subscribe(
            worker.queue, worker.patterns, prefetch(worker), unsettled_s=longest_unsettled_s(worker, prefetch(worker))
        )
        return Pool(pipeline, queue, self._reporting(pipeline))

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
        return OrderedPool(pipeline, self._store, open_, self._reporting(pipeline))


def _shown_patterns(worker: Worker[Any]) -> str:
    """The first patterns of a worker, for one line of the log."""
    patterns = [each.removeprefix("*.*.") for each in worker.patterns]
    others = len(patterns) - _SHOWN_PATTERNS
    return ", ".join(patterns) if others <= 1 else f"{', '.join(patterns[:_SHOWN_PATTERNS])} and {others} others"


class _Sources:
    """Gives an ingress the sources of settings that were read anew, and has it read its certificate anew."""

    def __init__(self, receiver: "Receiver", ingress: "Ingress") -> None:
        self._receiver = receiver
        self._ingress = ingress

    def use(self, settings: Settings) -> None:
        """Raises SettingsError for a certificate that cannot be used; the old one is kept."""
        self._ingress.reload_certificate()
        self._receiver.use(settings.sources, settings.trusted_proxies)


async def _open_ingress(control: Control, publisher: Publisher, observing: Observing, *, is_alone: bool) -> "Ingress":
    """An ingress that listens. It logs what it accepts if no worker runs beside it.

    Raises Unreachable if it cannot listen.
    """
    from hookline.ingress.acceptances import Acceptances  # noqa: PLC0415  a process of workers loads no web server
    from hookline.ingress.audit import RefusalAudit  # noqa: PLC0415  see above
    from hookline.ingress.listening import raise_file_limit, within_files  # noqa: PLC0415  see above
    from hookline.ingress.receive import Receiver  # noqa: PLC0415  see above
    from hookline.ingress.server import Ingress  # noqa: PLC0415  see above

    settings, files = control.settings, raise_file_limit()
    limits = within_files(settings.ingress, files)
    writer = control.installation.refusal_writer()
    audit = None if writer is None else RefusalAudit(writer, settings.audit)
    receiver = Receiver(settings.sources, publisher, limits, settings.trusted_proxies, audit=audit)
    ingress = Ingress(receiver, limits, files if files > 0 else None)
    control.gives_settings_to(_Sources(receiver, ingress))
    receiver.observer, receiver.traces = observing.observer, observing.traces
    receiver.acceptances = Acceptances() if is_alone else None
    observing.watch(receiver)
    try:
        port = await ingress.start()
    except OSError as error:
        raise cannot_listen(settings.ingress.host, settings.ingress.port, error) from None
    is_cramped = limits.max_connections < min(settings.ingress.max_connections, _MIN_CONNECTIONS)
    remedy = ": raise `ulimit -n`, or LimitNOFILE of its service" if is_cramped and files > 0 else ""
    level = logging.WARNING if remedy else logging.INFO
    log.log(level, "at most %d connections; the process may open %d files%s", limits.max_connections, files, remedy)
    scheme, host = "https" if limits.tls_certificate else "http", limits.host
    log.info("listening on %s://%s:%d", scheme, f"[{host}]" if ":" in host else host, port)
    return ingress


def _report_open(control: Control, *, ingress: bool) -> None:
    """Tell the parent process that everything is open, and log it unless the supervisor does."""
    control.has_opened()
    if control.is_supervised:
        return
    if ingress:
        log_sources(control.settings)
    log_queue(control.settings)


async def _drain(
    server: "Ingress | None", pools: Sequence[Pool | OrderedPool], shutdown_s: float, closing: ClosingTime
) -> None:
    if server is not None:
        await server.stop()
    if any(await asyncio.gather(*(pool.drain(shutdown_s) for pool in pools))):
        closing.shorten()
