"""Running the door and the workers in one process, from start to a stop that loses nothing."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

from hookline.settings import Settings
from hookline.tally import Tally
from hookline.wiring import Installation, shown
from ingress.receive import Receiver
from ingress.server import Ingress
from schemas.broker import Broker, Publisher
from schemas.errors import Unreachable
from workers import Worker
from workers.ordered_pool import OrderedPool, prefetch
from workers.pipeline import Pipeline
from workers.pool import Pool, Report
from workers.rooms import rooms_worker
from workers.solitude import Solitude
from workers.state import States
from workers.store import Store

Closing: TypeAlias = Coroutine[Any, Any, None]

log = logging.getLogger("hookline")

_AT_ONCE_S = 5.0


async def serve(settings: Settings, *, ingress: bool, workers: Sequence[Worker[Any]], rooms: bool) -> None:
    """Run these roles until SIGTERM or SIGINT; a second signal cuts the waiting short.

    Order of the end: readiness off, requests answered and confirmed, events in hand handled or given back, workers'
    states closed, then broker and store. Raises Unreachable, SettingsError, NotStarted, or what a part died of.
    """
    stop, tally = _Stop(), Tally()
    async with Installation(settings) as installation, States(settings.workers.state_s) as states:
        workers = [await states.ready(worker) for worker in workers]
        broker = await installation.broker()
        ours = [rooms_worker(await installation.room_log())] if rooms else []
        starting = _Starting(broker, await installation.store(), tally.report) if ours or workers else None
        pools = [await starting.pool(worker) for worker in (*ours, *workers)] if starting else []
        door = await _open_door(settings, broker.publisher) if ingress else None
        log.info("queue: %s; Ctrl-C stops", shown(settings.broker.url))
        died = [asyncio.create_task(pool.run()) for pool in pools]
        try:
            await stop.wait(died)
        finally:
            log.info("stopping")
            await stop.unless_hurried(_close(door, pools, settings.workers.shutdown_s), lambda: _close(None, pools, 0))
            tally.tell()
            for task in died:
                task.cancel()


class _Starting:
    """Starts workers that share a broker, a store, and the process that one of them may kill."""

    def __init__(self, broker: Broker, store: Store, report: Report) -> None:
        self._broker = broker
        self._store = store
        self._report = report
        self._solitude = Solitude()

    async def pool(self, worker: Worker[Any]) -> Pool | OrderedPool:
        pipeline = Pipeline(worker, self._store, self._solitude)
        pool = await (self._unordered(pipeline) if worker.order is None else self._ordered(pipeline))
        log.info("worker %-12s handles %s", worker.queue, ", ".join(p.removeprefix("*.*.") for p in worker.patterns))
        return pool

    async def _unordered(self, pipeline: Pipeline) -> Pool:
        worker = pipeline.worker
        # Some of the next ones are at hand while these are handled, and few are held back from other processes.
        queue = await self._broker.subscribe(worker.queue, worker.patterns, prefetch=2 * worker.concurrency)
        return Pool(pipeline, queue, self._report)

    async def _ordered(self, pipeline: Pipeline) -> OrderedPool:
        worker = pipeline.worker
        await self._broker.declare_partitions(worker.queue, worker.patterns)
        open_ = partial(self._broker.subscribe, worker.queue, worker.patterns, prefetch(worker))
        return OrderedPool(pipeline, self._store, open_, self._report)


async def _open_door(settings: Settings, publisher: Publisher) -> Ingress:
    receiver = Receiver(settings.sources, publisher, settings.ingress, settings.trusted_proxies)
    door = Ingress(receiver, settings.ingress)
    try:
        port = await door.start()
    except OSError as error:
        raise Unreachable(f"cannot listen on {settings.ingress.host}:{settings.ingress.port}: {error}") from None
    log.info("listening on http://%s:%d", settings.ingress.host, port)
    for source in settings.sources.values():
        log.info("source %-12s of %-10s POST /hooks/%s", source.name, source.provider.name, source.name)
    return door


async def _close(door: Ingress | None, pools: Sequence[Pool | OrderedPool], shutdown_s: float) -> None:
    if door is not None:
        await door.stop()
    await asyncio.gather(*(pool.stop(shutdown_s) for pool in pools))


class _Stop:
    """The two signals: the first asks to stop, the second to hurry."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signal)

    def _signal(self) -> None:
        (self._hurried if self._asked.is_set() else self._asked).set()

    async def wait(self, running: Sequence[asyncio.Task[None]]) -> None:
        """Until somebody asks to stop, or a part ends by itself; raises what it died of."""
        asked = asyncio.create_task(self._asked.wait())
        done, _ = await asyncio.wait([asked, *running], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        for task in done - {asked}:
            task.result()

    async def unless_hurried(self, closing: Closing, at_once: Callable[[], Closing]) -> None:
        """Await the closing, but give up on it at the second signal, and close at once then."""
        task = asyncio.create_task(closing)
        hurried = asyncio.create_task(self._hurried.wait())
        await asyncio.wait([task, hurried], return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if task.done():
            task.result()
        else:
            log.warning("giving back what is in hand")
            task.cancel()
            with suppress(TimeoutError):  # a function that does not let itself be cancelled
                async with asyncio.timeout(_AT_ONCE_S):
                    await asyncio.wait([task])
                    await at_once()
