"""A pool on both brokers: how many functions run at a time, and which events are requeued when it stops."""

import asyncio
from collections.abc import Sequence

import pytest

from hookline import Backoff, Worker, worker
from hookline.events import Event, RoomCreated
from hookline.schemas import topics
from hookline.schemas.broker import Broker
from hookline.schemas.envelope import Envelope
from hookline.workers.pipeline import Pipeline
from hookline.workers.pool import Pool
from hookline.workers.store import Acquired, Claim, MemoryStore
from hookline.workers.work import Work
from tests.contract.installations import Installation, envelope, eventually, queue_name, taken
from tests.events import make
from tests.stopped_pools import kept_in, stop

ALL = ("#",)
AT_A_TIME = 2
EVENTS = 12
PREFETCH = 16
TURNS = 100


class Calls:
    """A worker whose functions wait for `go_on`."""

    def __init__(self, queue: str) -> None:
        self.running = self.most = self.started = 0
        self.go_on = asyncio.Event()
        self.worker = self._worker(queue)

    def _worker(self, queue: str) -> Worker[Event]:
        @worker(topic="#", queue=queue, concurrency=AT_A_TIME)
        async def waits(event: Event) -> None:
            self.running, self.started = self.running + 1, self.started + 1
            self.most = max(self.most, self.running)
            await self.go_on.wait()
            self.running -= 1

        return waits


class Counting(MemoryStore):
    claims = 0

    async def claim(self, queue: str, event_id: str, subject: str | None = None) -> Claim:
        self.claims += 1
        return await super().claim(queue, event_id, subject)


class Grouped(Counting):
    """Implements `GroupStore`."""

    async def claim_all(self, queue: str, events: Sequence[tuple[str, str | None]]) -> Sequence[Claim]:
        return [await self.claim(queue, *event) for event in events]

    async def finish_all(
        self, queue: str, events: Sequence[tuple[str, str | None, float]], *, synced: bool = True
    ) -> Sequence[None]:
        assert synced
        for event_id, subject, occurred_s in events:
            await self.finish(queue, event_id, subject=subject, occurred_s=occurred_s)
        return [None] * len(events)


@pytest.fixture(params=[Counting, Grouped], ids=["asked for each event", "asked in groups"])
def store(request: pytest.FixtureRequest) -> Counting:
    made: Counting = request.param()
    return made


async def _pool(broker: Broker, calls: Calls, store: MemoryStore, works: list[Work]) -> Pool:
    queue = await broker.subscribe(calls.worker.queue, ALL, PREFETCH)
    pipeline = Pipeline(calls.worker, store, normalise=_one)
    return Pool(pipeline, queue, kept_in(works))


async def _publish_waiting(broker: Broker, calls: Calls, store: Counting, works: list[Work], *, quick: int = 1) -> None:
    """Let `quick` calls return at once, then reset the counts and publish events whose calls wait."""
    calls.go_on.set()
    await asyncio.gather(*(broker.publisher.publish(envelope()) for _ in range(quick)))
    await eventually(lambda: _is(len(works) == quick))
    calls.go_on.clear()
    works.clear()
    calls.started = store.claims = 0
    await asyncio.gather(*(broker.publisher.publish(envelope()) for _ in range(EVENTS)))


async def _finish(pool: Pool, calls: Calls, works: list[Work]) -> None:
    """Let all calls return, and check that no more of them ran at a time than allowed."""
    calls.go_on.set()
    await eventually(lambda: _is(len(works) == EVENTS))
    await stop(pool, 10)
    assert calls.most == AT_A_TIME


async def test_while_calls_are_quick_more_events_are_claimed_than_functions_run(
    broker: Broker, store: Counting
) -> None:
    calls, works = Calls(queue_name()), list[Work]()
    pool = await _pool(broker, calls, store, works)
    await _publish_waiting(broker, calls, store, works)
    await eventually(lambda: _is(store.claims == EVENTS and calls.running == AT_A_TIME))
    await _finish(pool, calls, works)


async def test_while_calls_are_slow_only_a_few_more_events_are_claimed_than_functions_run(
    installation: Installation, broker: Broker, store: Counting
) -> None:
    calls, works = Calls(queue_name()), list[Work]()
    pool = await _pool(broker, calls, store, works)
    await _publish_waiting(broker, calls, store, works, quick=0)
    await eventually(lambda: _is(store.claims == 2 * AT_A_TIME and calls.running == AT_A_TIME))
    name = topics.queue_name(calls.worker.queue)
    await eventually(lambda: none_left(installation, name))
    for _ in range(TURNS):  # in which the messages that are here could be claimed
        await asyncio.sleep(0)
    assert (calls.running, store.claims) == (AT_A_TIME, 2 * AT_A_TIME)
    await _finish(pool, calls, works)


async def test_events_that_wait_for_a_running_function_are_requeued_when_the_pool_stops(
    installation: Installation, store: Counting
) -> None:
    calls, works = Calls(queue_name()), list[Work]()
    async with installation.opened() as broker:
        pool = await _pool(broker, calls, store, works)
        await _publish_waiting(broker, calls, store, works)
        await eventually(lambda: _is(store.claims == EVENTS and calls.running == AT_A_TIME))
        stopping = asyncio.create_task(stop(pool, 10))
        await asyncio.sleep(0)
        calls.go_on.set()
        await stopping
        assert (calls.started, len(works)) == (AT_A_TIME, AT_A_TIME)
    async with installation.opened() as broker:
        left = await taken(await broker.subscribe(calls.worker.queue, ALL, PREFETCH), EVENTS - AT_A_TIME)
        claims = [await store.claim(calls.worker.queue, each.headers["cloudEvents_id"]) for each in left]
        assert claims == [Acquired()] * len(left)


async def none_left(installation: Installation, name: str) -> bool:
    """Whether the pool's process has every message of a queue."""
    return await installation.depth(name) == 0


async def _is(condition: bool) -> bool:  # noqa: FBT001  a condition's value
    return condition


def _one(sent: Envelope) -> tuple[Event, ...]:
    return (make(RoomCreated, id=sent.id),)


async def test_each_event_of_a_group_has_its_own_end(broker: Broker) -> None:
    queue, store, works = queue_name(), Grouped(), list[Work]()
    sent = [envelope() for _ in range(4)]

    @worker(topic="#", queue=queue, concurrency=AT_A_TIME, retry=Backoff(attempts=1))
    async def fails_once(event: Event) -> None:
        if event.id == sent[0].id:
            raise ValueError(event.id)

    await store.claim(queue, sent[1].id)
    await store.finish(queue, sent[1].id)
    await store.claim(queue, sent[2].id)
    subscribed = await broker.subscribe(queue, ALL, PREFETCH)
    await asyncio.gather(*map(broker.publisher.publish, sent))
    pool = Pool(
        Pipeline(fails_once, store, normalise=_one),
        subscribed,
        kept_in(works),
    )
    await eventually(lambda: _is(len(works) >= len(sent)))
    await stop(pool, 10)
    reasons = {work.envelope.id: work.outcome.reason for work in works if work.envelope}
    assert [reasons[each.id] for each in sent] == ["failed", "duplicate", "busy", "handled"]


async def test_a_call_that_waits_keeps_no_other_of_its_group_waiting(broker: Broker) -> None:
    queue, store, works, go_on = queue_name(), Grouped(), list[Work](), asyncio.Event()
    sent = [envelope() for _ in range(EVENTS)]

    @worker(topic="#", queue=queue, concurrency=AT_A_TIME)
    async def first_waits(event: Event) -> None:
        if event.id == sent[0].id:
            await go_on.wait()

    pipeline = Pipeline(first_waits, store, normalise=_one)
    pool = Pool(
        pipeline,
        await broker.subscribe(queue, ALL, PREFETCH),
        kept_in(works),
    )
    await asyncio.gather(*map(broker.publisher.publish, sent))
    await eventually(lambda: _is(len(works) == EVENTS - 1))
    go_on.set()
    await eventually(lambda: _is(len(works) == EVENTS))
    await stop(pool, 10)
