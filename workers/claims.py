"""What a worker has the store record of its events: claimed, completed or released; and which of them are late."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from hookline.schemas.broker import Again, Outcome, Parked
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.workers.api import Worker
from hookline.workers.store import Acquired, Claim, Store, TransactionalStore
from hookline.workers.work import Case

PREFETCH_FACTOR = 16
"""How many deliveries may be in flight for each that is handled."""
_CLAIM_MARGIN_S = 30.0


class Claims:
    """The store, for one worker. Raises SettingsError if the worker is transactional and the store is not."""

    def __init__(self, worker: Worker[Any], store: Store) -> None:
        self._store = store
        self._transactional = _transactional(store, worker) if worker.transactional else None
        self._queue = worker.queue
        self._is_ordered = worker.order is not None
        self._claim_s = PREFETCH_FACTOR * worker.timeout_s + _CLAIM_MARGIN_S  # the events ahead of it, and itself
        self._watermark = SubjectWatermark(PREFETCH_FACTOR * worker.concurrency)

    async def acquire(self, case: Case) -> Claim:
        """Claim an event. Raises Unreachable."""
        try:
            return await self._store.claim(self._queue, case.key, self._claim_s, case.subject)
        except asyncio.CancelledError:  # the store may have carried it out
            await self.release(case)
            raise

    def is_late(self, claim: Acquired, case: Case) -> bool:
        """Whether an event that occurred later was handled before it, of the same subject."""
        return self._watermark.is_late(claim, case.subject, case.occurred_s)

    async def mark_exclusive(self, case: Case) -> None:
        """Record that a crash from now on is this event's. Raises Unreachable."""
        await self._store.mark_exclusive(self._queue, case.key)

    @asynccontextmanager
    async def transaction(self, case: Case) -> AsyncIterator[Any]:
        """What a transactional worker writes through; None for others.

        On leaving, its writes are committed together with the completion. Raises AlreadyFinished, with nothing
        written, if another process was faster.
        """
        if self._transactional is None:
            yield None
            return
        async with self._transactional.transaction(
            self._queue, case.key, subject=case.subject, occurred_s=case.occurred_s
        ) as transaction:
            yield transaction
        self._watermark.advance(case.subject, case.occurred_s)

    async def complete(self, case: Case) -> None:
        """Record that the event is finished. Raises Unreachable."""
        if case.subject is not None:
            self._watermark.advance(case.subject, case.occurred_s)
        await self._store.finish(self._queue, case.key, subject=case.subject, occurred_s=case.occurred_s)

    async def release(self, case: Case, outcome: Outcome | None = None) -> None:
        """Give a claim up. The store counts the attempts of an event that an ordered worker retries in place."""
        failed = self._is_ordered and isinstance(outcome, Again) and outcome.attempt > case.attempt
        with suppress(Unreachable):
            await self._store.release(self._queue, case.key, failed=failed, parked=isinstance(outcome, Parked))


class SubjectWatermark:
    """The newest handled event of each subject, as the store said with a claim and as this process has seen since.

    Between a claim and the call of the function, other events of the subject may be handled. Those of this process are
    recorded here, for the last `remembered` subjects: as many as events are in flight. Those of other processes are
    known with the next claim.
    """

    def __init__(self, remembered: int) -> None:
        self._remembered = remembered
        self._newest: dict[str, float] = {}

    def advance(self, subject: str | None, occurred_s: float) -> None:
        """Record that an event of the subject was handled."""
        if subject is None:
            return
        self._newest[subject] = max(occurred_s, self._newest.pop(subject, occurred_s))
        if len(self._newest) > self._remembered:
            del self._newest[next(iter(self._newest))]

    def is_late(self, claim: Acquired, subject: str | None, occurred_s: float) -> bool:
        """Whether a claimed event is late, if its function is called now."""
        if subject is None:
            return False
        newest_s = self._newest.get(subject, occurred_s)
        return occurred_s < (newest_s if claim.newest_s is None else max(newest_s, claim.newest_s))


def _transactional(store: Store, worker: Worker[Any]) -> TransactionalStore:
    if not isinstance(store, TransactionalStore):
        raise SettingsError(f"store.url: the worker {worker.queue} is transactional, which takes SQLite or PostgreSQL")
    return store
