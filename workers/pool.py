"""Runs an unordered worker: as many deliveries at a time as it allows, until it is stopped."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from hookline.schemas.broker import Queue
from hookline.workers.fast_lane import Entry, FastLane
from hookline.workers.pipeline import Pipeline
from hookline.workers.work import Work

Report = Callable[[str, Sequence[tuple[Work, float]]], None]
"""Called for settled deliveries with the queue, each work with its outcome, and the seconds that it took."""

_GATHER_S = 0.01
"""Below its capacity a worker would finish most events alone. Each would wake two threads and be synced by itself."""


def timed(entries: Sequence[Entry[Any]], works: Sequence[Work]) -> Sequence[tuple[Work, float]]:
    """Each work with the seconds since it was begun."""
    now_s = time.monotonic()
    return [(work, now_s - entry.started_s) for entry, work in zip(entries, works, strict=True)]


class Pool:
    """An unordered worker in one process."""

    def __init__(self, pipeline: Pipeline, queue: Queue, report: Report) -> None:
        self._pipeline = pipeline
        self._queue = queue
        self._report = report
        self._has_room = asyncio.Event()
        self._lane: FastLane[None] = FastLane(
            pipeline, self._work, self._end, self._done, self._has_room.set, gather_s=_GATHER_S
        )
        self._taking = asyncio.create_task(self._take())

    @property
    def in_flight(self) -> int:
        """How many deliveries it works on."""
        return self._lane.in_flight

    @property
    def unsettled(self) -> int:
        """How many messages it has of the broker and has not settled: some wait for their turn."""
        return self._queue.unsettled

    async def run(self) -> None:
        """Work until `drain` is called. Raises what a part of it fails with."""
        parts = [self._taking, asyncio.create_task(self._lane.run())]
        try:
            ended, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            parts[1].cancel()
        for part in ended:
            if not part.cancelled():
                part.result()

    async def drain(self, grace_s: float) -> bool:
        """Take nothing new, let events in flight finish for `grace_s` seconds, and cancel the rest.

        Whether broker or store answered nothing.
        """
        self._taking.cancel()
        self._pipeline.admission.close()
        return await self._lane.drain(grace_s)

    async def close(self) -> None:
        """After `drain`: return what is not settled to the queue."""
        await self._queue.close()

    async def _take(self) -> None:
        """Take what has arrived, as much as may be in flight."""
        queue, breaker, observer = self._pipeline.worker.queue, self._pipeline.breaker, self._pipeline.observer
        while True:
            while (room := self._lane.limit - self._lane.in_flight) <= 0:
                self._has_room.clear()
                await self._has_room.wait()
            if breaker.is_open:
                await breaker.admitted()
                room = 1
            received = [await self._queue.take(), *self._queue.take_arrived(room - 1)]
            started_s = time.monotonic()
            observer.fetched(queue, received)
            self._lane.begin([Entry(each, None, started_s) for each in received])

    def _work(self, entry: Entry[None]) -> Awaitable[Work]:
        return self._pipeline.take(entry.received)

    async def _end(self, entry: Entry[None], work: Work) -> None:
        await self._pipeline.settle(self._queue, work, partial(self._settled, [entry], [work]))

    def _done(self, entries: Sequence[Entry[None]], works: Sequence[Work]) -> None:
        self._queue.done([entry.received for entry in entries])
        self._settled(entries, works)

    def _settled(self, entries: Sequence[Entry[None]], works: Sequence[Work]) -> None:
        self._report(self._pipeline.worker.queue, timed(entries, works))
