"""Calls of a worker's function: each waits for its place, and is left out if the event is superseded meanwhile."""

import time
from typing import Any

from hookline.schemas.errors import SettingsError
from hookline.schemas.observer import NOBODY
from hookline.workers.admission import Admission
from hookline.workers.api import Worker
from hookline.workers.failure_policy import ClaimUnavailable, ProcessDied
from hookline.workers.handler import Handler
from hookline.workers.store import Acquired, Store, TransactionalStore
from hookline.workers.subject_watermark import SubjectWatermark
from hookline.workers.work import HANDLED, SUPERSEDED, Case, Ending


class GuardedCalls:
    """The calls of one worker. Raises SettingsError if the worker is transactional and the store is not."""

    def __init__(
        self,
        worker: Worker[Any],
        store: Store,
        admission: Admission,
        handler: Handler,
        watermark: SubjectWatermark,
    ) -> None:
        self.observer = NOBODY
        self._worker = worker
        self._store = store
        self._admission = admission
        self._handler = handler
        self._watermark = watermark
        self._transactional = _transactional(store, worker) if worker.transactional else None

    async def enter_and_call(self, case: Case, claim: Acquired) -> Ending:
        """As `_call`, once it is admitted. The caller has admitted a crash suspect, which is handled alone."""
        if claim.crashes:
            self._check_crashes(case, claim)
        if claim.crash_suspect:
            return await self._call(case, claim)
        if not self._admission.try_enter():
            await self._admission.enter()
        try:
            return await self._call(case, claim)
        finally:
            self._admission.leave()

    async def _call(self, case: Case, claim: Acquired) -> Ending:
        """Call the function, unless the event is superseded by now, or another process has it.

        It has been admitted, and is no crash suspect or runs alone.
        """
        ending = self.expected(case, claim)
        if ending.outcome is not HANDLED:
            return ending
        if self._worker.transactional or claim.deaths:  # crash suspects are among these
            await self._call_carefully(case, claim, late=ending.late)
        else:
            await self._handler.call(case, late=ending.late)
        return ending

    def expected(self, case: Case, claim: Acquired) -> Ending:
        """How the event ends if its call returns; if it is not HANDLED, it is not called. Raises ClaimUnavailable."""
        late = case.subject is not None and self._watermark.is_late(claim, case.subject, case.occurred_s)
        if late and self._worker.latest_only:
            return Ending(SUPERSEDED, case.attempt, late)
        if not self._store.holds(self._worker.queue, case.key):
            raise ClaimUnavailable
        return Ending(HANDLED, case.attempt, late)

    async def repeat(self, case: Case) -> None:
        """Call the function for an event that is finished."""
        await self._admission.enter()
        try:
            await self._handler.call(case, late=False)
        finally:
            self._admission.leave()

    async def _call_carefully(self, case: Case, claim: Acquired, *, late: bool) -> None:
        """A crash suspect is marked before its call. What a transactional function writes is committed after it."""
        if claim.crash_suspect:
            await self._store.mark_exclusive(self._worker.queue, case.key)
        if self._transactional is None:
            await self._call_if_held(case, late=late)
            return
        started_s = time.monotonic()
        async with self._transactional.transaction(
            self._worker.queue,
            case.key,
            timeout_s=self._worker.timeout_s,
            subject=case.subject,
            occurred_s=case.occurred_s,
        ) as transaction:
            called_s = time.monotonic()
            await self._call_if_held(case, late=late, transaction=transaction)
            returned_s = time.monotonic()
        self.observer.stored("transaction", called_s - started_s + time.monotonic() - returned_s)
        self._watermark.advance(case.subject, case.occurred_s)

    async def _call_if_held(self, case: Case, *, late: bool, transaction: Any = None) -> None:
        """Call the function unless the claim was lost meanwhile: the process may have been frozen as it waited."""
        if not self._store.holds(self._worker.queue, case.key):
            raise ClaimUnavailable
        await self._handler.call(case, late=late, transaction=transaction)

    def _check_crashes(self, case: Case, claim: Acquired) -> None:
        """Raise ProcessDied if the event has crashed its process as often as it may fail. Others are not counted."""
        if case.attempt + claim.crashes > self._worker.retry.attempts:
            raise ProcessDied(f"the process died {claim.crashes} times while it handled this event alone")


def _transactional(store: Store, worker: Worker[Any]) -> TransactionalStore:
    if not isinstance(store, TransactionalStore):
        raise SettingsError(f"store.url: the worker {worker.queue} is transactional, which takes SQLite or PostgreSQL")
    return store
