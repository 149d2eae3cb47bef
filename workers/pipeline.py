"""The way of one delivery through a worker: open, normalise, claim, handle, and the outcome to settle it with."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from schemas.broker import Done, Outcome, Parked, Received
from schemas.envelope import Envelope, from_headers
from schemas.errors import Unreachable, Unreadable
from schemas.events import CanonicalEvent
from schemas.letters import replayed_at
from schemas.providers import catalogue
from workers.api import Delivery, Worker
from workers.middleware import around
from workers.solitude import Solitude
from workers.store import Busy, Mine, Seen, Store
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


def normalise(envelope: Envelope) -> tuple[CanonicalEvent, ...]:
    """The canonical events of an envelope. Raises Unreadable."""
    provider = catalogue().get(envelope.provider)
    if provider is None:
        raise Unreadable(f"no provider {envelope.provider!r} is installed here")
    return provider.normalise(envelope)


class Pipeline:
    """A worker with its store. `work` is the main path of the consuming side."""

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
        self._store = store
        self._solitude = solitude or Solitude()
        self._normalise = normalise
        self._clock = clock
        self._in_hand: dict[str, asyncio.Future[None]] = {}

    async def work(self, received: Received) -> Work:
        """Take one delivery as far as it goes. Raises nothing: whatever happens has an outcome."""
        envelope: Envelope | None = None
        events: tuple[CanonicalEvent, ...] = ()
        outcome: Outcome
        try:
            envelope = from_headers(received.headers, received.content_type, received.body)
            events = tuple(event for event in self._normalise(envelope) if self.worker.wants(event))
            handled = [await self._handle(event, envelope, received) for event in events]
            outcome = Done() if any(handled) or not handled else Done("duplicate")
        except Exception as error:  # noqa: BLE001  a handler may raise anything
            outcome = self._outcome(error, received, envelope)
        return Work(received, envelope, events, outcome)

    async def _handle(self, event: CanonicalEvent, envelope: Envelope, received: Received) -> bool:
        """Call the function, unless this queue has finished the event before; whether it had not."""
        async with self._one_delivery_of(event.id):
            match await self._store.claim(self.worker.queue, event.id, self.worker.timeout_s + _CLAIM_MARGIN_S):
                case Seen():
                    if self.worker.sees_repeats:
                        await self._call(event, envelope, received)
                    return False
                case Busy():
                    raise HeldElsewhere
                case Mine() as claim:
                    await self._finish_or_release(claim, event, envelope, received)
                    return True

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

    async def _finish_or_release(
        self, claim: Mine, event: CanonicalEvent, envelope: Envelope, received: Received
    ) -> None:
        queue = self.worker.queue
        try:
            self._check_crashes(claim, received)
            async with self._solitude.alone() if claim.suspect else self._solitude.together():
                if claim.suspect:
                    await self._store.isolate(queue, event.id)
                await self._call(event, envelope, received)
        except BaseException as error:  # a cancelled handler has not finished either
            parked = isinstance(error, Exception) and isinstance(self._outcome(error, received, envelope), Parked)
            with suppress(Unreachable):
                await self._store.release(queue, event.id, parked=parked)
            raise
        await self._store.finish(queue, event.id)

    def _check_crashes(self, claim: Mine, received: Received) -> None:
        """Raise if the event has killed its process as often as it may fail. Its neighbours there are not counted."""
        if claim.crashes and received.attempt + claim.crashes > self.worker.retry.attempts:
            raise ProcessDied(f"the process died {claim.crashes} times while it handled this event alone")

    async def _call(self, event: CanonicalEvent, envelope: Envelope, received: Received) -> None:
        arguments = [delivery_of(event, envelope, received, self.worker.state)] if self._takes_delivery else []
        limit = asyncio.timeout(self.worker.timeout_s)
        try:
            async with limit:
                await self._function(event, *arguments)
        except TimeoutError:
            if limit.expired():
                raise HandlerTimeout(f"the function took more than {self.worker.timeout_s:g} s") from None
            raise

    def _outcome(self, error: Exception, received: Received, envelope: Envelope | None) -> Outcome:
        age_s = 0.0
        if envelope is not None:
            since = replayed_at(received.headers) or envelope.received_at
            age_s = self._clock() - since.timestamp()
        return verdict(error, self.worker.retry, received.attempt, age_s, random.random())  # noqa: S311  # no secret


def delivery_of(event: CanonicalEvent, envelope: Envelope, received: Received, state: S) -> Delivery[S]:
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
    )
