"""The way of one delivery through a worker: open, normalise, claim, handle; the pool settles it with the outcome."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Self, assert_never, cast

import msgspec

from hookline.schemas.broker import Again, Outcome, Parked, Queue, Received
from hookline.schemas.dead_letters import AGAIN, EVENTS, replayed_at
from hookline.schemas.envelope import Envelope, from_headers
from hookline.schemas.errors import SettingsError, Unreachable, Unreadable
from hookline.schemas.event_redaction import Redaction
from hookline.schemas.events import CanonicalEvent
from hookline.schemas.observer import NOBODY, Observer
from hookline.schemas.provider import Provider
from hookline.schemas.providers import catalogue
from hookline.workers.admission import PREFETCH_FACTOR, Admission, ExclusiveGate
from hookline.workers.api import Worker
from hookline.workers.attempts import (
    Ends,
    copy_number,
    end_mark,
    is_surplus,
    next_number,
    noted_end,
    passed_on,
    starts_anew,
    used_attempts,
    was_tried,
)
from hookline.workers.breaker import NEVER_OPENS, Breaker
from hookline.workers.claims_ahead import ClaimsAhead
from hookline.workers.failure_policy import (
    AlreadyParked,
    AlreadyTried,
    ClaimUnavailable,
    ProcessDied,
    failure_policy,
    kept_error,
)
from hookline.workers.handler import Handler
from hookline.workers.siblings import chosen, combined, with_unwanted
from hookline.workers.store import (
    Acquired,
    AlreadyFinished,
    Claim,
    Duplicate,
    GroupStore,
    LeasedElsewhere,
    Store,
    TransactionalStore,
    UnsyncedStore,
)
from hookline.workers.subject_watermark import SubjectWatermark
from hookline.workers.unwanted import UNWANTED_AFTER_S, Unwanted, delivery_key
from hookline.workers.work import DUPLICATE, HANDLED, SUPERSEDED, Case, Ending, Held, Work

log = logging.getLogger("hookline.workers")

Normalise = Callable[[Envelope], tuple[CanonicalEvent, ...]]
Clock = Callable[[], float]

_TRIED = frozenset({"failed", "timeout", "retry"})
_NOTED = (AlreadyParked, AlreadyTried)  # the store has counted the attempt before
_HELD_FROM_S = 0.1
"""A retry that comes back sooner would find its event claimed still."""


def normaliser(providers: Mapping[str, Provider[Any]], *, keep_urls: bool = False) -> Normalise:
    """A function that makes the canonical events of an envelope of one of these providers. It raises Unreadable.

    The events hold no token of the provider, and URLs that let anybody in only with `keep_urls`.
    """
    known: dict[str, Normalise] = {}  # looking a provider up costs an import

    def normalise(envelope: Envelope) -> tuple[CanonicalEvent, ...]:
        of_provider = known.get(envelope.provider)
        if of_provider is None:
            of_provider = known[envelope.provider] = _normaliser(providers, envelope.provider, keep_urls=keep_urls)
        return of_provider(envelope)

    return normalise


def _normaliser(providers: Mapping[str, Provider[Any]], name: str, *, keep_urls: bool) -> Normalise:
    provider = providers.get(name)
    if provider is None:
        raise Unreadable(f"no provider {name!r} is installed here")
    redaction, normalise = Redaction(provider, keep_urls=keep_urls), provider.normalise
    return lambda envelope: redaction(normalise(envelope))


class Pipeline:
    """A worker with its store. `work` is the main path of the consuming side.

    `unsynced` is the store of an ordered worker if its events are settled only after `sync`.

    Raises SettingsError if the worker is transactional and the store is not, NotStarted if a middleware fails.
    """

    def __init__(
        self,
        worker: Worker[Any],
        store: Store,
        gate: ExclusiveGate | None = None,
        normalise: Normalise | None = None,
        clock: Clock = time.time,
        unwanted_after_s: float = UNWANTED_AFTER_S,
    ) -> None:
        self.worker = worker
        self.admission = Admission(worker.concurrency, gate or ExclusiveGate())
        self.handler = Handler(worker)
        self.breaker = Breaker(worker.queue, NEVER_OPENS)
        self.observer = NOBODY
        self.keeps_error_texts = False
        """Whether the error that the broker keeps with an event until its next attempt has texts, or types only."""
        self.log_written = _at_once
        """Waits until the log is written, if a thread writes it."""
        self._store = store
        self.unsynced = store if worker.order is not None and isinstance(store, UnsyncedStore) else None
        self._groups = cast("GroupStore", store)
        self._is_grouped = isinstance(store, GroupStore) and not worker.transactional
        self._transactional = _transactional(store, worker) if worker.transactional else None
        self.ahead = ClaimsAhead(self._ask, partial(store.release, worker.queue))
        self._watermark = SubjectWatermark(PREFETCH_FACTOR * worker.concurrency)
        self._normalise = normalise or normaliser(catalogue())
        self._clock = clock
        self._ends = Ends()
        self._unwanted = Unwanted(worker.queue, unwanted_after_s)
        self._asks_for_late = (
            worker.takes_delivery or worker.latest_only or bool(worker.order and worker.order.reorder_s)
        )

    def watched(self, observer: Observer, breaker: Breaker) -> Self:
        """Tell an observer what happens, and ask a breaker whether a delivery may be taken."""
        self.observer = self.handler.observer = observer
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
            if normalised and not events:
                ending = await self._unwanted_ending(together, envelope, received)
                return Work(received, envelope, (), ending.outcome, held=ending.held)
            if len(together) == 1:  # as with most deliveries
                ending = await self._claim(self._case(events[0], envelope, received, last=last))
            else:
                ending = await self._each(together, envelope, received, last=last)
        except Exception as error:  # noqa: BLE001  a provider's module or the store may raise anything
            outcome = self._failure(error, received, envelope, received.attempt, last=last)
            return Work(received, envelope, events, outcome)
        if ending.attempt != received.attempt:
            received = msgspec.structs.replace(received, attempt=ending.attempt)
        return Work(received, envelope, events, ending.outcome, ending.late, ending.held)

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
            await self._let_go(held, passed_on(number, work.outcome) if is_passed_on else number)
            if is_passed_on and isinstance(work.outcome, Parked):
                self._ends.forget(held.key)

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
        if len(events) != 1 or not self.worker.wants(events[0]):
            return None
        case = self._case(events[0], envelope, received, last=last)
        is_alone = case.key not in self.ahead and self.admission.keys.try_acquire(events[0].id)
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
        if self._asks_for_late:
            for case, _ in called:
                self._watermark.advance(case.subject, case.occurred_s)
        completions = [(case.key, case.subject, case.occurred_s) for case, _ in called]
        try:
            answers = await self._groups.finish_all(self.worker.queue, completions, synced=self.unsynced is None)
        finally:
            self.admission.keys.release(*[case.event.id for case, _ in called])
        self.observer.stored("finish", time.monotonic() - started_s, len(called))
        return [
            _ended(case, ending) if answer is None else self._not_ended(case, answer)
            for (case, ending), answer in zip(called, answers, strict=True)
        ]

    async def work_on(self, case: Case, claim: Claim | Exception) -> Work:
        """Take an ordinary delivery as far as it goes with a claim that is none, or that is a crash suspect's."""
        try:
            if isinstance(claim, Exception):
                return self._not_ended(case, claim)
            return _ended(case, await self._with_claim(case, claim))
        except Exception as error:  # noqa: BLE001  as in `take`
            return self._not_ended(case, error)
        finally:
            self.admission.keys.release(case.event.id)

    async def failed(self, case: Case, claim: Acquired, error: Exception) -> Work:
        """End an ordinary delivery whose call has failed."""
        try:
            return _ended(case, await self._fail(case, claim, error))
        finally:
            self.admission.keys.release(case.event.id)

    async def give_up(self, case: Case) -> None:
        """Give up the claim on the event of an ordinary delivery, which is not settled here."""
        try:
            await self._release(case)
        finally:
            self.admission.keys.release(case.event.id)

    def _not_ended(self, case: Case, error: Exception) -> Work:
        received = case.received
        outcome = self._failure(error, received, case.envelope, received.attempt, last=case.last)
        return Work(received, case.envelope, (case.event,), outcome)

    async def _each(
        self, events: Sequence[CanonicalEvent], envelope: Envelope, received: Received, *, last: bool
    ) -> Ending:
        """Each event of a delivery by itself: one that fails, or is not wanted, keeps no other from being handled."""
        cases = [self._case(event, envelope, received, last=last, has_siblings=True) for event in events]
        held: list[Held] = []
        try:
            ended = {
                case.key: await self._claim_and_hold(case, held) for case in cases if self.worker.wants(case.event)
            }
            unwanted = [case for case in cases if not self.worker.wants(case.event)]
            ended |= {
                case.key: ending for case in unwanted if (ending := await self._ended_elsewhere(case)) is not None
            }
        except BaseException:
            await self._let_go_all(held, received)
            raise
        left = [case for case in cases if case.key not in ended]
        known = [case for case in cases if case.key in ended]
        endings = [ended[case.key] for case in known]
        ending = combined([case.event for case in known], endings, received.attempt, len(left))
        if left and not isinstance(ending.outcome, Again):
            ending = with_unwanted(ending, [case.event for case in left], self._put_back(envelope, received))
            if isinstance(ending.outcome, Parked):
                await self._hold(left, end_mark(ending.outcome), held)
        return msgspec.structs.replace(ending, held=tuple(held))

    async def _claim_and_hold(self, case: Case, held: list[Held]) -> Ending:
        ending = await self._claim(case)
        held += ending.held
        return ending

    async def _ended_elsewhere(self, case: Case) -> Ending | None:
        """What became of an event that is not wanted here, if it has ended in a process that wants it."""
        try:
            claim = await self._store.claim(self.worker.queue, case.key)
        finally:
            await self._release(case)
        number = copy_number(case.received.headers)
        if isinstance(claim, Duplicate) or (isinstance(claim, Acquired) and is_surplus(number, claim.copy)):
            return Ending(DUPLICATE, case.attempt)
        if isinstance(claim, LeasedElsewhere) or starts_anew(number, claim.copy):
            return None
        parked = noted_end(claim, case.received.attempt)
        return None if parked is None else Ending(self._ends.remembered(case.key, parked), case.attempt)

    async def _unwanted_ending(
        self, events: Sequence[CanonicalEvent], envelope: Envelope, received: Received
    ) -> Ending:
        """Put back a delivery of which nothing is wanted here. At last it is parked, but not if it has ended before."""
        outcome = self._put_back(envelope, received)
        if not isinstance(outcome, Parked):
            return Ending(outcome, received.attempt)
        cases = [self._case(event, envelope, received, last=True) for event in events]
        if all([await self._ended_elsewhere(case) for case in cases]):
            return Ending(DUPLICATE, received.attempt)
        held: list[Held] = []
        await self._hold(cases, end_mark(outcome), held)
        return Ending(outcome, received.attempt, held=tuple(held))

    async def _hold(self, cases: Sequence[Case], mark: int, held: list[Held]) -> None:
        """Claim events that are parked without a call, so that their end is noted."""
        try:
            for case in cases:
                with suppress(Unreachable):
                    if isinstance(await self._store.claim(self.worker.queue, case.key), Acquired):
                        noted = await self._note_attempt(case, mark)
                        held += [] if noted is None else [noted]
        except BaseException:
            await self._let_go_all(held, cases[0].received)
            raise

    def _case(
        self,
        event: CanonicalEvent,
        envelope: Envelope,
        received: Received,
        *,
        last: bool,
        has_siblings: bool = False,
    ) -> Case:
        subject, occurred_s = None, 0.0
        if self._asks_for_late:
            subject, occurred_s = envelope.ordered_by, envelope.occurred_at.timestamp()
        key = event_key(event.id, received.headers)
        return Case(event, key, subject, occurred_s, envelope, received, received.attempt, last, has_siblings)

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
                await self._release(case)
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
                return await self._repeat(case)
            case LeasedElsewhere():
                return Ending(self._outcome(ClaimUnavailable(), case), case.attempt)
            case _:
                assert_never(claim)

    async def _go_on(self, case: Case, claim: Acquired) -> Ending:
        """Handle an event that has failed before, unless this delivery is surplus."""
        number = copy_number(case.received.headers)
        if is_surplus(number, claim.copy) and not self._must_see(claim):
            await self._release(case)
            return Ending(DUPLICATE, case.attempt)
        if starts_anew(number, claim.copy):
            self._ends.forget(case.key)
            try:
                await self._store.start_anew(self.worker.queue, case.key, number)
            except BaseException:
                await self._release(case)
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
                self._check_end(case, claim)
            ending = await self.call(case, claim)
        except AlreadyFinished:
            return Ending(DUPLICATE, case.attempt)
        except Exception as error:  # noqa: BLE001  a function may raise anything
            return await self._fail(case, claim, error)
        except BaseException:  # a cancelled call has not finished either
            await self._release(case)
            raise
        if self._transactional is None or ending.outcome is not HANDLED:  # a transaction has recorded it itself
            if case.subject is not None:
                self._watermark.advance(case.subject, case.occurred_s)
            finish = self._store.finish if self.unsynced is None else self.unsynced.finish_unsynced
            started_s = time.monotonic()
            await finish(self.worker.queue, case.key, subject=case.subject, occurred_s=case.occurred_s)
            self.observer.stored("finish", time.monotonic() - started_s)
        return ending

    async def _fail(self, case: Case, claim: Acquired, error: Exception) -> Ending:
        """The store notes the attempt before a copy is passed on: a process that dies in between makes no other."""
        outcome = self._outcome(error, case)
        late, failures = self._asks_for_late and self._is_late(case, claim), self._failures(case, outcome, error)
        if not self._is_passed_on(outcome, error):
            await self._release(case, failures)
            return Ending(outcome, case.attempt, late)
        held = Held(case.key) if isinstance(error, _NOTED) else await self._before_passing_on(case, outcome, failures)
        if held is None:
            return Ending(self._outcome(ClaimUnavailable(), case), case.attempt, late)
        if isinstance(outcome, Again) and outcome.delay_s < _HELD_FROM_S:
            await self._let_go(held, copy_number(case.received.headers))
            return Ending(outcome, case.attempt, late)
        return Ending(outcome, case.attempt, late, (held,))

    async def call(self, case: Case, claim: Acquired) -> Ending:
        """Call the function once it is admitted, unless the event is superseded by then, or another process has it."""
        if claim.crashes:
            self._check_crashes(case, claim)
        is_alone = claim.crash_suspect
        if not is_alone and not self.admission.try_enter():
            await self.admission.enter()
        try:
            late = self._asks_for_late and self._is_late(case, claim)
            if late and self.worker.latest_only:
                return Ending(SUPERSEDED, case.attempt, late)
            if not self._store.holds(self.worker.queue, case.key):
                raise ClaimUnavailable
            if self.worker.transactional or is_alone:
                await self._call_carefully(case, claim, late=late)
            else:
                await self.handler.call(case, late=late)
        finally:
            if not is_alone:
                self.admission.leave()
        return Ending(HANDLED, case.attempt, late)

    async def _call_carefully(self, case: Case, claim: Acquired, *, late: bool) -> None:
        """A crash suspect is marked before its call. What a transactional function writes is committed after it."""
        if claim.crash_suspect:
            await self._store.mark_exclusive(self.worker.queue, case.key)
        if self._transactional is None:
            await self._call_if_held(case, late=late)
            return
        started_s = time.monotonic()
        async with self._transactional.transaction(
            self.worker.queue,
            case.key,
            timeout_s=self.worker.timeout_s,
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
        if not self._store.holds(self.worker.queue, case.key):
            raise ClaimUnavailable
        await self.handler.call(case, late=late, transaction=transaction)

    def _is_passed_on(self, outcome: Outcome, error: Exception) -> bool:
        """Whether a copy is passed on after an attempt. An ordered worker tries an event again at its place."""
        if isinstance(outcome, Again):
            return self.worker.order is None and (outcome.reason in _TRIED or isinstance(error, AlreadyTried))
        return True

    async def _before_passing_on(self, case: Case, outcome: Outcome, failures: int) -> Held | None:
        """The claim to hold until the delivery is settled. A retry that is moved needs no note: it has no copy."""
        if case.received.is_moved and isinstance(outcome, Again):
            return Held(case.key, failures)
        return await self._note_attempt(case, failures)

    async def _note_attempt(self, case: Case, failures: int) -> Held | None:
        """The claim on an event, whose attempt is noted; None if another process may have the event by now.

        A store that does not answer learns of the attempt with the release of the claim.
        """
        number = copy_number(case.received.headers)
        held = Held(case.key, failures, next_number(number))
        try:
            is_noted = await self._store.note_attempt(self.worker.queue, held.key, failures=failures, tried=held.tried)
        except Unreachable:
            return held
        except BaseException:
            await self._let_go(held, number)
            raise
        if is_noted and self._store.holds(self.worker.queue, held.key):
            return msgspec.structs.replace(held, failures=0)
        await self._release(case)
        return None

    async def _release(self, case: Case, failures: int = 0) -> None:
        """Give the claim up now."""
        await self._let_go(Held(case.key, failures), copy_number(case.received.headers) if failures else 0)

    async def _let_go_all(self, held: Sequence[Held], received: Received) -> None:
        """Release claims on events of a delivery that is not settled here."""
        for each in held:
            await self._let_go(each, copy_number(received.headers))

    async def _let_go(self, held: Held, copy: int) -> None:
        started_s = time.monotonic()
        with suppress(Unreachable):
            await self._store.release(self.worker.queue, held.key, failures=held.failures, copy=copy, tried=held.tried)
        self.observer.stored("release", time.monotonic() - started_s)

    def _failures(self, case: Case, outcome: Outcome, error: Exception) -> int:
        """What the store counts: the attempts that were used up, or the end."""
        if isinstance(error, AlreadyParked):
            return 0
        if isinstance(outcome, Parked):
            self._ends.note(case.key, outcome)
            return end_mark(outcome) + max(0, outcome.attempts - case.used)
        if isinstance(outcome, Again) and outcome.attempt > case.attempt:
            return outcome.attempt - 1 - case.used
        return 0

    def _check_end(self, case: Case, claim: Acquired) -> None:
        """Raise if the event has ended in a delivery that was not settled, or is repeated because of others in it."""
        parked = noted_end(claim, case.received.attempt)
        if parked is not None:
            raise AlreadyParked(self._ends.remembered(case.key, parked))

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
                await self._release(case)
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

    async def _repeat(self, case: Case) -> Ending:
        """The event is finished. Only a worker that asks for repeats sees it again."""
        if self.worker.sees_repeats:
            await self.admission.enter()
            try:
                await self.handler.call(case, late=False)
            finally:
                self.admission.leave()
        return Ending(DUPLICATE, case.attempt)

    def _is_late(self, case: Case, claim: Acquired) -> bool:
        return self._watermark.is_late(claim, case.subject, case.occurred_s)

    def _put_back(self, envelope: Envelope, received: Received) -> Outcome:
        """No event of the delivery is of a type that this worker wants: another process of the queue may."""
        chance = random.random()  # noqa: S311  # no secret
        key = delivery_key(received.headers)
        return self._unwanted.outcome(key, envelope.topic, received.attempt, time.monotonic(), chance)

    def _check_crashes(self, case: Case, claim: Acquired) -> None:
        """Raise ProcessDied if the event has crashed its process as often as it may fail. Others are not counted."""
        if claim.crashes and case.attempt + claim.crashes > self.worker.retry.attempts:
            raise ProcessDied(f"the process died {claim.crashes} times while it handled this event alone")

    def _outcome(self, error: Exception, case: Case) -> Outcome:
        return self._failure(error, case.received, case.envelope, case.attempt, last=case.last)

    def _failure(
        self, error: Exception, received: Received, envelope: Envelope | None, attempt: int, *, last: bool
    ) -> Outcome:
        age_s = 0.0
        if envelope is not None:
            since = replayed_at(received.headers) or envelope.received_at
            age_s = self._clock() - since.timestamp()
        chance = random.random()  # noqa: S311  # no secret
        outcome = failure_policy(error, self.worker.retry, attempt, age_s, chance, last=last)
        if isinstance(outcome, Again) and outcome.error:
            kept = kept_error(error, with_texts=self.keeps_error_texts)
            outcome = msgspec.structs.replace(outcome, kept_error=kept)
        return outcome


async def _at_once() -> None:
    return


def _ended(case: Case, ending: Ending) -> Work:
    received = case.received
    if ending.attempt != received.attempt:
        received = msgspec.structs.replace(received, attempt=ending.attempt)
    return Work(received, case.envelope, (case.event,), ending.outcome, ending.late, ending.held)


def _transactional(store: Store, worker: Worker[Any]) -> TransactionalStore:
    if not isinstance(store, TransactionalStore):
        raise SettingsError(f"store.url: the worker {worker.queue} is transactional, which takes SQLite or PostgreSQL")
    return store


def event_key(event_id: str, headers: Mapping[str, Any]) -> str:
    """The name of an event in the store: its id, and the name of the replay that wants it handled again, if any."""
    again = headers.get(AGAIN)
    return event_id if again is None else f"{event_id}@{again}"
