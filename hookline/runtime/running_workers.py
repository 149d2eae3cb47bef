"""What the workers of one process are doing, for its metrics and for `hookline status`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

from hookline.runtime.observing import Observing
from hookline.schemas.process_states import HeldBackState, WorkerState
from hookline.workers.ordered_pool import OrderedPool
from hookline.workers.pipeline import Pipeline
from hookline.workers.pool import Pool


class _Running(NamedTuple):
    pipeline: Pipeline
    pool: Pool | OrderedPool


_Read: TypeAlias = Callable[[_Running], float]

_GAUGES: Mapping[str, _Read] = {
    "in_flight": lambda each: each.pool.in_flight,
    "unsettled": lambda each: each.pool.unsettled,
    "concurrency": lambda each: each.pipeline.worker.concurrency,
    "running_calls": lambda each: len(each.pipeline.handler.calls),
    "overdue_calls": lambda each: each.pipeline.handler.calls.overdue,
    "oldest_call_seconds": lambda each: each.pipeline.handler.calls.oldest_s,
    "breaker_open": lambda each: int(each.pipeline.breaker.is_open),
}


class RunningWorkers:
    """Shows the workers that are added to it."""

    def __init__(self, observing: Observing) -> None:
        self._running: list[_Running] = []
        observing.workers = self.states
        for name, read in {**_GAUGES, "held_subjects": _held_subjects}.items():
            observing.gauge(name, partial(self._values, read))

    def add(self, pipeline: Pipeline, pool: Pool | OrderedPool) -> None:
        """Show this worker, too."""
        self._running.append(_Running(pipeline, pool))

    def states(self) -> Sequence[WorkerState]:
        """Each worker now, with its oldest call."""
        return [_state(each) for each in self._running]

    def _values(self, read: _Read) -> Mapping[str, float]:
        return {each.pipeline.worker.queue: read(each) for each in self._running}


def _state(running: _Running) -> WorkerState:
    worker, calls = running.pipeline.worker, running.pipeline.handler.calls
    return WorkerState(
        queue=worker.queue,
        concurrency=worker.concurrency,
        timeout_s=worker.timeout_s,
        running=len(calls),
        overdue=calls.overdue,
        unsettled=running.pool.unsettled,
        oldest_call=calls.oldest,
        held_back=_held_back(running),
    )


def _held_back(running: _Running) -> HeldBackState | None:
    return running.pool.held_back if isinstance(running.pool, OrderedPool) else None


def _held_subjects(running: _Running) -> int:
    held_back = _held_back(running)
    return 0 if held_back is None else held_back.subjects
