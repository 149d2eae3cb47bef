"""Makes the pool of each worker: its pipeline, its breaker, its subscription, and what is done with its outcomes."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

from hookline.runtime.logs import log_written
from hookline.runtime.observing import Observing
from hookline.runtime.outcome_log import OutcomeLog
from hookline.runtime.running_workers import RunningWorkers
from hookline.schemas.broker import Broker
from hookline.settings_sections import WorkersSettings
from hookline.workers.admission import ExclusiveGate
from hookline.workers.api import Worker
from hookline.workers.breaker import Breaker
from hookline.workers.normaliser import Normalise
from hookline.workers.ordered_pool import OrderedPool
from hookline.workers.pipeline import Pipeline
from hookline.workers.pool import Pool, Report
from hookline.workers.prefetch import longest_unsettled_s, partition_prefetch, prefetch
from hookline.workers.store import Store
from hookline.workers.work import Work

log = logging.getLogger("hookline")

AnyPool: TypeAlias = Pool | OrderedPool

_SHOWN_PATTERNS = 8


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

    async def pool(self, worker: Worker[Any]) -> AnyPool:
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
