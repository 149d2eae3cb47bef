"""The operator's port of one process: its metrics, its health, and the parts that both are about."""

import asyncio
import importlib
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Self

import msgspec

from hookline.admin.metrics import Metrics, Values
from hookline.admin.pages import ReadinessPage
from hookline.admin.queue_poll import QueuePoll
from hookline.admin.settings import AdminSettings
from hookline.aio.lasting_task import start_lasting
from hookline.import_errors import optional_libraries
from hookline.runtime.installation import broker_name
from hookline.runtime.logs import queued_handlers
from hookline.runtime.loop_watch import LoopWatch
from hookline.runtime.readiness import Watched
from hookline.runtime.roles import Roles
from hookline.schemas.broker import Broker, Publisher
from hookline.schemas.observer import NOBODY, Observer
from hookline.schemas.process_states import BlockedState, ProcessState, WorkerState
from hookline.settings import Settings
from hookline.workers.api import Worker

if TYPE_CHECKING:
    from hookline.admin.server import AdminServer
    from hookline.admin.tracing import Tracing
    from hookline.broker.spool.spool import Spool

log = logging.getLogger("hookline.admin")

_NOT_OPEN = "it starts, and does not have all that it needs yet"


class Observing:
    """Serves the operator's port while it is entered. Implements `admin.pages.Pages`.

    With `[admin] port = 0` nothing is counted or served, and `observer` sees nothing.
    """

    def __init__(self, settings: Settings, roles: Roles) -> None:
        self._inspected = settings
        self._broker = broker_name(settings)
        self._settings = settings.admin
        self._roles = roles
        self._metrics = Metrics(roles.process)
        self._parts: list[Watched] = []
        self._is_open = False
        self._tasks: list[asyncio.Task[None]] = []
        self._server: AdminServer | None = None
        self._tracing = _tracing(settings, roles)
        self.observer: Observer = self._metrics if self._is_on else NOBODY
        self.workers: Callable[[], Sequence[WorkerState]] = lambda: ()
        self._blocked: Callable[[], BlockedState | None] = lambda: None
        self._broker_fault: Callable[[], str] = lambda: ""
        self._spool_fault: Callable[[], str | None] = lambda: None
        self._metrics.gauge("ready", lambda: {(): int(not self.faults)})
        self._metrics.gauge("log_dropped_total", _log_dropped)

    @property
    def _is_on(self) -> bool:
        return bool(self._settings.port)

    async def __aenter__(self) -> Self:
        if self._is_on and (self._roles.admin_socket is not None or not self._roles.supervised):
            self._tasks.append(start_lasting(self._serve(), "the start of the operator's port"))
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._server is not None:
            await self._server.stop()
        if self._tracing is not None:
            await self._tracing.close()

    @property
    def faults(self) -> list[str]:
        """What keeps the process from doing its work now."""
        found = [fault for part in self._parts for fault in part.faults]
        return found if self._is_open else [*found, _NOT_OPEN]

    def use(self, settings: Settings) -> None:
        """Take the token and the sources of settings that were read anew, and the name of their broker."""
        self._broker = broker_name(settings)
        self._settings = msgspec.structs.replace(self._settings, token=settings.admin.token)
        self._metrics.expect(settings.sources)
        if self._server is not None and self._roles.admin_socket is None:
            self._server.use_token(self._settings.token)

    def watch(self, *parts: Watched) -> None:
        """Ask these parts, too, whether the process is ready."""
        self._parts += parts

    def gauge(self, name: str, read: Callable[[], Values]) -> None:
        """Show a gauge that a part keeps."""
        self._metrics.gauge(name, read)

    @property
    def traces(self) -> bool:
        """Whether requests and calls are traced."""
        return self._tracing is not None

    def traced(self, worker: Worker[Any]) -> Worker[Any]:
        """The worker with a span around each call of its function, if there are traces."""
        if self._tracing is None:
            return worker
        return replace(worker, middleware=(self._tracing.middleware(worker.queue), *worker.middleware))

    def traced_publisher(self, publisher: Publisher) -> Publisher:
        """The publisher with a span around each event, if there are traces."""
        return publisher if self._tracing is None else self._tracing.publisher(publisher)

    def watch_spool(self, spool: "Spool | None") -> None:
        """Show what is in the spool, if there is one."""
        if spool is None:
            return
        self._spool_fault = lambda: spool.fault
        self._metrics.spooled = lambda: spool.counts.spooled
        self.gauge("spool_events", lambda: {(): spool.status.events})
        self.gauge("spool_bytes", lambda: {(): spool.status.bytes})
        self.gauge("spool_oldest_seconds", lambda: {(): spool.status.oldest_age_s})
        self.gauge("spool_usable", lambda: {(): int(spool.fault is None)})
        self.gauge("spool_set_aside_total", lambda: {(): spool.counts.set_aside})

    def watch_broker(self, publisher: Publisher) -> None:
        """Show why the queue takes no events, which a spool hides from readiness."""
        self._broker_fault = lambda: publisher.reason
        self.gauge("broker_fault", lambda: {publisher.reason: 1} if publisher.reason else {})

    def watch_loop(self, watch: LoopWatch) -> None:
        """Show for how long the event loop did not run."""
        self._blocked = watch.blocked
        self.gauge("loop_blocked_seconds_total", lambda: {(): watch.blocked_s})

    def opened(self, broker: Broker, queues: Sequence[str], sources: Sequence[str]) -> None:
        """Everything is open. Look at these queues from now on; an ingress looks at all."""
        self._is_open = True
        self._metrics.expect(sources, queues)
        is_first = self._roles.process in (None, 1)  # one of several processes is enough
        if self._is_on and is_first:
            of_all = self._roles.ingress and not queues
            poll = QueuePoll(broker.queue_states, self._metrics, None if of_all else queues)
            self._tasks.append(start_lasting(poll.keep(), "looking at the queues for the metrics"))

    async def metrics(self) -> bytes:
        return self._metrics.text()

    async def readiness(self) -> ReadinessPage:
        faults = self.faults
        return ReadinessPage(ready=not faults, role=self._roles.name, reasons=faults)

    async def processes(self) -> Sequence[ProcessState]:
        faults = self.faults
        return [
            ProcessState(
                role=self._roles.name,
                pid=os.getpid(),
                version=version("hookline"),
                broker=self._broker,
                ready=not faults,
                reasons=faults,
                workers=self.workers(),
                blocked=self._blocked(),
                broker_fault=self._broker_fault(),
                spool_fault=self._spool_fault() or "",
            )
        ]

    async def _serve(self) -> None:
        """Load the web server in a thread, so that a worker's start does not wait for it, and listen."""
        module = await asyncio.to_thread(importlib.import_module, "hookline.admin.server")
        path = self._roles.admin_socket
        if path is None:
            self._server = module.AdminServer(self, self._settings, self._inspected)
            await self._server.start()
        else:  # only the supervisor's user may use the folder of the socket
            self._server = module.AdminServer(self, AdminSettings())
            with suppress(OSError):  # the supervisor may have ended
                await self._server.start_on(path)


def _tracing(settings: Settings, roles: Roles) -> "Tracing | None":
    """Raises SettingsError if the libraries are missing."""
    if not settings.tracing.endpoint:
        return None
    with optional_libraries("opentelemetry", "tracing.endpoint: traces need libraries"):
        from hookline.admin.tracing import Tracing  # noqa: PLC0415  an extra
    return Tracing(settings.tracing, roles.name)


def _log_dropped() -> Values:
    return {(): sum(each.dropped_total for each in queued_handlers())}
