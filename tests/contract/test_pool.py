"""What a pool promises on both brokers: how many functions run at a time, and what becomes of the rest at its end."""

import asyncio

from hookline import Worker, worker
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

ALL = ("#",)
AT_A_TIME = 2
EVENTS = 12
PREFETCH = 16
TURNS = 100


class Calls:
    """A worker whose functions wait to be let go."""

    def __init__(self, queue: str) -> None:
        self.running = self.most = self.begun = 0
        self.let_go = asyncio.Event()
        self.worker = self._worker(queue)

    def _worker(self, queue: str) -> Worker[Event]:
        @worker(topic="#", queue=queue, concurrency=AT_A_TIME)
        async def waits(event: Event) -> None:
            self.running, self.begun = self.running + 1, self.begun + 1
            self.most = max(self.most, self.running)
            await self.let_go.wait()
            self.running -= 1

        return waits


class Counting(MemoryStore):
    claims = 0

    async def claim(self, queue: str, event_id: str, for_s: float, subject: str | None = None) -> Claim:
        self.claims += 1
        return await super().claim(queue, event_id, for_s, subject)


async def _pool(broker: Broker, calls: Calls, store: MemoryStore, works: list[Work]) -> Pool:
    queue = await broker.subscribe(calls.worker.queue, ALL, PREFETCH)
    pipeline = Pipeline(calls.worker, store, normalise=_one)
    return Pool(pipeline, queue, lambda _, work, __: works.append(work))


async def _begin(broker: Broker, calls: Calls, store: Counting, works: list[Work], *, quick: int = 1) -> None:
    """Have some calls return at once, and then all wait while more events come; none of those counts yet."""
    calls.let_go.set()
    await asyncio.gather(*(broker.publisher.publish(envelope()) for _ in range(quick)))
    await eventually(lambda: _is(len(works) == quick))
    calls.let_go.clear()
    works.clear()
    calls.begun = store.claims = 0
    await asyncio.gather(*(broker.publisher.publish(envelope()) for _ in range(EVENTS)))


async def test_more_events_are_claimed_than_functions_run_at_a_time(broker: Broker) -> None:
    calls, store, works = Calls(queue_name()), Counting(), list[Work]()
    pool = await _pool(broker, calls, store, works)
    await _begin(broker, calls, store, works)
    await eventually(lambda: _is(store.claims == EVENTS))
    assert calls.running == AT_A_TIME
    calls.let_go.set()
    await eventually(lambda: _is(len(works) == EVENTS))
    await pool.stop(10)
    assert calls.most == AT_A_TIME


async def test_while_calls_are_long_few_more_events_are_claimed_than_handled(
    installation: Installation, broker: Broker
) -> None:
    calls, store, works = Calls(queue_name()), Counting(), list[Work]()
    pool = await _pool(broker, calls, store, works)
    await _begin(broker, calls, store, works, quick=0)
    await eventually(lambda: _is(store.claims == 2 * AT_A_TIME))
    name = topics.queue_name(calls.worker.queue)
    await eventually(lambda: none_left(installation, name))
    for _ in range(TURNS):  # what has come here could be claimed within these
        await asyncio.sleep(0)
    assert (calls.running, store.claims) == (AT_A_TIME, 2 * AT_A_TIME)
    calls.let_go.set()
    await eventually(lambda: _is(len(works) == EVENTS))
    await pool.stop(10)
    assert calls.most == AT_A_TIME


async def test_what_waits_for_a_function_to_end_is_given_back_when_the_pool_stops(installation: Installation) -> None:
    calls, store, works = Calls(queue_name()), Counting(), list[Work]()
    async with installation.opened() as broker:
        pool = await _pool(broker, calls, store, works)
        await _begin(broker, calls, store, works)
        await eventually(lambda: _is(store.claims == EVENTS))
        stopping = asyncio.create_task(pool.stop(10))
        await asyncio.sleep(0)
        calls.let_go.set()
        await stopping
        assert (calls.begun, len(works)) == (AT_A_TIME, AT_A_TIME)
    async with installation.opened() as broker:
        left = await taken(await broker.subscribe(calls.worker.queue, ALL, PREFETCH), EVENTS - AT_A_TIME)
        claims = [await store.claim(calls.worker.queue, each.headers["cloudEvents_id"], 1) for each in left]
        assert claims == [Acquired()] * len(left)


async def none_left(installation: Installation, name: str) -> bool:
    """Whether the pool's process has every message of a queue."""
    return await installation.depth(name) == 0


async def _is(condition: bool) -> bool:  # noqa: FBT001  a condition's value
    return condition


def _one(sent: Envelope) -> tuple[Event, ...]:
    return (make(RoomCreated, id=sent.id),)
