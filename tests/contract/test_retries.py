"""The contract of both brokers for retries: when they arrive, how they are counted, and that none is lost."""

import asyncio
import signal
import sys
from collections.abc import Sequence

from hookline import Backoff, worker
from hookline.events import CanonicalEvent, Event, RoomCreated
from hookline.schemas.broker import Again, Broker, Outcome, Parked
from hookline.workers.pipeline import Pipeline
from hookline.workers.pool import Pool
from hookline.workers.store import MemoryStore
from hookline.workers.work import Work
from tests.contract.installations import Installation, envelope, eventually, queue_name, taken
from tests.events import make
from tests.stopped_pools import stop

ALL = ("#",)
WITHIN_S = 30.0
EVENT = make(RoomCreated)


async def test_a_retry_arrives_after_its_exact_delay(broker: Broker) -> None:
    """None of ten arrives earlier, and the first arrives before the rounded delay of its queue."""
    delay_s, at_most_s = 3.05, 3.5
    queue = await broker.subscribe(queue_name(), ALL, 10)
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(broker.publisher.publish(envelope()) for _ in range(10)))
    began = {}
    for received in await taken(queue, 10):
        began[received.headers["cloudEvents_id"]] = loop.time()
        await queue.settle(received, Again(delay_s, 2, "not yet"))
    waited = []
    for _ in began:
        (received,) = await taken(queue)
        waited.append(loop.time() - began[received.headers["cloudEvents_id"]])
    assert min(waited) >= delay_s - 0.002
    assert min(waited) <= at_most_s


async def test_attempts_are_counted_across_restarts_of_the_worker(
    installation: Installation,
) -> None:
    """The delay is longer than a new retry queue of RabbitMQ waits for its first message, and than a process ends."""
    calls: list[int] = []
    name = queue_name()

    @worker(topic="#", queue=name, retry=Backoff(first_s=1.5, factor=1, attempts=5))
    async def failing(event: Event) -> None:
        calls.append(1)
        raise ValueError("why")

    async def once() -> Outcome:
        """The outcome of the next delivery in a process of its own."""
        ended = asyncio.Event()
        works: list[Work] = []

        def report(_: str, settled: Sequence[tuple[Work, float]]) -> None:
            works.extend(work for work, _ in settled)
            ended.set()

        async with installation.opened() as broker:
            queue = await broker.subscribe(name, ALL, 2)
            pool = Pool(Pipeline(failing, MemoryStore(), normalise=_one, clock=_no_time_later), queue, report)
            async with asyncio.timeout(WITHIN_S):
                await ended.wait()
            await stop(pool, 1)
        return works[0].outcome

    async with installation.opened() as broker:
        await (await broker.subscribe(name, ALL, 1)).close()
        await broker.publisher.publish(envelope())
        outcomes = [await once() for _ in range(5)]
        assert [outcome.attempt for outcome in outcomes if isinstance(outcome, Again)] == [2, 3, 4, 5]
        last = outcomes[-1]
        assert isinstance(last, Parked)
        assert (last.attempts, len(calls)) == (5, 5)

        async def is_parked() -> bool:
            return await broker.dead_letters.count(name) == 1

        await eventually(is_parked)


def _one(_: object) -> tuple[CanonicalEvent, ...]:
    return (EVENT,)


def _no_time_later() -> float:
    return envelope().received_at.timestamp()


async def test_no_event_is_lost_when_its_worker_dies_between_publishing_the_retry_and_acknowledging(
    installation: Installation, broker: Broker
) -> None:
    name = queue_name()
    await (await broker.subscribe(name, ALL, 1)).close()
    event = envelope()
    await broker.publisher.publish(event)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.contract.dying_process", installation.address, name
    )
    async with asyncio.timeout(WITHIN_S):
        assert await process.wait() == -signal.SIGKILL
    queue = await broker.subscribe(name, ALL, 10)
    (received,) = await taken(queue, within_s=WITHIN_S)
    assert received.headers["cloudEvents_id"] == event.id


async def test_headers_that_the_server_sets_on_a_retry_are_removed(installation: Installation, broker: Broker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 1)
    await broker.publisher.publish(envelope())
    for attempt in (2, 3):
        (received,) = await taken(queue)
        await queue.settle(received, Again(0.1, attempt, "not yet"))
    (received,) = await taken(queue)
    assert not [header for header in received.headers if header.startswith("x-")]
    await queue.settle(received, Parked("failed", "", 3))

    async def is_parked() -> bool:
        return await broker.dead_letters.count(name) == 1

    await eventually(is_parked)
    (dead_letter,) = await installation.dead(name)
    assert not {"x-death", "x-first-death-queue", "x-first-death-reason"} & dead_letter.headers.keys()
