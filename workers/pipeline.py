"""The way of one delivery through a worker: open, normalise, claim, handle; the pool settles it with the outcome."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Self, assert_never, cast

import msgspec

from hookline.schemas.broker import Parked, Queue, Received
from hookline.schemas.dead_letters import EVENTS
from hookline.schemas.envelope import Envelope, from_headers, occurrence_s
from hookline.schemas.events import CanonicalEvent
from hookline.schemas.observer import NOBODY, Observer
from hookline.schemas.providers import catalogue
from hookline.workers.admission import Admission, ExclusiveGate
from hookline.workers.api import Worker
from hookline.workers.attempts import (
    copy_number,
    is_surplus,
    noted_end,
    passed_on,
    starts_anew,
    used_attempts,
    was_tried,
)
from hookline.workers.breaker import NEVER_OPENS, Breaker
from hookline.workers.claims_ahead import ClaimsAhead
from hookline.workers.failed_attempts import FailedAttempts
from hookline.workers.failure_policy import AlreadyTried, ClaimUnavailable
from hookline.workers.guarded_calls import GuardedCalls
from hookline.workers.handler import Handler
from hookline.workers.held_claims import HeldClaims
from hookline.workers.normaliser import Normalise, normaliser
from hookline.workers.prefetch import most_subjects_until_a_call
from hookline.workers.siblings import Siblings, chosen
from hookline.workers.store import (
    Acquired,
    AlreadyFinished,
    Claim,
    Duplicate,
    GroupStore,
    LeasedElsewhere,
    Store,
    UnsyncedStore,
)
from hookline.workers.subject_watermark import SubjectWatermark
from hookline.workers.unwanted import UNWANTED_AFTER_S, UnwantedDeliveries
from hookline.workers.work import DUPLICATE, HANDLED, Case, Ending, Work, event_key

log = logging.getLogger("hookline.workers")


class Pipeline:
    """A worker with its store. `take` and `settle` are the main path of the consuming side.

    `unsynced` is the store of an ordered worker if its events are settled only after `sync`.

    Raises SettingsError if the worker is transactional and the store is not, NotStarted if a middleware fails.
    """

    def __init__(
        self,
        worker: Worker[Any],
        store: Store,
        gate: ExclusiveGate | None = None,
        normalise: Normalise | None = None,
        clock: Callable[[], float] = time.time,
        unwanted_after_s: float = UNWANTED_AFTER_S,
    ) -> None:
        self.worker = worker
        self.admission = Admission(worker.concurrency, gate or ExclusiveGate())
        self.handler = Handler(worker)
        self.breaker = Breaker(worker.queue, NEVER_OPENS)
        self.observer = NOBODY
        self.log_written = _at_once
        """Waits until the log is written, if a thread writes it."""
        self.unsynced = store if worker.order is not None and isinstance(store, UnsyncedStore) else None
        self.ahead = ClaimsAhead(self._ask, partial(store.release, worker.queue))
        self._store = store
        self._groups = cast("GroupStore", store)
        self._is_grouped = isinstance(store, GroupStore) and not worker.transactional
        self._normalise = normalise or normaliser(catalogue())
        self.watermark = SubjectWatermark(most_subjects_until_a_call(worker))
        self.calls = GuardedCalls(worker, store, self.admission, self.handler, self.watermark)
        self._claims = HeldClaims(store, worker.queue)
        self.failures = FailedAttempts(worker, self._claims, clock)
        self._unwanted = UnwantedDeliveries(store, worker.queue, self._claims, unwanted_after_s)
        self._siblings = Siblings(worker, self._claims, self._unwanted)
        self._asks_for_late = (
            worker.takes_delivery or worker.latest_only or bool(worker.order and worker.order.reorder_s)
        )

    def watched(self, observer: Observer, breaker: Breaker) -> Self:
        """Tell an observer what happens, and ask a breaker whether a delivery may be taken."""
        self.observer = self.handler.observer = self.calls.observer = self._claims.observer = observer
        self.breaker = breaker
        return self

    async def work(self, received: Received, *, last: bool = False) -> Work:
        """As `take`, for a delivery that nobody settles."""
        work = await self.take(received, last=last)
        await self.let_go(work)
        return work

    async def take(self, received: Received, *, last: bool = False) -> Work:
        """Take one delivery as far as it goes. Raises nothing: whatever happens has an outcome.

        The claims on events that are passed on are held until the delivery is settled. `last`: it is parked if it
        fails, however many attempts are left.
        """
        envelope: Envelope | None = None
        events: tuple[CanonicalEvent, ...] = ()
        try:
            envelope = from_headers(received.headers, received.content_type, received.body)
            normalised = self._normalise(envelope)
            together = chosen(normalised, received.headers)
            events = tuple(filter(self.worker.wants, together))
            cases = [self._case(event, envelope, received, last=last) for event in together]
            if normalised and not events:
                ending = await self._unwanted.end(cases, envelope, received)
            elif len(cases) == 1:  # as with most deliveries
                ending = await self._claim(cases[0])
            else:
                ending = await self._siblings.end(cases, received, self._claim)
        except Exception as error:  # noqa: BLE001  a provider's module or the store may raise anything
            outcome = self.failures.outcome(error, received, envelope, received.attempt, last=last)
            return Work(received, envelope, events, outcome)
        return _ended(received, envelope, events, ending)

    async def settle(self, queue: Queue, work: Work, settled: Callable[[], None]) -> None:
        """Settle a delivery, call `settled`, and release the claims that were held for it."""
        is_passed_on = False
        try:
            is_passed_on = await queue.settle(work.received, work.outcome)
            settled()
        finally:
            await self.let_go(work, is_passed_on=is_passed_on)

    async def let_go(self, work: Work, *, is_passed_on: bool = False) -> None:
        """Release the claims that were held for a delivery. `is_passed_on`: a copy of it is surely in the queue."""
        number = copy_number(work.received.headers)
        for held in work.held:
            await self._claims.let_go(held, passed_on(number, work.outcome) if is_passed_on else number)
            if is_passed_on and isinstance(work.outcome, Parked):
                self._claims.ends.forget(held.key)

    def ordinary(self, received: Received, *, last: bool = False) -> Case | None:
        """The only event of a delivery, if it is wanted and no other delivery of it is in flight: this one is now.

        It ends with `finish_all`, `work_on`, `failed` or `give_up`. None for any other delivery, which `take` takes.
        """
        if not self._is_grouped or EVENTS in received.headers:
            return None
        try:
            envelope = from_headers(received.headers, received.content_type, received.body)
            events = self._normalise(envelope)
        except Exception:  # noqa: BLE001  `take` finds out what it is
            return None
        if len(events) != 1:
            return None
        (event,) = events
        if not self.worker.wants(event):
            return None
        case = self._case(event, envelope, received, last=last)
        is_alone = case.key not in self.ahead.asked and self.admission.keys.try_acquire(event.id)
        return case if is_alone else None

    async def claim_all(self, cases: Sequence[Case]) -> Sequence[Claim | Exception]:
        """The claims on the events of ordinary deliveries, or their errors."""
        started_s = time.monotonic()
        claims = await self._groups.claim_all(self.worker.queue, [(each.key, each.subject) for each in cases])
        self.observer.stored("claim", time.monotonic() - started_s, len(cases))
        return claims

    async def finish_all(self, called: Sequence[tuple[Case, Ending]]) -> Sequence[Work]:
        """Complete the events of ordinary deliveries whose call has returned."""
        started_s = time.monotonic()
        completions = [(case.key, case.subject, case.occurred_s) for case, _ in called]
        try:
            answers = await self._groups.finish_all(self.worker.queue, completions, synced=self.unsynced is None)
        finally:
            self.admission.keys.release(*[case.event.id for case, _ in called])
        self.observer.stored("finish", time.monotonic() - started_s, len(called))
        works = [
            Work(case.received, case.envelope, (case.event,), ending.outcome, ending.late) for case, ending in called
        ]
        if not any(answers):
            return works
        return [
            self._not_ended(case, answer) if answer else work
            for (case, _), work, answer in zip(called, works, answers, strict=True)
        ]

    async def work_on(self, case: Case, claim: Claim | Exception) -> Work:
        """Take an ordinary delivery as far as it goes with a claim that is none, or that is a crash suspect's."""
        try:
            if isinstance(claim, Exception):
                return self._not_ended(case, claim)
            return _ended(case.received, case.envelope, (case.event,), await self._with_claim(case, claim))
        except Exception as error:  # noqa: BLE001  as in `take`
            return self._not_ended(case, error)
        finally:
            self.admission.keys.release(case.event.id)

    async def failed(self, case: Case, claim: Acquired, error: Exception) -> Work:
        """End an ordinary delivery whose call has failed."""
        try:
            return _ended(case.received, case.envelope, (case.event,), await self._fail(case, claim, error))
        finally:
            self.admission.keys.release(case.event.id)

    async def give_up(self, case: Case) -> None:
        """Give up the claim on the event of an ordinary delivery, which is not settled here."""
        try:
            await self._claims.release(case)
        finally:
            self.admission.keys.release(case.event.id)

    def _not_ended(self, case: Case, error: Exception) -> Work:
        outcome = self.failures.outcome_of(case, error)
        return Work(case.received, case.envelope, (case.event,), outcome)

    def _case(self, event: CanonicalEvent, envelope: Envelope, received: Received, *, last: bool) -> Case:
        subject, occurred_s = None, 0.0
        if self._asks_for_late:
            subject, occurred_s = envelope.ordered_by, occurrence_s(received.headers)
        key = event_key(event.id, received.headers)
        return Case(event, key, subject, occurred_s, envelope, received, received.attempt, last)

    async def _claim(self, case: Case) -> Ending:
        """Handle an event, unless this queue has finished it before or another process handles it now."""
        claim: Claim | None = None
        await self.admission.keys.acquire(case.event.id)
        try:
            started_s = time.monotonic()
            claim = await (self.ahead.take(case.key) or self._ask(case.key, case.subject))
            self.observer.stored("claim", time.monotonic() - started_s)
            return await self._with_claim(case, claim)
        except asyncio.CancelledError:
            if claim is None:  # the store may have carried out the claim
                await self._claims.release(case)
            raise
        finally:
            self.admission.keys.release(case.event.id)

    async def _with_claim(self, case: Case, claim: Claim) -> Ending:
        match claim:
            case Acquired():
                if claim.failures or claim.copy or claim.tried:
                    return await self._go_on(case, claim)
                return await self._begin(case, claim)
            case Duplicate():
                if self.worker.sees_repeats:
                    await self.calls.repeat(case)
                return Ending(DUPLICATE, case.attempt)
            case LeasedElsewhere():
                return Ending(self.failures.outcome_of(case, ClaimUnavailable()), case.attempt)
            case _:
                assert_never(claim)

    async def _go_on(self, case: Case, claim: Acquired) -> Ending:
        """Handle an event that has failed before, unless this delivery is surplus."""
        number = copy_number(case.received.headers)
        if is_surplus(number, claim.copy) and not self._must_see(claim):
            await self._claims.release(case)
            return Ending(DUPLICATE, case.attempt)
        if starts_anew(number, claim.copy):
            self._claims.ends.forget(case.key)
            try:
                await self._store.start_anew(self.worker.queue, case.key, number)
            except BaseException:
                await self._claims.release(case)
                raise
            return await self._begin(case, Acquired(newest_s=claim.newest_s))
        used = used_attempts(claim.failures)
        case = msgspec.structs.replace(case, attempt=max(case.attempt, 1 + used), used=used)
        is_copied = self.worker.order is None and not case.received.is_moved
        if is_copied and was_tried(number, claim.tried) and noted_end(claim, 0) is None:
            return await self._fail(case, claim, AlreadyTried())
        return await self._begin(case, claim)

    def _must_see(self, claim: Acquired) -> bool:
        """Whether the function sees repeats, and may not have ended for the event."""
        return self.worker.sees_repeats and noted_end(claim, 0) is None

    def _begin(self, case: Case, claim: Acquired) -> Coroutine[Any, Any, Ending]:
        return self._handle_alone(case, claim) if claim.crash_suspect else self._handle(case, claim)

    def _ask(self, key: str, subject: str | None) -> Coroutine[Any, Any, Claim]:
        return self._store.claim(self.worker.queue, key, subject if self._asks_for_late else None)

    async def _handle(self, case: Case, claim: Acquired) -> Ending:
        """Call the function, then complete the event or release the claim."""
        try:
            if claim.failures:
                self.failures.check_end(case, claim)
            ending = await self.calls.enter_and_call(case, claim)
        except AlreadyFinished:
            return Ending(DUPLICATE, case.attempt)
        except Exception as error:  # noqa: BLE001  a function may raise anything
            return await self._fail(case, claim, error)
        except BaseException:  # a cancelled call has not finished either
            await self._claims.release(case)
            raise
        if not self.worker.transactional or ending.outcome is not HANDLED:  # a transaction has recorded it itself
            self.watermark.advance(case.subject, case.occurred_s)
            finish = self._store.finish if self.unsynced is None else self.unsynced.finish_unsynced
            started_s = time.monotonic()
            await finish(self.worker.queue, case.key, subject=case.subject, occurred_s=case.occurred_s)
            self.observer.stored("finish", time.monotonic() - started_s)
        return ending

    def _fail(self, case: Case, claim: Acquired, error: Exception) -> Coroutine[Any, Any, Ending]:
        late = self.watermark.is_late(claim, case.subject, case.occurred_s)
        return self.failures.end(case, error, late=late)

    async def _handle_alone(self, case: Case, claim: Acquired) -> Ending:
        """The store blames the event for a crash until it is completed or released: nothing else runs until then."""
        is_alone = False
        try:
            async with self.admission.alone():
                self._report_suspect(case, claim)
                await self.log_written()  # the function may end the process at once
                is_alone = True
                return await self._handle(case, claim)
        except asyncio.CancelledError:
            if not is_alone:  # cancelled before its call
                await self._claims.release(case)
            raise

    def _report_suspect(self, case: Case, claim: Acquired) -> None:
        """Without a line of it, a process that dies again and again gives no sign of what it died of."""
        self.observer.suspected(self.worker.queue)
        log.warning(
            "%s: event %s of %s was in flight when a process died, %d times; it is handled alone now, and parked as "
            "`crashed` if that kills this process as often as it may fail",
            self.worker.queue,
            case.event.id,
            case.envelope.topic,
            claim.deaths,
        )


async def _at_once() -> None:
    return


def _ended(received: Received, envelope: Envelope, events: tuple[CanonicalEvent, ...], ending: Ending) -> Work:
    if ending.attempt != received.attempt:
        received = msgspec.structs.replace(received, attempt=ending.attempt)
    return Work(received, envelope, events, ending.outcome, ending.late, ending.held)
