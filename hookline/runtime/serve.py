"""Runs the ingress and workers in one process, from the start to a shutdown that loses nothing."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from hookline.aio.lasting_task import start_lasting
from hookline.runtime.control import Control
from hookline.runtime.installation import needs_servers
from hookline.runtime.listening import cannot_listen
from hookline.runtime.logs import log_queue, log_sources
from hookline.runtime.loop_watch import watching_loop
from hookline.runtime.observing import Observing
from hookline.runtime.outcome_log import OutcomeLog
from hookline.runtime.readiness import Readiness, Watched
from hookline.runtime.roles import Roles
from hookline.runtime.shutdown import ClosingTime, StoppedEarlyError
from hookline.runtime.starting import Starting
from hookline.runtime.unrouted_limit import UnroutedLimit
from hookline.runtime.unsent_topics import unsent_topics
from hookline.schemas.broker import Publisher
from hookline.schemas.errors import Locked, Unreachable
from hookline.settings import Settings
from hookline.workers.normaliser import normaliser
from hookline.workers.state import States

if TYPE_CHECKING:
    from hookline.ingress.receive import Receiver
    from hookline.ingress.server import Ingress
    from hookline.runtime.pools import AnyPool

log = logging.getLogger("hookline")

_MIN_CONNECTIONS = 500  # fewer than a burst of callbacks may need


async def serve(settings: Settings, roles: Roles, outcome_log: OutcomeLog) -> None:
    """Run these roles until SIGTERM or SIGINT, or until a supervisor stops them. A second signal ends the draining.

    Waits for a server that is away and a file that is locked, unless it has to fail fast. Order of the shutdown:
    readiness off, requests answered and confirmed, events in flight handled or put back, the state of workers closed,
    then broker and store.
    All that is closed shares one deadline, since a server may answer nothing.
    Raises Unreachable, SettingsError, NotStarted, or the error that ended a part.
    """
    control = Control(settings, with_sources=roles.ingress, pipes=roles.pipes)
    starting = Starting(control.stop, waits_for=_waited_for(settings, roles), waiting=control.service_manager.waiting)
    try:
        await _run(control, starting, roles, outcome_log)
    except StoppedEarlyError:
        control.stopping()
    finally:
        control.close()


def _waited_for(settings: Settings, roles: Roles) -> tuple[type[Unreachable], ...]:
    """The errors after which a start tries again. Other errors of a file on this machine are for a person to mend."""
    if roles.fail_fast:
        return ()
    return (Unreachable,) if needs_servers(settings) else (Locked,)


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
            from hookline.workers.rooms import rooms_worker  # noqa: PLC0415  an ingress alone loads no workers

            chosen.insert(0, rooms_worker(await starting.opened(installation.event_log)))
        pools: list[AnyPool] = []
        server, parts = None, list[Watched]([broker])
        try:
            if chosen:
                from hookline.runtime.pools import Pools  # noqa: PLC0415  see above

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
            limit = UnroutedLimit(broker, settings.unrouted.max_events, observing.observer)
            observing.opened(broker, [worker.queue for worker in chosen], tuple(control.settings.sources))
            _report_open(control, ingress=roles.ingress)
            await _until_stopped(control, pools, parts, observing, limit)
        finally:
            if pools or server is not None:
                await _close(control, server, pools, outcome_log)


async def _until_stopped(
    control: Control,
    pools: "Sequence[AnyPool]",
    parts: Sequence[Watched],
    observing: Observing,
    unrouted_limit: UnroutedLimit,
) -> None:
    """Return when the process is asked to stop. Raises the error that ended a part."""
    running = [asyncio.create_task(pool.run()) for pool in pools]
    watching = start_lasting(Readiness(parts).watch(), "looking whether the process is ready")
    limiting = start_lasting(unrouted_limit.keep(), "keeping the limit of unrouted events")
    try:
        with watching_loop() if pools else nullcontext() as watch:
            if watch is not None:
                observing.watch_loop(watch)
            await control.stop.wait(running)
    finally:
        for task in (watching, limiting, *running):
            task.cancel()


async def _close(
    control: Control, server: "Ingress | None", pools: "Sequence[AnyPool]", outcome_log: OutcomeLog
) -> None:
    """Finish what is in flight, also if the process is stopped before everything is open."""
    control.stopping()
    closing = control.installation.closing
    draining = _drain(server, pools, control.settings.workers.shutdown_s, closing)
    await control.stop.drain(draining, lambda: _drain(None, pools, 0, closing))
    outcome_log.log_totals()
    await closing.close(*(pool.close() for pool in pools))


class _Sources:
    """Gives an ingress the sources of settings that were read anew, and has it read its certificate anew."""

    def __init__(self, receiver: "Receiver", ingress: "Ingress") -> None:
        self._receiver = receiver
        self._ingress = ingress

    def use(self, settings: Settings) -> None:
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
    control.checks_settings_by(ingress.check_certificate)
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


async def _drain(server: "Ingress | None", pools: "Sequence[AnyPool]", shutdown_s: float, closing: ClosingTime) -> None:
    if server is not None:
        await server.stop()
    if any(await asyncio.gather(*(pool.drain(shutdown_s) for pool in pools))):
        closing.shorten()
