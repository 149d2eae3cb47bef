"""The way of one delivery through a worker: open, normalise, claim, handle; the pool settles it with the outcome."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, assert_never

import msgspec

from hookline.schemas.broker import Done, Outcome, Received
from hookline.schemas.dead_letters import replayed_at
from hookline.schemas.envelope import Envelope, from_headers
from hookline.schemas.events import CanonicalEvent
from hookline.schemas.providers import catalogue, normaliser
from hookline.workers.admission import Admission, ExclusiveGate
from hookline.workers.api import Worker
from hookline.workers.claims import Claims
from hookline.workers.failure_policy import ClaimUnavailable, ProcessDied, failure_policy
from hookline.workers.handler import Handler
from hookline.workers.store import Acquired, AlreadyFinished, Duplicate, LeasedElsewhere, Store
from hookline.workers.unwanted import UNWANTED_AFTER_S, Unwanted
from hookline.workers.work import DUPLICATE, HANDLED, SUPERSEDED, Case, Ending, Work, event_key, finished

Normalise = Callable[[Envelope], tuple[CanonicalEvent, ...]]
Clock = Callable[[], float]


class Pipeline:
    """A worker with its store. `work` is the main path of the consuming side.

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
        self._claims = Claims(worker, store)
        self._normalise = normalise or normaliser(catalogue())
        self._clock = clock
        self._unwanted = Unwanted(worker.queue, unwanted_after_s)
        self._asks_for_late = (
            worker.takes_delivery or worker.latest_only or bool(worker.order and worker.order.reorder_s)
        )

    async def work(self, received: Received, *, last: bool = False) -> Work:
        """Take one delivery as far as it goes. Raises nothing: whatever happens has an outcome.

        `last`: it is parked if it fails, however many attempts are left.
        """
        envelope: Envelope | None = None
        events: tuple[CanonicalEvent, ...] = ()
        endings: list[Ending] = []
        try:
            envelope = from_headers(received.headers, received.content_type, received.body)
            normalised = self._normalise(envelope)
            events = tuple(filter(self.worker.wants, normalised))
            if normalised and not events:
                return Work(received, envelope, (), self._put_back(envelope, received))
            for event in events:
                endings.append(await self._claim(self._case(event, envelope, received, last=last)))
                if not isinstance(endings[-1].outcome, Done):
                    break
        except Exception as error:  # noqa: BLE001  a provider's module or the store may raise anything
            outcome = self._failure(error, received, envelope, received.attempt, last=last)
            return Work(received, envelope, events, outcome)
        return finished(received, envelope, events, endings)

    def _case(self, event: CanonicalEvent, envelope: Envelope, received: Received, *, last: bool) -> Case:
        subject, occurred_s = None, 0.0
        if self._asks_for_late:
            subject, occurred_s = envelope.ordered_by, envelope.occurred_at.timestamp()
        key = event_key(event.id, received.headers)
        return Case(event, key, subject, occurred_s, envelope, received, received.attempt, last)

    async def _claim(self, case: Case) -> Ending:
        """Handle an event, unless this queue has finished it before or another process handles it now."""
        await self.admission.keys.acquire(case.event.id)
        try:
            match claim := await self._claims.acquire(case):
                case Acquired(crash_suspect=True):
                    return await self._handle_alone(case, claim)
                case Acquired():
                    return await self._handle(case, claim)
                case Duplicate():
                    return await self._repeat(case)
                case LeasedElsewhere():
                    raise ClaimUnavailable
                case _:
                    assert_never(claim)
        finally:
            self.admission.keys.release(case.event.id)

    async def _handle(self, case: Case, claim: Acquired) -> Ending:
        """Call the function, then complete the event or release the claim."""
        if claim.failures:  # an event that was retried in place has no message of its own to count its attempts
            case = msgspec.structs.replace(case, attempt=case.attempt + claim.failures)
        try:
            ending = await self._call(case, claim)
        except AlreadyFinished:
            return Ending(DUPLICATE, case.attempt)
        except Exception as error:  # noqa: BLE001  a function may raise anything
            outcome = self._failure(error, case.received, case.envelope, case.attempt, last=case.last)
            await self._claims.release(case, outcome)
            return Ending(outcome, case.attempt, self._asks_for_late and self._claims.is_late(claim, case))
        except BaseException:  # a cancelled call has not finished either
            await self._claims.release(case)
            raise
        if not (self.worker.transactional and ending.outcome is HANDLED):  # its transaction has recorded that
            await self._claims.complete(case)
        return ending

    async def _call(self, case: Case, claim: Acquired) -> Ending:
        """Call the function once it is admitted, unless the event is superseded by then."""
        if claim.crashes:
            self._check_crashes(case, claim)
        async with self.admission.call(alone=claim.crash_suspect):
            late = self._asks_for_late and self._claims.is_late(claim, case)
            if late and self.worker.latest_only:
                return Ending(SUPERSEDED, case.attempt, late)
            if self.worker.transactional or claim.crash_suspect:
                await self._call_carefully(case, claim, late=late)
            else:
                await self.handler.call(case, late=late)
        return Ending(HANDLED, case.attempt, late)

    async def _call_carefully(self, case: Case, claim: Acquired, *, late: bool) -> None:
        """A crash suspect is marked before its call. What a transactional function writes is committed after it."""
        if claim.crash_suspect:
            await self._claims.mark_exclusive(case)
        async with self._claims.transaction(case) as transaction:
            await self.handler.call(case, late=late, transaction=transaction)

    async def _handle_alone(self, case: Case, claim: Acquired) -> Ending:
        """The store blames the event for a crash until it is completed or released: nothing else runs until then."""
        is_alone = False
        try:
            async with self.admission.alone():
                is_alone = True
                return await self._handle(case, claim)
        except asyncio.CancelledError:
            if not is_alone:  # cancelled while it waited
                await self._claims.release(case)
            raise

    async def _repeat(self, case: Case) -> Ending:
        """The event is finished. Only a worker that asks for repeats sees it again."""
        if self.worker.sees_repeats:
            async with self.admission:
                await self.handler.call(case, late=False)
        return Ending(DUPLICATE, case.attempt)

    def _put_back(self, envelope: Envelope, received: Received) -> Outcome:
        """No event of the delivery is of a type that this worker wants: another process of the queue may."""
        chance = random.random()  # noqa: S311  # no secret
        return self._unwanted.outcome(envelope.id, envelope.topic, received.attempt, time.monotonic(), chance)

    def _check_crashes(self, case: Case, claim: Acquired) -> None:
        """Raise ProcessDied if the event has crashed its process as often as it may fail. Others are not counted."""
        if claim.crashes and case.attempt + claim.crashes > self.worker.retry.attempts:
            raise ProcessDied(f"the process died {claim.crashes} times while it handled this event alone")

    def _failure(
        self, error: Exception, received: Received, envelope: Envelope | None, attempt: int, *, last: bool
    ) -> Outcome:
        age_s = 0.0
        if envelope is not None:
            since = replayed_at(received.headers) or envelope.received_at
            age_s = self._clock() - since.timestamp()
        chance = random.random()  # noqa: S311  # no secret
        return failure_policy(error, self.worker.retry, attempt, age_s, chance, last=last)


def _asks_for_late(worker: Worker[Any]) -> bool:
    return worker.takes_delivery or worker.latest_only or bool(worker.order and worker.order.reorder_s)
