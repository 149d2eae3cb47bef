"""Calls workers with what arrives, once and in memory, to show what they do."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hookline.schemas import topics
from hookline.schemas.broker import Outcome, Received
from hookline.schemas.envelope import Envelope, to_headers
from hookline.workers.api import Worker
from hookline.workers.normaliser import Normalise
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import MemoryStore


@dataclass(frozen=True, slots=True)
class Called:
    """What became of a callback at one worker."""

    envelope: Envelope
    queue: str
    outcome: Outcome
    ms: float
    at: datetime

    @property
    def source(self) -> str:
        return self.envelope.source

    @property
    def routing_key(self) -> str | None:
        return self.envelope.routing_key


class Trial:
    """Workers without queues. A callback that fails is not tried again, and a repeat is known as one."""

    def __init__(self, workers: Sequence[Worker[Any]], normalise: Normalise, tell: Callable[[Called], None]) -> None:
        """Raises SettingsError for a transactional worker: there is no database."""
        self._pipelines = [Pipeline(worker, MemoryStore(), normalise=normalise) for worker in workers]
        self._tell = tell
        self._running: set[asyncio.Task[None]] = set()

    def call(self, envelope: Envelope) -> None:
        """Call the workers that want this callback, without waiting for them."""
        for pipeline in self._pipelines:
            if any(topics.matches(topics.binding(each), envelope.routing_key) for each in pipeline.worker.patterns):
                task = asyncio.create_task(self._call(pipeline, envelope))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _call(self, pipeline: Pipeline, envelope: Envelope) -> None:
        received = Received(to_headers(envelope), envelope.content_type, envelope.body, attempt=1, token=None)
        started_s = time.perf_counter()
        work = await pipeline.work(received, last=True)
        ms = round((time.perf_counter() - started_s) * 1000, 1)
        self._tell(Called(envelope, pipeline.worker.queue, work.outcome, ms, datetime.now(UTC)))

    async def close(self, timeout_s: float) -> None:
        """Wait for running calls for so long, then cancel them."""
        running = set(self._running)
        if running:
            _, late = await asyncio.wait(running, timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
