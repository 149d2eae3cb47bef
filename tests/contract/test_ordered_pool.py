"""An ordered worker in one process, on both brokers: failures, waiting events, repeats and late events."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from hookline import Backoff, Delivery, Poisoned, Retry, Worker, worker
from hookline.events import CanonicalEvent, RoomCreated
from hookline.schemas import topics
from hookline.schemas.broker import Again, Broker, Done, Outcome, Parked, Queue, Received
from hookline.schemas.dead_letters import Action
from hookline.schemas.envelope import Envelope
from hookline.workers.handler import HandlerLatency
from hookline.workers.ordered_pool import OrderedPool
from hookline.workers.pipeline import Pipeline
from hookline.workers.prefetch import PREFETCH_FACTOR, partition_prefetch
from hookline.workers.store import Assignment, Claim, MemoryStore
from hookline.workers.subject_queues import MANY
from hookline.workers.work import Work
from tests.contract.installations import Installation, envelope, eventually, queue_name
from tests.events import make
from tests.stopped_pools import stop

START_S = envelope().received_at.timestamp()


class Record:
    """Which events a worker was called for, and how they were settled."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.settled: list[tuple[int, str]] = []
        self.late: list[int] = []

    def report(self, _queue: str, settled: Sequence[tuple[Work, float]]) -> None:
        for work, _ in settled:
            self._record(work)

    def _record(self, work: Work) -> None:
        assert work.envelope is not None
        number = int(work.envelope.id, 16)
        match work.outcome:
            case Again(reason=reason):
                self.settled.append((number, f"again: {reason}"))
            case Done(reason=reason) | Parked(reason=reason):
                self.settled.append((number, reason))
        if work.late:
            self.late.append(number)

    def ended(self) -> list[int]:
        return [number for number, reason in self.settled if not reason.startswith("again")]

    async def ends(self, count: int) -> None:
        async def have_ended() -> bool:
            return len(self.ended()) >= count

        await eventually(have_ended, 30)


class Claims(MemoryStore):
    """Implements `GroupStore`. Knows which events are claimed, and lets a test name partitions to revoke."""

    def __init__(self) -> None:
        super().__init__()
        self.claimed: set[str] = set()
        self.surplus: frozenset[str] = frozenset()
        self.revoked: set[str] = set()

    async def claim(self, queue: str, event_id: str, subject: str | None = None) -> Claim:
        claim = await super().claim(queue, event_id, subject)
        self.claimed.add(event_id)
        return claim

    async def finish(self, queue: str, event_id: str, *, subject: str | None = None, occurred_s: float = 0.0) -> None:
        await super().finish(queue, event_id, subject=subject, occurred_s=occurred_s)
        self.claimed.discard(event_id)

    async def claim_all(self, queue: str, events: Sequence[tuple[str, str | None]]) -> Sequence[Claim]:
        return [await self.claim(queue, *event) for event in events]

    async def finish_all(
        self,
        queue: str,
        events: Sequence[tuple[str, str | None, float]],
        *,
        synced: bool = True,  # noqa: ARG002  nothing here is on a disk
    ) -> Sequence[None]:
        for event_id, subject, occurred_s in events:
            await self.finish(queue, event_id, subject=subject, occurred_s=occurred_s)
        return [None] * len(events)

    async def release(self, queue: str, event_id: str, *, failures: int = 0, copy: int = 0, tried: int = 0) -> None:
        await super().release(queue, event_id, failures=failures, copy=copy, tried=tried)
        self.claimed.discard(event_id)

    async def assign(self, queue: str, partitions: Sequence[str], consuming: Collection[str]) -> Assignment:
        assigned = await super().assign(queue, partitions, consuming)
        return Assignment(assigned.partitions - self.revoked, self.surplus - self.revoked)

    async def revoke(self, queue: str, partition: str) -> None:  # noqa: ARG002  there is one
        self.revoked.add(partition)

    async def has(self, count: int) -> bool:
        return len(self.claimed) == count

    async def has_revoked_the_others(self) -> bool:
        """Whether all partitions are revoked but those of the two events that are handled."""
        return len(self.revoked) >= len(topics.PARTITION_WORDS) - 2


def numbered(name: str, handle: Callable[[int, Delivery], Awaitable[None]], **options: Any) -> Worker[Any]:
    @worker(RoomCreated, queue=name, ordered=True, **options)
    async def ordered(event: RoomCreated, delivery: Delivery) -> None:
        await handle(int(event.id, 16), delivery)

    made: Worker[Any] = ordered
    return made


@asynccontextmanager
async def running(
    broker: Broker,
    made: Worker[Any],
    record: Record,
    store: MemoryStore | None = None,
    *,
    go_on_at_stop: asyncio.Event | None = None,
) -> AsyncIterator[None]:
    """An ordered pool, stopped at the end; `go_on_at_stop` is set after the stop has started."""
    store = store or MemoryStore()
    await broker.declare_partitions(made.queue, made.patterns)
    pipeline = Pipeline(made, store, normalise=event_of, clock=lambda: START_S)
    pool = OrderedPool(
        pipeline, store, partial(broker.subscribe, made.queue, made.patterns, partition_prefetch(made)), record.report
    )
    run = asyncio.create_task(pool.run())
    yield
    stopping = asyncio.create_task(stop(pool, 10))
    await asyncio.sleep(0)
    if go_on_at_stop is not None:
        go_on_at_stop.set()
    await stopping
    await run


def event_of(each: Envelope) -> tuple[CanonicalEvent]:
    return (make(RoomCreated, each.id, room_id=each.subject),)


async def publish(broker: Broker, *numbers: int, room: str = "room-1", occurred_s: float = 0) -> None:
    for number in numbers:
        each = envelope(number=number, subject=room)
        await broker.publisher.publish(replace(each, occurred_at=each.occurred_at + timedelta(seconds=occurred_s)))


async def test_a_failing_event_holds_back_its_room_and_no_other(broker: Broker) -> None:
    record, repaired = Record(), asyncio.Event()

    async def handle(number: int, delivery: Delivery) -> None:
        record.started.append(number)
        if number == 0 and not repaired.is_set():
            raise ConnectionError

    made = numbered(queue_name(), handle, retry=Backoff(first_s=0.05, factor=1, attempts=1000))
    async with running(broker, made, record):
        await publish(broker, 0, 1, 2, room="bad")
        for room in range(20):
            await publish(broker, 10 + room, 40 + room, room=f"good-{room}")
        await record.ends(40)
        assert {0, 1, 2}.isdisjoint(record.ended())
        repaired.set()
        await record.ends(43)
    assert [number for number in record.ended() if number < 3] == [0, 1, 2]
    assert set(record.started[: record.started.index(1)]) & {1, 2} == set()


async def test_a_failing_event_is_parked_after_hold_s_and_the_next_is_handled(broker: Broker) -> None:
    record, attempts = Record(), []

    async def handle(number: int, delivery: Delivery) -> None:
        if number == 0:
            attempts.append(delivery.attempt)
            raise ConnectionError

    made = numbered(queue_name(), handle, hold_s=0.5, retry=Backoff(first_s=0.2, factor=1, attempts=1000, jitter=0))
    async with running(broker, made, record):
        await publish(broker, 0, 1)
        await record.ends(2)
    assert [each for each in record.settled if not each[1].startswith("again")] == [(0, "failed"), (1, "handled")]
    assert attempts == [1, 2, 3, 4]


async def test_a_failing_event_keeps_its_attempts_however_many_wait_behind_it(broker: Broker) -> None:
    record, attempts, all_published = Record(), Counter[int](), asyncio.Event()

    async def handle(number: int, delivery: Delivery) -> None:
        await all_published.wait()
        attempts[number] += 1
        if number in (0, 50) and attempts[number] < 4:
            raise ConnectionError

    made = numbered(queue_name(), handle, retry=Backoff(first_s=0.05, factor=1, attempts=4))
    async with running(broker, made, record):
        await publish(broker, *range(150))
        all_published.set()
        await record.ends(150)
    assert [each for each in record.settled if not each[1].startswith("again")] == [
        (number, "handled") for number in range(150)
    ]


async def test_an_event_that_is_retried_at_once_does_not_delay_others(broker: Broker) -> None:
    record, retried, arrived = Record(), asyncio.Event(), asyncio.Event()

    async def handle(number: int, delivery: Delivery) -> None:
        if number == 1:
            arrived.set()
        elif not arrived.is_set():
            retried.set()
            raise Retry(after_s=0)

    async with running(broker, numbered(queue_name(), handle, hold_s=10), record):
        await publish(broker, 0, room="retried")
        await retried.wait()
        await publish(broker, 1, room="other")
        await record.ends(2)
    assert sorted(each for each in record.settled if not each[1].startswith("again")) == [
        (0, "handled"),
        (1, "handled"),
    ]


async def test_an_event_is_parked_after_its_last_attempt_before_hold_s(broker: Broker) -> None:
    record = Record()

    async def handle(number: int, delivery: Delivery) -> None:
        if number == 0:
            raise ConnectionError

    made = numbered(queue_name(), handle, retry=Backoff(first_s=0.01, attempts=3))
    async with running(broker, made, record):
        await publish(broker, 0, 1)
        await record.ends(2)
    assert record.settled == [(0, "again: failed"), (0, "again: failed"), (0, "failed"), (1, "handled")]


async def test_an_event_that_always_asks_for_a_retry_is_parked_after_hold_s(broker: Broker) -> None:
    record = Record()

    async def handle(number: int, delivery: Delivery) -> None:
        if number == 0:
            raise Retry(after_s=3600)

    async with running(broker, numbered(queue_name(), handle, hold_s=0.3), record):
        await publish(broker, 0, 1)
        await record.ends(2)
    assert record.settled == [(0, "again: retry"), (0, "retry"), (1, "handled")]


async def test_a_dead_letter_of_an_ordered_worker_has_the_reason_and_the_attempts(
    installation: Installation, broker: Broker
) -> None:
    record, name = Record(), queue_name()

    async def handle(number: int, delivery: Delivery) -> None:
        raise ValueError("no such room")

    async with running(broker, numbered(name, handle, retry=Backoff(first_s=0.01, attempts=3)), record):
        await publish(broker, 0)
        await record.ends(1)
    (dead_letter,) = await installation.dead(name)
    assert (dead_letter.reason, dead_letter.attempts) == ("failed", 3)
    assert "ValueError: no such room" in dead_letter.detail


async def test_an_event_that_is_replayed_before_its_parking_is_confirmed_is_called_again(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ has the dead letter before the worker has its confirm."""
    record, name, calls = Record(), queue_name(), Counter[int]()

    async def handle(number: int, delivery: Delivery) -> None:
        calls[number] += 1
        if calls[number] == 1:
            raise Poisoned("once")

    async def replay_is_taken() -> bool:
        return len(taken) == 1 + 1

    taken: list[Received] = []
    subscribe = broker.subscribe

    async def replaying(*arguments: Any) -> Queue:
        queue = await subscribe(*arguments)
        settle, take = queue.settle, queue.take

        async def take_and_note() -> Received:
            taken.append(received := await take())
            return received

        async def settle_late(received: Received, outcome: Outcome) -> bool:
            is_passed_on = await settle(received, outcome)
            if isinstance(outcome, Parked):
                replayed = [each async for each in broker.dead_letters.scan(name, lambda _: Action.REPLAY)]
                assert len(replayed) == 1
                await eventually(replay_is_taken, 30)
            return is_passed_on

        monkeypatch.setattr(queue, "take", take_and_note)
        monkeypatch.setattr(queue, "settle", settle_late)
        return queue

    monkeypatch.setattr(broker, "subscribe", replaying)
    async with running(broker, numbered(name, handle), record):
        await publish(broker, 0)
        await record.ends(2)
    assert record.settled == [(0, "poisoned"), (0, "handled")]


async def test_a_poisoned_event_is_parked_at_once(broker: Broker) -> None:
    record = Record()

    async def handle(number: int, delivery: Delivery) -> None:
        if number == 0:
            raise Poisoned("why")

    async with running(broker, numbered(queue_name(), handle), record):
        await publish(broker, 0, 1)
        await record.ends(2)
    assert record.settled == [(0, "poisoned"), (1, "handled")]


async def test_a_repeat_that_waits_behind_its_event_is_a_duplicate(broker: Broker) -> None:
    record, begun, go_on = Record(), asyncio.Event(), asyncio.Event()

    async def handle(number: int, delivery: Delivery) -> None:
        record.started.append(number)
        begun.set()
        await go_on.wait()

    async with running(broker, numbered(queue_name(), handle), record):
        await publish(broker, 0)
        await begun.wait()
        await publish(broker, 0, 1, 0)
        go_on.set()
        await record.ends(4)
    assert record.started == [0, 1]
    assert record.settled == [(0, "handled"), (0, "duplicate"), (1, "handled"), (0, "duplicate")]


async def test_a_repeat_that_waits_behind_a_parked_event_is_not_handled(broker: Broker) -> None:
    record, go_on = Record(), asyncio.Event()

    async def handle(number: int, delivery: Delivery) -> None:
        record.started.append(number)
        await go_on.wait()
        if number == 0:
            raise Poisoned("why")

    async with running(broker, numbered(queue_name(), handle), record):
        await publish(broker, 0, 1, 0)
        await publish(broker, 2, room="room-2")  # the last of all, in another subject queue

        async def begun() -> bool:
            return len(record.started) == 2

        await eventually(begun)
        go_on.set()
        await record.ends(4)
    assert sorted(record.started) == [0, 1, 2]
    assert [each for each in record.settled if each[0] != 2] == [(0, "poisoned"), (1, "handled"), (0, "duplicate")]


async def test_at_most_concurrency_events_are_in_flight_and_one_of_each_room(broker: Broker) -> None:
    record, rooms, most, all_busy = Record(), set(), 0, asyncio.Event()

    async def handle(number: int, delivery: Delivery) -> None:
        nonlocal most
        room = number % 10
        assert room not in rooms
        rooms.add(room)
        most = max(most, len(rooms))
        if most == 4:
            all_busy.set()
        await all_busy.wait()
        for _ in range(10):  # turns of the event loop in which too many would start
            await asyncio.sleep(0)
        rooms.discard(room)

    async with running(broker, numbered(queue_name(), handle, concurrency=4), record):
        publishing = (publish(broker, number, room=f"room-{number % 10}") for number in range(100))
        await asyncio.gather(*publishing)
        await record.ends(100)
    assert most == 4
    assert {reason for _, reason in record.settled} == {"handled"}


async def test_at_the_stop_events_in_flight_finish_and_waiting_ones_are_requeued(broker: Broker) -> None:
    name, first, second = queue_name(), Record(), Record()
    store, begun, go_on = MemoryStore(), asyncio.Event(), asyncio.Event()

    async def wait(number: int, delivery: Delivery) -> None:
        begun.set()
        await go_on.wait()

    async def handle(number: int, delivery: Delivery) -> None: ...

    async with running(broker, numbered(name, wait, concurrency=1), first, store, go_on_at_stop=go_on):
        await publish(broker, *range(10))
        await begun.wait()
    assert first.settled == [(0, "handled")]
    async with running(broker, numbered(name, handle), second, store):
        await second.ends(9)
    assert second.settled == [(number, "handled") for number in range(1, 10)]


@asynccontextmanager
async def two_of_ten_started(
    broker: Broker, *, quick: bool = True
) -> AsyncIterator[tuple[Record, Claims, asyncio.Event]]:
    """Twenty events in ten rooms, of which two are handled until the event is set or the pool stops.

    If calls were quick before, one of each room is claimed.
    """
    record, store, go_on = Record(), Claims(), asyncio.Event()

    async def handle(number: int, delivery: Delivery) -> None:
        record.started.append(number)
        await go_on.wait()

    async def have_begun() -> bool:
        return len(record.started) == 2 and await store.has(10 if quick else 4)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HandlerLatency, "is_quick", quick)
        async with running(broker, numbered(queue_name(), handle, concurrency=2), record, store, go_on_at_stop=go_on):
            for number in range(20):
                await publish(broker, number, room=f"room-{number % 10}")
            await eventually(have_begun)
            yield record, store, go_on


async def test_while_calls_are_slow_few_more_events_are_claimed_than_functions_run(broker: Broker) -> None:
    async with two_of_ten_started(broker, quick=False) as (record, store, go_on):
        await asyncio.sleep(0.2)  # in which all could be claimed
        assert (len(record.started), len(store.claimed)) == (2, 4)
        go_on.set()
        await record.ends(20)
    assert {reason for _, reason in record.settled} == {"handled"}


async def test_a_worker_whose_calls_become_slow_keeps_fewer_events_claimed(broker: Broker) -> None:
    store, record = Claims(), Record()
    most_at_the_end = 0

    async def handle(number: int, delivery: Delivery) -> None:
        nonlocal most_at_the_end
        if number >= 20:
            await asyncio.sleep(0.05)
        if number >= 100:
            most_at_the_end = max(most_at_the_end, len(store.claimed))

    async with running(broker, numbered(queue_name(), handle, concurrency=2), record, store):
        for number in range(120):
            await publish(broker, number, room=f"room-{number % 10}")
        await record.ends(120)
    assert 2 <= most_at_the_end <= 5  # one that ends and the next


async def test_events_of_more_rooms_are_claimed_than_functions_run(broker: Broker) -> None:
    async with two_of_ten_started(broker) as (record, _, go_on):
        assert len(record.started) == 2
        go_on.set()
        await record.ends(20)
    assert {reason for _, reason in record.settled} == {"handled"}


async def test_at_the_stop_claimed_events_that_were_not_started_are_requeued_and_released(broker: Broker) -> None:
    async with two_of_ten_started(broker) as (record, store, _):
        pass
    assert sorted(record.ended()) == sorted(record.started)
    assert len(record.started) == 2
    assert not store.claimed


async def test_a_surplus_partition_is_revoked_although_claimed_events_wait(broker: Broker) -> None:
    async with two_of_ten_started(broker) as (record, store, go_on):
        store.surplus = frozenset(topics.PARTITION_WORDS)
        await eventually(store.has_revoked_the_others)
        assert len(store.claimed) == 2
        go_on.set()
    assert len(record.ended()) == 2


@asynccontextmanager
async def tenth_of_many_started(broker: Broker) -> AsyncIterator[tuple[Record, Claims, asyncio.Event]]:
    """One room has forty events, of which the tenth is handled until the event is set or the pool stops."""
    record, store, go_on = Record(), Claims(), asyncio.Event()

    async def handle(number: int, delivery: Delivery) -> None:
        record.started.append(number)
        if number == 10:
            await go_on.wait()

    async def has_two() -> bool:
        return store.claimed == {f"{number:032x}" for number in (10, 11)}

    made = numbered(queue_name(), handle)
    await broker.declare_partitions(made.queue, made.patterns)
    await publish(broker, *range(40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HandlerLatency, "is_quick", True)
        async with running(broker, made, record, store, go_on_at_stop=go_on):
            await eventually(has_two)
            yield record, store, go_on


async def test_the_next_event_of_a_long_queue_is_claimed_ahead(broker: Broker) -> None:
    async with tenth_of_many_started(broker) as (record, _, go_on):
        assert record.started == list(range(11))
        go_on.set()
        await record.ends(40)
    assert record.started == list(range(40))
    assert {reason for _, reason in record.settled} == {"handled"}


async def test_at_the_stop_what_was_claimed_ahead_is_released(broker: Broker) -> None:
    async with tenth_of_many_started(broker) as (record, store, _):
        pass
    assert record.ended() == record.started == list(range(11))
    assert not store.claimed


async def test_what_was_claimed_ahead_is_released_with_its_partition(broker: Broker) -> None:
    async with tenth_of_many_started(broker) as (record, store, go_on):
        store.surplus = frozenset(topics.PARTITION_WORDS)
        await eventually(store.has_revoked_the_others)
        go_on.set()

        async def has_none() -> bool:
            return len(store.revoked) == len(topics.PARTITION_WORDS) and not store.claimed

        await eventually(has_none)
    assert record.ended() == list(range(11))


async def test_events_are_held_back_and_handled_in_the_order_of_their_time(broker: Broker) -> None:
    record = Record()

    async def handle(number: int, delivery: Delivery) -> None:
        record.started.append(number)

    async with running(broker, numbered(queue_name(), handle, reorder_s=1.0), record):
        for number in (3, 1, 2, 0):
            await publish(broker, number, occurred_s=number)
        await record.ends(4)
        await publish(broker, 9, occurred_s=-1)
        await record.ends(5)
    assert record.started == [0, 1, 2, 3, 9]
    assert record.late == [9]


async def test_only_the_latest_event_of_a_subject_is_handled(broker: Broker) -> None:
    record = Record()

    async def handle(number: int, delivery: Delivery) -> None: ...

    async with running(broker, numbered(queue_name(), handle, latest_only=True), record):
        for number in (2, 1, 3):
            await publish(broker, number, occurred_s=number)
        await record.ends(3)
    assert record.settled == [(2, "handled"), (1, "superseded"), (3, "handled")]


async def test_late_events_of_many_long_queues_are_superseded(broker: Broker) -> None:
    """Each is claimed while a newer one is handled, and all other subjects have a turn before it would be called."""
    record = Record()
    rooms, each = 3 * PREFETCH_FACTOR, 2 + MANY

    async def handle(number: int, delivery: Delivery) -> None: ...

    made = numbered(queue_name(), handle, latest_only=True, concurrency=1)
    await broker.declare_partitions(made.queue, made.patterns)
    for place in range(each):
        is_late = place % 2
        for room in range(rooms):
            occurred_s = place - 1.5 if is_late else place
            await publish(broker, place * rooms + room, room=f"room-{room}", occurred_s=occurred_s)
    async with running(broker, made, record):
        await record.ends(rooms * each)
    handled = {number // rooms for number, reason in record.settled if reason == "handled"}
    assert handled == set(range(0, each, 2))


async def test_the_late_events_of_a_long_queue_are_superseded_where_another_process_has_handled_a_newer_one(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of them are claimed ahead."""
    record, store = Record(), MemoryStore()

    async def handle(number: int, delivery: Delivery) -> None: ...

    made = numbered(queue_name(), handle, latest_only=True)
    subject = envelope(subject="room-1").ordered_by
    await store.finish(made.queue, "newer", subject=subject, occurred_s=START_S + 1)
    await broker.declare_partitions(made.queue, made.patterns)
    await publish(broker, *range(3 * MANY))
    monkeypatch.setattr(HandlerLatency, "is_quick", True)
    async with running(broker, made, record, store):
        await record.ends(3 * MANY)
    assert {reason for _, reason in record.settled} == {"superseded"}
