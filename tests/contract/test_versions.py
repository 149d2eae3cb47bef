"""Two versions of a worker on one queue: no event is settled by the version that does not want it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from hookline import Worker, worker
from hookline.events import CanonicalEvent, ParticipantJoined, ParticipantLeft
from hookline.schemas.broker import Again, Parked
from hookline.schemas.envelope import Envelope
from hookline.workers.pipeline import Pipeline
from hookline.workers.pool import Pool
from hookline.workers.prefetch import prefetch
from hookline.workers.store import MemoryStore
from hookline.workers.work import Work
from tests.contract.installations import Installation, envelope, eventually
from tests.events import make
from tests.stopped_pools import kept_in, stop

EVENTS = 20
TYPES: dict[str, type[ParticipantJoined | ParticipantLeft]] = {
    "participant.joined": ParticipantJoined,
    "participant.left": ParticipantLeft,
}


def version(queue: str, *events: type[CanonicalEvent]) -> tuple[Worker[CanonicalEvent], list[str]]:
    """A worker that wants these types, and the ids of the events that its function was called with."""
    handled: list[str] = []

    @worker(*events, queue=queue, concurrency=4)
    async def handle(event: CanonicalEvent) -> None:
        handled.append(event.id)

    return handle, handled


def normalise(envelope: Envelope) -> tuple[CanonicalEvent, ...]:
    return (make(TYPES[envelope.event_type], envelope.id, room_id="r", user_id="u"),)


@asynccontextmanager
async def running(
    installation: Installation,
    worker: Worker[CanonicalEvent],
    store: MemoryStore,
    works: list[Work],
    after_s: float = 600,
) -> AsyncIterator[None]:
    """A process that runs the worker."""
    async with installation.opened() as broker:
        queue = await broker.subscribe(worker.queue, worker.patterns, prefetch(worker))
        pipeline = Pipeline(worker, store, normalise=normalise, unwanted_after_s=after_s)
        pool = Pool(pipeline, queue, kept_in(works))
        try:
            yield
        finally:
            await stop(pool, 5)


async def publish(installation: Installation, types: Sequence[str]) -> dict[str, set[str]]:
    """Publish some events of each type; their ids."""
    async with installation.opened() as broker:
        envelopes = [envelope(each) for each in types for _ in range(EVENTS)]
        await asyncio.gather(*(broker.publisher.publish(each) for each in envelopes))
    return {kind: {each.id for each in envelopes if each.event_type == kind} for kind in types}


async def test_a_deploy_that_adds_a_type_loses_no_event(installation: Installation, queue: str) -> None:
    store, works = MemoryStore(), list[Work]()
    old, handled_by_old = version(queue, ParticipantJoined)
    new, handled_by_new = version(queue, ParticipantJoined, ParticipantLeft)
    async with running(installation, old, store, works), running(installation, new, store, works):
        sent = await publish(installation, list(TYPES))

        async def all_are_handled() -> bool:
            return len(handled_by_old) + len(handled_by_new) >= 2 * EVENTS

        await eventually(all_are_handled, 60)
    assert sent["participant.left"] <= set(handled_by_new)
    assert sorted(handled_by_old + handled_by_new) == sorted(set().union(*sent.values()))


async def test_what_waits_at_a_rollback_is_put_back_and_uses_no_attempt(installation: Installation, queue: str) -> None:
    store, works = MemoryStore(), list[Work]()
    new, handled = version(queue, ParticipantJoined, ParticipantLeft)
    async with running(installation, new, store, []):
        pass
    sent = await publish(installation, ["participant.left"])
    old, handled_by_old = version(queue, ParticipantJoined)
    async with running(installation, old, store, works):

        async def all_are_put_back() -> bool:
            return {work.received.headers["cloudEvents_id"] for work in works} == sent["participant.left"]

        await eventually(all_are_put_back)
    assert {(type(work.outcome), work.outcome.reason, work.received.attempt) for work in works} == {
        (Again, "unwanted", 1)
    }
    async with running(installation, new, store, []):

        async def all_are_handled() -> bool:
            return set(handled) == sent["participant.left"]

        await eventually(all_are_handled, 60)
    assert handled_by_old == []


async def test_what_no_process_wants_is_parked_at_last(installation: Installation, queue: str) -> None:
    store, works = MemoryStore(), list[Work]()
    async with running(installation, version(queue, ParticipantLeft)[0], store, []):
        pass
    await publish(installation, ["participant.left"])
    old, handled = version(queue, ParticipantJoined)
    async with running(installation, old, store, works, after_s=0.5):

        async def all_are_parked() -> bool:
            return sum(isinstance(work.outcome, Parked) for work in works) == EVENTS

        await eventually(all_are_parked)
    dead = await installation.dead(queue)
    assert [letter.reason for letter in dead] == ["unwanted"] * EVENTS
    assert handled == []
