"""The way of one delivery through a worker: open, normalise, claim, handle, and the outcome to settle it with."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from schemas.broker import Again, Done, Outcome, Parked, Received
from schemas.envelope import Envelope, from_headers
from schemas.errors import SettingsError, Unreachable, Unreadable
from schemas.events import CanonicalEvent
from schemas.letters import AGAIN, replayed_at
from schemas.providers import catalogue
from workers.api import Delivery, Worker
from workers.middleware import around
from workers.solitude import Solitude
from workers.store import AlreadyFinished, Busy, Mine, Seen, Store, TransactionalStore
from workers.verdict import HandlerTimeout, HeldElsewhere, ProcessDied, verdict

S = TypeVar("S")
Normalise = Callable[[Envelope], tuple[CanonicalEvent, ...]]
Clock = Callable[[], float]

_CLAIM_MARGIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Work:
    """One delivery that was worked on. `envelope` is None for a message that is none of ours."""

    received: Received
    envelope: Envelope | None
    events: tuple[CanonicalEvent, ...]
    outcome: Outcome
    late: bool = False


@dataclass(frozen=True, slots=True)
class _Case:
    """One event of a delivery, on its way through a worker. `last`: it is parked if it fails, whatever is left."""

    event: CanonicalEvent
    envelope: Envelope
    received: Received
    last: bool

    @property
    def mark(self) -> str:
        return mark(self.event.id, self.received.headers)


@dataclass(frozen=True, slots=True)
class _Turn:
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


def normalise(envelope: Envelope) -> tuple[CanonicalEvent, ...]:
    """The canonical events of an envelope. Raises Unreadable."""
    provider = catalogue().get(envelope.provider)
    if provider is None:
        raise Unreadable(f"no provider {envelope.provider!r} is installed here")
    return provider.normalise(envelope)


class Pipeline:
    """A worker with its store. `work` is the main path of the consuming side.

    Raises SettingsError if the worker is transactional and the store is not.
    """

    def __init__(
        self,
        worker: Worker[Any],
        store: Store,
        solitude: Solitude | None = None,
        normalise: Normalise = normalise,
        clock: Clock = time.time,
    ) -> None:
        self.worker = worker
        self._function = around(worker)
        self._takes_delivery = worker.takes_delivery or bool(worker.middleware)
        self._tells_late = worker.takes_delivery or worker.latest_only or bool(worker.order and worker.order.reorder_s)
        self._store = store
        self._transactional = _transactional(store, worker) if worker.transactional else None
        self._solitude = solitude or Solitude()
        self._normalise = normalise
        self._clock = clock
        self._in_hand: dict[str, asyncio.Future[None]] = {}

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
            events = tuple(event for event in self._normalise(envelope) if self.worker.wants(event))
            turns = [await self._handle(_Case(event, envelope, received, last)) for event in events]
            outcome, attempt, late = _together(turns, attempt)
        except _Unfinished as ended:
            outcome, attempt, late = ended.outcome, ended.attempt, ended.late
        except Exception as error:  # noqa: BLE001  a handler may raise anything
            outcome = self._outcome(error, received, envelope, last=last)
        counted = received if attempt == received.attempt else replace(received, attempt=attempt)
        return Work(counted, envelope, events, outcome, late)

    async def _handle(self, case: _Case) -> _Turn:
        """Call the function, unless this queue has finished the event before."""
        async with self._one_delivery_of(case.event.id):
            match await self._store.claim(self.worker.queue, case.mark, self.worker.timeout_s + _CLAIM_MARGIN_S):
                case Seen():
                    if self.worker.sees_repeats:
                        await self._call(case)
                    return _Turn("duplicate", case.received.attempt)
                case Busy():
                    raise HeldElsewhere
                case Mine() as claim:
                    return await self._finish_or_release(claim, _counted(case, claim.failures))

    @asynccontextmanager
    async def _one_delivery_of(self, event_id: str) -> AsyncIterator[None]:
        """Wait while this process has another delivery of the event in hand; its time limit bounds the wait."""
        while (other := self._in_hand.get(event_id)) is not None:
            await asyncio.wait([other])
        ended = self._in_hand[event_id] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._in_hand[event_id]
            ended.set_result(None)

    async def _finish_or_release(self, claim: Mine, case: _Case) -> _Turn:
        late, attempt = False, case.received.attempt
        try:
            self._check_crashes(claim, attempt)
            late = await self._is_late(case.envelope)
            if not (late and self.worker.latest_only):
                async with self._solitude.alone() if claim.suspect else self._solitude.together():
                    if claim.suspect:
                        await self._store.isolate(self.worker.queue, case.mark)
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
        subject, occurred_s = self._timed(case.envelope)
        await self._store.finish(self.worker.queue, case.mark, subject=subject, occurred_s=occurred_s)

    def _timed(self, envelope: Envelope) -> tuple[str | None, float]:
        """What the store notes of the event's time: its subject, if this worker asks for it, and the seconds."""
        return envelope.ordered_by if self._tells_late else None, envelope.occurred_at.timestamp()

    async def _is_late(self, envelope: Envelope) -> bool:
        """Whether the queue has finished an event of the subject that occurred later."""
        subject = envelope.ordered_by
        if not self._tells_late or subject is None:
            return False
        newest_s = await self._store.newest(self.worker.queue, subject)
        return newest_s is not None and newest_s > envelope.occurred_at.timestamp()

    def _check_crashes(self, claim: Mine, attempt: int) -> None:
        """Raise if the event has killed its process as often as it may fail. Its neighbours there are not counted."""
        if claim.crashes and attempt + claim.crashes > self.worker.retry.attempts:
            raise ProcessDied(f"the process died {claim.crashes} times while it handled this event alone")

    async def _call_in_transaction(self, store: TransactionalStore, case: _Case, *, late: bool) -> None:
        """Raises AlreadyFinished if another process was faster; nothing was written then."""
        subject, occurred_s = self._timed(case.envelope)
        async with store.transaction(
            self.worker.queue, case.mark, subject=subject, occurred_s=occurred_s
        ) as transaction:
            await self._call(case, late=late, transaction=transaction)

    async def _call(self, case: _Case, *, late: bool = False, transaction: Any = None) -> None:
        arguments = []
        if self._takes_delivery:
            delivery = delivery_of(case.event, case.envelope, case.received, self.worker.state, late=late)
            arguments = [delivery if transaction is None else replace(delivery, transaction=transaction)]
        limit = asyncio.timeout(self.worker.timeout_s)
        try:
            async with limit:
                await self._function(case.event, *arguments)
        except TimeoutError:
            if limit.expired():
                raise HandlerTimeout(f"the function took more than {self.worker.timeout_s:g} s") from None
            raise

    def _outcome(self, error: Exception, received: Received, envelope: Envelope | None, *, last: bool) -> Outcome:
        age_s = 0.0
        if envelope is not None:
            since = replayed_at(received.headers) or envelope.received_at
            age_s = self._clock() - since.timestamp()
        chance = random.random()  # noqa: S311  # no secret
        return verdict(error, self.worker.retry, received.attempt, age_s, chance, last=last)


def mark(event_id: str, headers: Mapping[str, Any]) -> str:
    """What the store knows an event by: its id, and the name of the replay that wants it handled anew, if one does."""
    again = headers.get(AGAIN)
    return event_id if again is None else f"{event_id}@{again}"


def _counted(case: _Case, failures: int) -> _Case:
    """The case with the attempts that the store has counted, for one that was tried again in place."""
    if not failures:
        return case
    return replace(case, received=replace(case.received, attempt=case.received.attempt + failures))


def _together(turns: Sequence[_Turn], attempt: int) -> tuple[Done, int, bool]:
    """Of all events of a delivery: the outcome, the highest attempt, and whether any was late."""
    reasons = {turn.reason for turn in turns}
    reason = next((reason for reason in ("handled", "superseded", "duplicate") if reason in reasons), "handled")
    return Done(reason), max((turn.attempt for turn in turns), default=attempt), any(turn.late for turn in turns)


def _transactional(store: Store, worker: Worker[Any]) -> TransactionalStore:
    if not isinstance(store, TransactionalStore):
        raise SettingsError(f"store.url: the worker {worker.queue} is transactional, which takes SQLite or PostgreSQL")
    return store


def delivery_of(event: CanonicalEvent, envelope: Envelope, received: Received, state: S, *, late: bool) -> Delivery[S]:
    return Delivery(
        event_id=event.id,
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
    )
