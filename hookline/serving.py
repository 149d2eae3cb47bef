"""Running the door and the workers in one process, from start to a stop that loses nothing."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

from hookline.logs import report
from hookline.settings import Settings
from hookline.wiring import Installation, shown
from ingress.receive import Receiver
from ingress.server import Ingress
from schemas.broker import Broker, Publisher
from schemas.errors import Unreachable
from workers import Worker
from workers.ordered_pool import OrderedPool, prefetch
from workers.pipeline import Pipeline
from workers.pool import Pool
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
    stop = _Stop()
    async with Installation(settings) as installation, States(settings.workers.state_s) as states:
        workers = [await states.ready(worker) for worker in workers]
        broker = await installation.broker()
        ours = [rooms_worker(await installation.room_log())] if rooms else []
        pools = await _start_pools([*ours, *workers], broker, await installation.store()) if ours or workers else []
        door = await _open_door(settings, broker.publisher) if ingress else None
        log.info("queue: %s; Ctrl-C stops", shown(settings.broker.url))
        died = [asyncio.create_task(pool.run()) for pool in pools]
        try:
            await stop.wait(died)
        finally:
            log.info("stopping")
            await stop.unless_hurried(_close(door, pools, settings.workers.shutdown_s), lambda: _close(None, pools, 0))
            for task in died:
                task.cancel()


async def _start_pools(workers: Sequence[Worker[Any]], broker: Broker, store: Store) -> list[Pool | OrderedPool]:
    pools: list[Pool | OrderedPool] = []
    solitude = Solitude()
    pipelines = [Pipeline(worker, store, solitude) for worker in workers]
    for pipeline in pipelines:
        worker = pipeline.worker
        pools.append(await (_start_pool if worker.order is None else _start_ordered)(pipeline, broker, store))
        log.info("worker %-12s handles %s", worker.queue, ", ".join(p.removeprefix("*.*.") for p in worker.patterns))
    return pools


async def _start_pool(pipeline: Pipeline, broker: Broker, _: Store) -> Pool:
    worker = pipeline.worker
    # Some of the next ones are at hand while these are handled, and few are held back from other processes.
    queue = await broker.subscribe(worker.queue, worker.patterns, prefetch=2 * worker.concurrency)
    return Pool(pipeline, queue, report)


async def _start_ordered(pipeline: Pipeline, broker: Broker, store: Store) -> OrderedPool:
    worker = pipeline.worker
    await broker.declare_partitions(worker.queue, worker.patterns)
    open_ = partial(broker.subscribe, worker.queue, worker.patterns, prefetch(worker))
    return OrderedPool(pipeline, store, open_, report)


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
