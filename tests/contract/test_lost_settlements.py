"""A settlement that is lost after its effect gives an event no more attempts, and no second end.

The worker has passed a copy on, RabbitMQ has confirmed it, and the channel is closed before the ack is sent.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partialmethod
from typing import Any

import pytest

from hookline import Backoff, Delivery, Poisoned, Retry, Worker, worker
from hookline.broker.rabbitmq.ack_batcher import AckBatcher
from hookline.events import CanonicalEvent, RoomCreated
from hookline.schemas import topics
from hookline.schemas.broker import Broker
from hookline.workers.pipeline import Pipeline
from hookline.workers.pool import Pool
from tests.contract.installations import RabbitMQInstallation, envelope, eventually, fresh_rabbitmq
from tests.contract.stores import Another, real_stores
from tests.events import make
from tests.stopped_pools import stop

ATTEMPTS = 3
PROCESSES = 2
WITHIN_S = 60.0


class Losing:
    """Loses the first acknowledgements of all consumers, each with its channel."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.left = count
        self._done = AckBatcher.done
        self._closing: set[asyncio.Task[Any]] = set()
        monkeypatch.setattr(AckBatcher, "done", partialmethod(_lose_one_of, self))

    def lose(self, acks: AckBatcher, *tags: int) -> None:
        if not self.left or not acks.is_open:
            self._done(acks, *tags)
            return
        self.left -= 1
        acks.end()
        channel = acks._acknowledge.__self__.channel  # type: ignore[attr-defined]  # noqa: SLF001  a test's cut
        self._closing.add(asyncio.create_task(channel.close()))


def _lose_one_of(acks: AckBatcher, losing: Losing, *tags: int) -> None:
    losing.lose(acks, *tags)


class Calls:
    """A worker whose function fails in a way of its own, and counts its calls."""

    def __init__(self, queue: str, error: Exception, returns_after: int = 100) -> None:
        self.count = 0
        self.attempts: list[int] = []
        self._error = error
        self._returns_after = returns_after
        self.worker = self._worker(queue)

    def _worker(self, queue: str) -> Worker[Any]:
        @worker(topic="#", queue=queue, retry=Backoff(first_s=0.3, factor=1, attempts=ATTEMPTS))
        async def fail(event: CanonicalEvent, delivery: Delivery) -> None:
            self.count += 1
            self.attempts.append(delivery.attempt)
            if self.count <= self._returns_after:
                raise self._error

        return fail


@pytest.fixture
async def rabbitmq(request: pytest.FixtureRequest) -> RabbitMQInstallation:
    return await fresh_rabbitmq(request.config)


@asynccontextmanager
async def working(rabbitmq: RabbitMQInstallation, another: Another, calls: Calls) -> AsyncIterator[Broker]:
    """Processes that work on the queue, with an event in it. The result is the broker of one of them."""
    clock = envelope().received_at.timestamp
    async with AsyncExitStack() as stack:
        brokers = [await stack.enter_async_context(rabbitmq.opened()) for _ in range(PROCESSES)]
        for broker in brokers:
            store = await stack.enter_async_context(another())
            pipeline = Pipeline(calls.worker, store, normalise=_normalise, clock=clock)
            pool = Pool(pipeline, await broker.subscribe(calls.worker.queue, ("#",), 4), lambda *_: None)
            stack.push_async_callback(stop, pool, 10)
        await brokers[0].publisher.publish(envelope())
        yield brokers[0]


def _normalise(sealed: Any) -> tuple[CanonicalEvent, ...]:
    return (make(RoomCreated, sealed.id),)


async def at_rest(
    rabbitmq: RabbitMQInstallation, broker: Broker, calls: Calls, count: int, losing: Losing, dead: int
) -> None:
    """Wait until the function was called so often, and nothing is left but dead letters."""
    queue = calls.worker.queue

    async def is_over() -> bool:
        left = await rabbitmq.depth(topics.queue_name(queue))
        waiting = await broker.retries.count(queue)
        now = (calls.count, losing.left, left, waiting, await broker.dead_letters.count(queue))
        return now == (count, 0, 0, 0, dead)

    await eventually(is_over, WITHIN_S)


@real_stores
async def test_an_event_that_always_fails_has_its_attempts_and_one_dead_letter(
    rabbitmq: RabbitMQInstallation, another: Another, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing, calls = Losing(monkeypatch, ATTEMPTS), Calls(queue, ValueError("no"))
    async with working(rabbitmq, another, calls) as broker:
        await at_rest(rabbitmq, broker, calls, ATTEMPTS, losing, dead=1)
    assert calls.attempts == [1, 2, 3]
    (dead,) = await rabbitmq.dead(queue)
    assert (dead.reason, dead.attempts) == ("failed", ATTEMPTS)


@real_stores
async def test_a_poisonous_event_has_one_dead_letter(
    rabbitmq: RabbitMQInstallation, another: Another, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing, calls = Losing(monkeypatch, 1), Calls(queue, Poisoned("never"))
    async with working(rabbitmq, another, calls) as broker:
        await at_rest(rabbitmq, broker, calls, 1, losing, dead=1)
    assert calls.count == 1
    assert [each.reason for each in await rabbitmq.dead(queue)] == ["poisoned"]


@pytest.mark.parametrize("address", ["redis"], indirect=True)
async def test_an_event_that_is_retried_on_request_is_called_no_more_often(
    rabbitmq: RabbitMQInstallation, another: Another, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing, calls = Losing(monkeypatch, 2), Calls(queue, Retry(after_s=0.3), returns_after=4)
    async with working(rabbitmq, another, calls) as broker:
        await at_rest(rabbitmq, broker, calls, 5, losing, dead=0)
    assert calls.attempts == [1] * 5
