"""Runs a worker through the real pipeline in memory: for your tests, and for ours."""

from typing import Any, TypeVar, overload

from hookline.schemas.broker import Again, Done, Outcome, Parked, Received
from hookline.schemas.envelope import Envelope, to_headers
from hookline.schemas.events import CanonicalEvent, event_topic
from hookline.workers.api import Worker
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import MemoryStore, Store

__all__ = ["Again", "Done", "MemoryStore", "Outcome", "Parked", "deliver"]

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
    received = Received(to_headers(envelope), envelope.content_type, body, attempt, token=None)
    now_s = event.received_at.timestamp()
    pipeline = Pipeline(
        worker.with_state(state), store or MemoryStore(), normalise=lambda _: (event,), clock=lambda: now_s
    )
    work = await pipeline.work(received)
    return work.outcome
