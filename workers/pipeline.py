"""The way of one delivery through a worker: open, normalise, claim, handle, and the outcome to settle it with."""

import asyncio
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any, Literal, TypeVar

import msgspec

from hookline.schemas.broker import Again, Done, Outcome, Parked, Received
from hookline.schemas.dead_letters import AGAIN, replayed_at
from hookline.schemas.envelope import Envelope, from_headers
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.schemas.events import CanonicalEvent
from hookline.schemas.providers import catalogue, normaliser
from hookline.workers.api import Delivery, Worker
from hookline.workers.exclusive_gate import ExclusiveGate
from hookline.workers.failure_policy import ClaimUnavailable, ProcessDied, failure_policy
from hookline.workers.handler_latency import HandlerLatency
from hookline.workers.handler_limit import HandlerLimit
from hookline.workers.handler_timeout import HandlerTimeout
from hookline.workers.in_flight import InFlightKeys
from hookline.workers.middleware import around
from hookline.workers.store import (
    Acquired,
    AlreadyFinished,
    Claim,
    Duplicate,
    LeasedElsewhere,
    Store,
    TransactionalStore,
)
from hookline.workers.subject_watermark import SubjectWatermark

S = TypeVar("S")
Normalise = Callable[[Envelope], tuple[CanonicalEvent, ...]]
Clock = Callable[[], float]

PREFETCH_FACTOR = 16
"""How many deliveries may be in hand for each that is handled."""
_CLAIM_MARGIN_S = 30.0
_ALONE = nullcontext()  # nothing else has a place then


class Work(msgspec.Struct, frozen=True):
    """One delivery that was worked on. `envelope` is None for a message that is none of ours."""

    received: Received
    envelope: Envelope | None
    events: tuple[CanonicalEvent, ...]
    outcome: Outcome
    late: bool = False


class _Case(msgspec.Struct, frozen=True):
    """One event of a delivery, on its way through a worker. `last`: it is parked if it fails, whatever is left.

    `subject` and `occurred_s` are for a worker that tells what is late, and nothing to others.
    """

    event: CanonicalEvent
    mark: str
    subject: str | None
    occurred_s: float
    envelope: Envelope
    received: Received
    last: bool


class _Turn(msgspec.Struct, frozen=True, gc=False):
    """One event of a delivery that came to a good end, in its own way."""

    reason: Literal["handled", "duplicate", "superseded"]
    attempt: int
    late: bool = False


class _Unfinished(Exception):
    """One event of a delivery that came to no good end."""

    def __init__(self, outcome: Outcome, attempt: int, *, late: bool) -> None:
        super().__init__()
        self.outcome = outcome
        self.attempt = attempt
        self.late = late


class Pipeline:
    """A worker with its store. `work` is the main path of the consuming side.

    Raises SettingsError if the worker is transactional and the store is not.
    """

    def __init__(
        self,
        worker: Worker[Any],
        store: Store,
        exclusive_gate: ExclusiveGate | None = None,
        normalise: Normalise | None = None,
        clock: Clock = time.time,
    ) -> None:
        self.worker = worker
        self._function = around(worker)
        self._takes_delivery = worker.takes_delivery or bool(worker.middleware)
        self._tells_late = worker.takes_delivery or worker.latest_only or bool(worker.order and worker.order.reorder_s)
        self._store = store
        self._transactional = _transactional(store, worker) if worker.transactional else None
        self._exclusive_gate = exclusive_gate or ExclusiveGate()
        self._normalise = normalise or normaliser(catalogue())
        self._clock = clock
        self.handler_latency = HandlerLatency()
        self._timeout = HandlerTimeout(worker.timeout_s)
        self._handler_limit = HandlerLimit(worker.concurrency)
        self._claim_s = PREFETCH_FACTOR * worker.timeout_s + _CLAIM_MARGIN_S  # for those before it, and itself
        self._watermark = SubjectWatermark(PREFETCH_FACTOR * worker.concurrency)
        self._in_flight = InFlightKeys()

    async def work(self, received: Received, *, last: bool = False) -> Work:
        """Take one delivery as far as it goes. Raises nothing: whatever happens has an outcome.

        `last`: it is parked if it fails, whatever attempts are left.
        """
        envelope: Envelope | None = None
        events: tuple[CanonicalEvent, ...] = ()
        outcome: Outcome
        attempt, late = received.attempt, False
        try:
            envelope = from_headers(received.headers, received.content_type, received.body)
            events = tuple(filter(self.worker.wants, self._normalise(envelope)))
            turns = []
            for event in events:  # a comprehension that awaits would be one more coroutine
                turns.append(await self._handle(self._case(event, envelope, received, last=last)))  # noqa: PERF401
            outcome, attempt, late = _together(turns, attempt)
        except _Unfinished as ended:
            outcome, attempt, late = ended.outcome, ended.attempt, ended.late
        except Exception as error:  # noqa: BLE001  a handler may raise anything
            outcome = self._outcome(error, received, envelope, last=last)
        counted = received if attempt == received.attempt else msgspec.structs.replace(received, attempt=attempt)
        return Work(counted, envelope, events, outcome, late)

    def begin_nothing(self) -> None:
        """Let nothing wait for a call to end: it is cancelled, and so are those that would have to from now on."""
        self._handler_limit.close()

    def turn_away(self, tasks: Collection["asyncio.Task[None]"]) -> None:
        """Let these tasks wait for no call to end, likewise."""
        self._handler_limit.turn_away(tasks)

    def _case(self, event: CanonicalEvent, envelope: Envelope, received: Received, *, last: bool) -> _Case:
        timed = (envelope.ordered_by, envelope.occurred_at.timestamp()) if self._tells_late else (None, 0.0)
        return _Case(event, mark(event.id, received.headers), *timed, envelope, received, last)

    async def _handle(self, case: _Case) -> _Turn:
        """Call the function, unless this queue has finished the event before."""
        await self._in_flight.acquire(case.event.id)
        try:
            claim = await self._claim(case)
            match claim:
                case Acquired(crash_suspect=True):
                    # As long as it is claimed: the store blames it for whatever kills the process until then.
                    try:
                        return await self._finish_or_release(claim, _counted(case, claim.failures))
                    finally:
                        self._exclusive_gate.end()
                case Acquired():
                    return await self._finish_or_release(claim, _counted(case, claim.failures))
                case Duplicate():
                    if self.worker.sees_repeats:
                        async with self._handler_limit:
                            await self._call(case)
                    return _Turn("duplicate", case.received.attempt)
                case LeasedElsewhere():
                    raise ClaimUnavailable
        finally:
            self._in_flight.release(case.event.id)

    async def _claim(self, case: _Case) -> Claim:
        """Ask the store for the event; once it is ours, and a suspect, nothing else is in hand."""
        try:
            claim = await self._store.claim(self.worker.queue, case.mark, self._claim_s, case.subject)
            if isinstance(claim, Acquired) and claim.crash_suspect:
                await self._exclusive_gate.begin()
        except asyncio.CancelledError:  # it may be ours all the same
            await self._release(case.mark)
            raise
        return claim

    async def _finish_or_release(self, claim: Acquired, case: _Case) -> _Turn:
        late, attempt = False, case.received.attempt
        try:
            self._check_crashes(claim, attempt)
            places, company = (_ALONE, _ALONE) if claim.crash_suspect else (self._handler_limit, self._exclusive_gate)
            async with places, company:
                late = self._watermark.of(claim, case.subject, case.occurred_s)
                if not (late and self.worker.latest_only):
                    if claim.crash_suspect:
                        await self._store.mark_exclusive(self.worker.queue, case.mark)
                    if self._transactional is not None:
                        await self._call_in_transaction(self._transactional, case, late=late)
                        return _Turn("handled", attempt, late)
                    await self._call(case, late=late)
        except AlreadyFinished:
            return _Turn("duplicate", attempt, late)
        except Exception as error:
            outcome = self._outcome(error, case.received, case.envelope, last=case.last)
            await self._release(case.mark, outcome, attempt)
            raise _Unfinished(outcome, attempt, late=late) from error
        except BaseException:  # a cancelled handler has not finished either
            await self._release(case.mark)
            raise
        await self._finish(case)
        return _Turn("superseded" if late and self.worker.latest_only else "handled", attempt, late)

    async def _release(self, mark: str, outcome: Outcome | None = None, attempt: int = 0) -> None:
        """Give the claim up. What is tried again in place has no message of its own to carry its attempts."""
        failed = self.worker.order is not None and isinstance(outcome, Again) and outcome.attempt > attempt
        with suppress(Unreachable):
            await self._store.release(self.worker.queue, mark, failed=failed, parked=isinstance(outcome, Parked))

    async def _finish(self, case: _Case) -> None:
        self._watermark.note(case.subject, case.occurred_s)
        await self._store.finish(self.worker.queue, case.mark, subject=case.subject, occurred_s=case.occurred_s)

    def _check_crashes(self, claim: Acquired, attempt: int) -> None:
        """Raise if the event has killed its process as often as it may fail. Its neighbours there are not counted."""
        if claim.crashes and attempt + claim.crashes > self.worker.retry.attempts:
            raise ProcessDied(f"the process died {claim.crashes} times while it handled this event alone")

    async def _call_in_transaction(self, store: TransactionalStore, case: _Case, *, late: bool) -> None:
        """Raises AlreadyFinished if another process was faster; nothing was written then."""
        async with store.transaction(
            self.worker.queue, case.mark, subject=case.subject, occurred_s=case.occurred_s
        ) as transaction:
            await self._call(case, late=late, transaction=transaction)
        self._watermark.note(case.subject, case.occurred_s)

    async def _call(self, case: _Case, *, late: bool = False, transaction: Any = None) -> None:
        arguments = []
        if self._takes_delivery:
            arguments = [_delivery(case, self.worker.state, late=late, transaction=transaction)]
        begun_s = time.monotonic()
        try:
            with self._timeout:
                await self._function(case.event, *arguments)
        finally:
            self.handler_latency.note(time.monotonic() - begun_s)

    def _outcome(self, error: Exception, received: Received, envelope: Envelope | None, *, last: bool) -> Outcome:
        age_s = 0.0
        if envelope is not None:
            since = replayed_at(received.headers) or envelope.received_at
            age_s = self._clock() - since.timestamp()
        chance = random.random()  # noqa: S311  # no secret
        return failure_policy(error, self.worker.retry, received.attempt, age_s, chance, last=last)


def mark(event_id: str, headers: Mapping[str, Any]) -> str:
    """What the store knows an event by: its id, and the name of the replay that wants it handled anew, if one does."""
    again = headers.get(AGAIN)
    return event_id if again is None else f"{event_id}@{again}"


def _counted(case: _Case, failures: int) -> _Case:
    """The case with the attempts that the store has counted, for one that was tried again in place."""
    if not failures:
        return case
    received = msgspec.structs.replace(case.received, attempt=case.received.attempt + failures)
    return msgspec.structs.replace(case, received=received)


def _together(turns: Sequence[_Turn], attempt: int) -> tuple[Done, int, bool]:
    """Of all events of a delivery: the outcome, the highest attempt, and whether any was late."""
    if len(turns) == 1:  # as it is with most
        return Done(turns[0].reason), turns[0].attempt, turns[0].late
    reasons = {turn.reason for turn in turns}
    reason = next((reason for reason in ("handled", "superseded", "duplicate") if reason in reasons), "handled")
    return Done(reason), max((turn.attempt for turn in turns), default=attempt), any(turn.late for turn in turns)


def _transactional(store: Store, worker: Worker[Any]) -> TransactionalStore:
    if not isinstance(store, TransactionalStore):
        raise SettingsError(f"store.url: the worker {worker.queue} is transactional, which takes SQLite or PostgreSQL")
    return store


def _delivery(case: _Case, state: S, *, late: bool, transaction: Any) -> Delivery[S]:
    envelope, received = case.envelope, case.received
    return Delivery(
        event_id=case.event.id,
        attempt=received.attempt,
        provider=envelope.provider,
        source=envelope.source,
        topic=envelope.topic,
        body=received.body,
        headers=received.headers,
        occurred_at=envelope.occurred_at,
        received_at=envelope.received_at,
        state=state,
        late=late,
        transaction=transaction,
    )
