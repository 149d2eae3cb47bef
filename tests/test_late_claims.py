"""A process that loses its claim while it prepares a call does not call the function."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hookline import Delivery, worker
from hookline.events import ParticipantJoined
from hookline.schemas.broker import Again, Received
from hookline.schemas.envelope import to_headers
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import Acquired, Claim, MemoryStore
from tests.contract.installations import envelope
from tests.events import START, make

EVENT = make(ParticipantJoined, "e", user_id="u")

# ruff: noqa: ARG002  stand-ins take what the real ones do


class FreezingStore(MemoryStore):
    """The process is frozen while it waits for an answer: another has the claim afterwards."""

    is_lost = False

    def holds(self, queue: str, event_id: str) -> bool:
        return not self.is_lost

    @asynccontextmanager
    async def transaction(
        self, queue: str, event_id: str, *, timeout_s: float, subject: str | None = None, occurred_s: float = 0.0
    ) -> AsyncIterator[None]:
        self.is_lost = True
        yield

    async def mark_exclusive(self, queue: str, event_id: str) -> None:
        self.is_lost = True


class SuspectingStore(FreezingStore):
    """Each event was in flight at two deaths."""

    async def claim(self, queue: str, event_id: str, subject: str | None = None) -> Claim:
        return Acquired(deaths=2)


@pytest.mark.parametrize(
    ("store", "transactional"),
    [
        pytest.param(FreezingStore(), True, id="a transaction began"),
        pytest.param(SuspectingStore(), False, id="a crash suspect was marked"),
    ],
)
async def test_a_claim_that_is_lost_while_a_call_is_prepared_calls_nothing(
    store: FreezingStore, *, transactional: bool
) -> None:
    calls: list[str] = []

    @worker(ParticipantJoined, transactional=transactional)
    async def count(event: ParticipantJoined, delivery: Delivery) -> None:
        calls.append(event.id)

    pipeline = Pipeline(count, store, normalise=lambda _: (EVENT,), clock=START.timestamp)
    received = Received(to_headers(envelope("participant.joined")), "", b"{}", 1, None)
    outcome = (await pipeline.work(received)).outcome
    assert isinstance(outcome, Again)
    assert (outcome.reason, outcome.attempt) == ("busy", 1)
    assert (store.is_lost, calls) == (True, [])
