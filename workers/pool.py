"""Runs an unordered worker: as many deliveries at a time as it allows, until it is stopped."""

import asyncio
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from hookline.schemas.broker import Queue
from hookline.workers.admission import PREFETCH_FACTOR
from hookline.workers.api import Worker
from hookline.workers.draining import drain
from hookline.workers.pipeline import Pipeline
from hookline.workers.work import Work

Report = Callable[[str, Work, float], None]
"""Called for each settled delivery with the queue, the work with its outcome, and the seconds that it took."""

_MAX_PREFETCH = 256  # more save a store little, and each is a crash suspect if the process dies


def prefetch(worker: Worker[Any]) -> int:
    """How many deliveries a process has in flight at most, while calls are short: more than it handles at a time.

    While some are handled, others are claimed or completed, so that the store is asked for many at once.
    """
    return max(worker.concurrency, min(PREFETCH_FACTOR * worker.concurrency, _MAX_PREFETCH))


def prefetch_while_slow(worker: Worker[Any]) -> int:
    """How many deliveries a process has in flight while calls are long: the next one is there when a call ends.

    More would be kept from other processes, and would have died with this one if it is killed.
    """
    return 2 * worker.concurrency


def longest_unsettled_s(worker: Worker[Any], fetched: int) -> float:
    """How long a message may be in the process, if it is the last of so many and every call takes all of its time."""
    return worker.timeout_s * (math.ceil(fetched / worker.concurrency) + 1)


class Pool:
    """The consuming loops of one worker in one process."""

    def __init__(self, pipeline: Pipeline, queue: Queue, report: Report) -> None:
        self._pipeline = pipeline
        self._queue = queue
        self._report = report
        self._idle: set[asyncio.Task[None]] = set()
        self._stopping = False
        always = prefetch_while_slow(pipeline.worker)
        self._loops = [
            asyncio.create_task(self._loop(ahead=number >= always)) for number in range(prefetch(pipeline.worker))
        ]

    @property
    def in_flight(self) -> int:
        """How many deliveries it works on."""
        return len(self._loops) - len(self._idle)

    async def run(self) -> None:
        """Work until `drain` is called. Raises what a loop fails with: a pool never goes on with fewer loops."""
        ended, _ = await asyncio.wait(self._loops, return_when=asyncio.FIRST_EXCEPTION)
        for loop in ended:
            if not loop.cancelled():
                loop.result()

    async def drain(self, grace_s: float) -> None:
        """Take nothing new, let events in flight finish for `grace_s` seconds, and cancel the rest."""
        self._stopping = True
        self._pipeline.admission.close()
        for loop in self._idle:
            loop.cancel()
        await drain(self._loops, grace_s, self._pipeline.handler.is_calling)

    async def close(self) -> None:
        """After `drain`: return what is not settled to the queue."""
        await self._queue.close()

    async def _loop(self, *, ahead: bool) -> None:
        this = cast("asyncio.Task[None]", asyncio.current_task())
        while not self._stopping:
            self._idle.add(this)
            if ahead and not self._pipeline.handler.latency.is_quick:
                await self._pipeline.handler.latency.quick()
            if self._pipeline.breaker.is_open:
                await self._pipeline.breaker.admitted()
            received = await self._queue.take()
            self._idle.discard(this)
            self._pipeline.observer.fetched(self._pipeline.worker.queue, received)
            started = time.monotonic()
            work = await self._pipeline.take(received)
            if work.held:
                await self._pipeline.settle(self._queue, work, partial(self._settled, work, started))
            else:
                await self._queue.settle(received, work.outcome)
                self._settled(work, started)

    def _settled(self, work: Work, started: float) -> None:
        self._report(self._pipeline.worker.queue, work, time.monotonic() - started)
