"""Runs a worker: as many deliveries at a time as it allows, until told to stop."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

from hookline.schemas.broker import Queue
from hookline.workers.api import Worker
from hookline.workers.claims import PREFETCH_FACTOR
from hookline.workers.pipeline import Pipeline
from hookline.workers.work import Work

Report = Callable[[str, Work, float], None]
"""Told of each settled delivery: the queue, the work with its outcome, and the seconds it took."""

_ENOUGH = 256  # more cost a store hardly less, and each would be a suspect if the process died


def prefetch(worker: Worker[Any]) -> int:
    """How many deliveries a process works on, and is given, at most: more than it handles at a time.

    Those are claimed, or marked as finished, meanwhile, so that the store is asked for many at once. While calls are
    long a Pool has twice as many at most: whatever is in hand here is held back from other processes. An ordered one
    does not look at that: its partitions are nobody else's.
    """
    return max(worker.concurrency, min(PREFETCH_FACTOR * worker.concurrency, _ENOUGH))


class Pool:
    """The loops of one worker in one process."""

    def __init__(self, pipeline: Pipeline, queue: Queue, report: Report) -> None:
        self._pipeline = pipeline
        self._queue = queue
        self._report = report
        self._idle: set[asyncio.Task[None]] = set()
        self._stopping = False
        always = 2 * pipeline.worker.concurrency  # so that whoever may be handled next is there
        self._loops = [
            asyncio.create_task(self._loop(ahead=number >= always)) for number in range(prefetch(pipeline.worker))
        ]

    async def run(self) -> None:
        """Work until `stop` is called. Raises whatever a loop dies of: a pool that works with fewer hands is a bug."""
        ended, _ = await asyncio.wait(self._loops, return_when=asyncio.FIRST_EXCEPTION)
        for loop in ended:
            if not loop.cancelled():
                loop.result()

    async def stop(self, grace_s: float) -> None:
        """Take nothing new, let what is in hand finish for `grace_s` seconds, and give back the rest."""
        self._stopping = True
        self._pipeline.admission.close()
        for loop in self._idle:
            loop.cancel()
        _, late = await asyncio.wait(self._loops, timeout=grace_s)
        for loop in late:
            loop.cancel()
        if late:
            await asyncio.wait(late)
        await self._queue.close()

    async def _loop(self, *, ahead: bool) -> None:
        this = cast("asyncio.Task[None]", asyncio.current_task())
        while not self._stopping:
            self._idle.add(this)
            if ahead:
                await self._pipeline.handler.latency.quick()
            received = await self._queue.take()
            self._idle.discard(this)
            started = time.monotonic()
            work = await self._pipeline.work(received)
            await self._queue.settle(received, work.outcome)
            self._report(self._pipeline.worker.queue, work, time.monotonic() - started)
