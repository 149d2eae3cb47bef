"""Runs a worker through the real pipeline in memory: for your tests, and for ours."""

from typing import Any, TypeVar, overload

from hookline.schemas.broker import Again, Done, Outcome, Parked, Received
from hookline.schemas.copies import as_copy
from hookline.schemas.envelope import Envelope, moment, seal, to_headers
from hookline.schemas.events import CanonicalEvent, event_topic
from hookline.schemas.provider import Provider, Request
from hookline.workers.api import Worker
from hookline.workers.attempts import copy_in
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import Acquired, MemoryStore, Store

__all__ = ["Again", "Done", "MemoryStore", "Outcome", "Parked", "deliver", "seal_callback"]

E = TypeVar("E", bound=CanonicalEvent)
S = TypeVar("S")


@overload
async def deliver(
    worker: Worker[E, None], event: E, *, attempt: int = 1, body: bytes = b"{}", store: Store | None = None
) -> Outcome: ...
@overload
async def deliver(
    worker: Worker[E, S], event: E, *, state: S, attempt: int = 1, body: bytes = b"{}", store: Store | None = None
) -> Outcome: ...


async def deliver(
    worker: Worker[Any],
    event: CanonicalEvent,
    *,
    state: Any = None,
    attempt: int = 1,
    body: bytes = b"{}",
    store: Store | None = None,
) -> Outcome:
    """Deliver an event to a worker as its queue would, and return the outcome: Done, Again or Parked.

    `state` replaces what the worker's own state function would open; that function is not called. Deliveries that share
    a `store` know of each other: with the same `MemoryStore()`, the second delivery of an event is a duplicate. What
    the worker's function raises becomes the outcome. Raises SettingsError for a transactional worker with a store that
    has no transactions.
    """
    envelope = Envelope(
        id=event.id,
        provider=event.provider,
        source=event.source,
        event_type=event_topic(event),
        subject=str(getattr(event, "room_id", None) or ""),
        occurred_at=event.occurred_at,
        received_at=event.received_at,
        content_type="application/json",
        body=body,
    )
    store = store or MemoryStore()
    headers = as_copy(to_headers(envelope), await _tried(store, worker.queue, event.id) or attempt - 1)
    received = Received(headers, envelope.content_type, body, attempt, token=None)
    now_s = event.received_at.timestamp()
    pipeline = Pipeline(worker.with_state(state), store, normalise=lambda _: (event,), clock=lambda: now_s)
    work = await pipeline.work(received)
    return work.outcome


async def _tried(store: Store, queue: str, event_id: str) -> int:
    """The number of the copy that the queue has after the latest attempt of an event."""
    claim = await store.claim(queue, event_id)
    if not isinstance(claim, Acquired):
        return 0
    await store.release(queue, event_id)
    return copy_in(claim.tried)


def seal_callback(provider: Provider[Any], request: Request, now_s: float) -> Envelope:
    """The envelope that the ingress makes from a verified callback: for tests of a provider. Raises Unreadable."""
    return seal(
        provider.identify(request),
        request.body,
        provider=provider.name,
        source=provider.example.source,
        content_type=provider.content_type,
        received_at=moment(now_s),
        query="" if provider.keep_query is None else provider.keep_query(request.query),
    )
