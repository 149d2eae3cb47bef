"""An ordered worker on both brokers: what fails, waits, repeats itself or comes late within one process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from msgspec.structs import replace

from hookline import Backoff, Delivery, Poisoned, Retry, Worker, worker
from hookline.events import CanonicalEvent, RoomCreated
from hookline.schemas import topics
from hookline.schemas.broker import Again, Broker, Done, Parked
from hookline.schemas.envelope import Envelope
from hookline.workers.ordered_pool import OrderedPool, partition_prefetch
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import Assignment, Claim, MemoryStore
from hookline.workers.work import Work
from tests.contract.installations import Installation, envelope, eventually, queue_name
from tests.events import make

START_S = envelope().received_at.timestamp()


class Diary:
    """What a worker did, and how it was settled."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.settled: list[tuple[int, str]] = []
        self.late: list[int] = []

    def report(self, _queue: str, work: Work, _seconds: float) -> None:
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
        async def so_many() -> bool:
            return len(self.ended()) >= count

        await eventually(so_many, 30)


class Claims(MemoryStore):
    """Knows what is claimed, and lets a test take partitions away."""

    def __init__(self) -> None:
        super().__init__()
        self.held: set[str] = set()
        self.surplus: frozenset[str] = frozenset()
        self.let: set[str] = set()

    async def claim(self, queue: str, event_id: str, subject: str | None = None) -> Claim:
        claim = await super().claim(queue, event_id, subject)
        self.held.add(event_id)
        return claim

    async def finish(self, queue: str, event_id: str, *, subject: str | None = None, occurred_s: float = 0.0) -> None:
        await super().finish(queue, event_id, subject=subject, occurred_s=occurred_s)
        self.held.discard(event_id)

    async def release(self, queue: str, event_id: str, *, failed: bool = False, parked: bool = False) -> None:
        await super().release(queue, event_id, failed=failed, parked=parked)
        self.held.discard(event_id)

    async def assign(self, queue: str, partitions: Sequence[str], consuming: Collection[str]) -> Assignment:
        held = await super().assign(queue, partitions, consuming)
        return Assignment(held.partitions - self.let, self.surplus - self.let)

    async def revoke(self, queue: str, partition: str) -> None:  # noqa: ARG002  there is one
        self.let.add(partition)

    async def has(self, count: int) -> bool:
        return len(self.held) == count

    async def has_let_go_of_others(self) -> bool:
        """Of all partitions but those of the two that are handled."""
        return len(self.let) >= len(topics.PARTITION_WORDS) - 2


def numbered(name: str, handle: Callable[[int, Delivery], Awaitable[None]], **options: Any) -> Worker[Any]:
    @worker(RoomCreated, queue=name, ordered=True, **options)
    async def ordered(event: RoomCreated, delivery: Delivery) -> None:
        await handle(int(event.id, 16), delivery)

    made: Worker[Any] = ordered
    return made


@asynccontextmanager
async def running(
    broker: Broker, made: Worker[Any], diary: Diary, store: MemoryStore | None = None
) -> AsyncIterator[None]:
    store = store or MemoryStore()
    await broker.declare_partitions(made.queue, made.patterns)
    pipeline = Pipeline(made, store, normalise=event_of, clock=lambda: START_S)
    pool = OrderedPool(
        pipeline, store, partial(broker.subscribe, made.queue, made.patterns, partition_prefetch(made)), diary.report
    )
    run = asyncio.create_task(pool.run())
    yield
    await pool.stop(10)
    await run


def event_of(each: Envelope) -> tuple[CanonicalEvent]:
    return (make(RoomCreated, each.id, room_id=each.subject),)


async def publish(broker: Broker, *numbers: int, room: str = "room-1", occurred_s: float = 0) -> None:
    for number in numbers:
        each = envelope(number=number, subject=room)
        await broker.publisher.publish(replace(each, occurred_at=each.occurred_at + timedelta(seconds=occurred_s)))


async def test_a_failing_event_holds_back_its_room_and_no_other(broker: Broker) -> None:
    diary, mended = Diary(), asyncio.Event()

    async def handle(number: int, delivery: Delivery) -> None:
        diary.begun.append(number)
        if number == 0 and not mended.is_set():
            raise ConnectionError

    made = numbered(queue_name(), handle, retry=Backoff(first_s=0.05, factor=1, attempts=1000))
    async with running(broker, made, diary):
        await publish(broker, 0, 1, 2, room="bad")
        for room in range(20):
            await publish(broker, 10 + room, 40 + room, room=f"good-{room}")
        await diary.ends(40)
        assert {0, 1, 2}.isdisjoint(diary.ended())
        mended.set()
        await diary.ends(43)
    assert [number for number in diary.ended() if number < 3] == [0, 1, 2]
    assert set(diary.begun[: diary.begun.index(1)]) & {1, 2} == set()


async def test_a_failing_event_is_parked_when_its_time_is_over_and_the_next_goes_on(broker: Broker) -> None:
    diary, attempts = Diary(), []

    async def handle(number: int, delivery: Delivery) -> None:
        if number == 0:
            attempts.append(delivery.attempt)
            raise ConnectionError

    made = numbered(queue_name(), handle, hold_s=0.5, retry=Backoff(first_s=0.2, factor=1, attempts=1000, jitter=0))
    async with running(broker, made, diary):
        await publish(broker, 0, 1)
        await diary.ends(2)
    assert [each for each in diary.settled if not each[1].startswith("again")] == [(0, "failed"), (1, "handled")]
    assert attempts == [1, 2, 3, 4]


async def test_an_event_that_is_tried_again_at_once_keeps_no_other_from_arriving(broker: Broker) -> None:
    diary, tries, came = Diary(), asyncio.Event(), asyncio.Event()

    async def handle(number: int, delivery: Delivery) -> None:
        if number == 1:
            came.set()
        elif not came.is_set():
            tries.set()
            raise Retry(after_s=0)

    async with running(broker, numbered(queue_name(), handle, hold_s=10), diary):
        await publish(broker, 0, room="impatient")
        await tries.wait()
        await publish(broker, 1, room="other")
        await diary.ends(2)
    assert sorted(each for each in diary.settled if not each[1].startswith("again")) == [(0, "handled"), (1, "handled")]


async def test_attempts_that_are_used_up_park_an_event_before_its_time(broker: Broker) -> None:
    diary = Diary()

    async def handle(number: int, delivery: Delivery) -> None:
        if number == 0:
            raise ConnectionError

    made = numbered(queue_name(), handle, retry=Backoff(first_s=0.01, attempts=3))
    async with running(broker, made, diary):
        await publish(broker, 0, 1)
        await diary.ends(2)
    assert diary.settled == [(0, "again: failed"), (0, "again: failed"), (0, "failed"), (1, "handled")]


async def test_an_event_that_asks_for_retries_without_end_is_parked_when_its_time_is_over(broker: Broker) -> None:
    diary = Diary()

    async def handle(number: int, delivery: Delivery) -> None:
        if number == 0:
            raise Retry(after_s=3600)

    async with running(broker, numbered(queue_name(), handle, hold_s=0.3), diary):
        await publish(broker, 0, 1)
        await diary.ends(2)
    assert diary.settled == [(0, "again: retry"), (0, "retry"), (1, "handled")]


async def test_the_letter_of_an_ordered_worker_keeps_why_and_how_often(
    installation: Installation, broker: Broker
) -> None:
    diary, name = Diary(), queue_name()

    async def handle(number: int, delivery: Delivery) -> None:
        raise ValueError("no such room")

    async with running(broker, numbered(name, handle, retry=Backoff(first_s=0.01, attempts=3)), diary):
        await publish(broker, 0)
        await diary.ends(1)
    (letter,) = await installation.dead(name)
    assert (letter.reason, letter.attempts) == ("failed", 3)
    assert "ValueError: no such room" in letter.detail


async def test_a_poisoned_event_is_parked_at_once(broker: Broker) -> None:
    diary = Diary()

    async def handle(number: int, delivery: Delivery) -> None:
        if number == 0:
            raise Poisoned("why")

    async with running(broker, numbered(queue_name(), handle), diary):
        await publish(broker, 0, 1)
        await diary.ends(2)
    assert diary.settled == [(0, "poisoned"), (1, "handled")]


async def test_a_repeat_that_waits_behind_its_event_changes_nothing(broker: Broker) -> None:
    diary, begun, go_on = Diary(), asyncio.Event(), asyncio.Event()

    async def handle(number: int, delivery: Delivery) -> None:
        diary.begun.append(number)
        begun.set()
        await go_on.wait()

    async with running(broker, numbered(queue_name(), handle), diary):
        await publish(broker, 0)
        await begun.wait()
        await publish(broker, 0, 1, 0)
        go_on.set()
        await diary.ends(4)
    assert diary.begun == [0, 1]
    assert diary.settled == [(0, "handled"), (0, "duplicate"), (1, "handled"), (0, "duplicate")]


async def test_a_repeat_that_waits_behind_an_event_that_is_parked_is_no_second_chance(broker: Broker) -> None:
    diary, go_on = Diary(), asyncio.Event()

    async def handle(number: int, delivery: Delivery) -> None:
        diary.begun.append(number)
        await go_on.wait()
        if number == 0:
            raise Poisoned("why")

    async with running(broker, numbered(queue_name(), handle), diary):
        await publish(broker, 0, 1, 0)
        await publish(broker, 2, room="room-2")  # the last of all, in another line

        async def begun() -> bool:
            return len(diary.begun) == 2

        await eventually(begun)
        go_on.set()
        await diary.ends(4)
    assert sorted(diary.begun) == [0, 1, 2]
    assert [each for each in diary.settled if each[0] != 2] == [(0, "poisoned"), (1, "handled"), (0, "duplicate")]


async def test_no_more_are_in_hand_than_allowed_and_one_of_each_room(broker: Broker) -> None:
    diary, rooms, most = Diary(), set(), 0

    async def handle(number: int, delivery: Delivery) -> None:
        nonlocal most
        room = number % 10
        assert room not in rooms
        rooms.add(room)
        most = max(most, len(rooms))
        await asyncio.sleep(0.002)
        rooms.discard(room)

    async with running(broker, numbered(queue_name(), handle, concurrency=4), diary):
        publishing = (publish(broker, number, room=f"room-{number % 10}") for number in range(100))
        await asyncio.gather(*publishing)
        await diary.ends(100)
    assert most == 4
    assert {reason for _, reason in diary.settled} == {"handled"}


async def test_what_was_in_hand_at_the_stop_is_finished_and_what_waits_is_given_back(broker: Broker) -> None:
    name, first, second = queue_name(), Diary(), Diary()
    store, begun, go_on = MemoryStore(), asyncio.Event(), asyncio.Event()

    async def wait(number: int, delivery: Delivery) -> None:
        begun.set()
        await go_on.wait()

    async def handle(number: int, delivery: Delivery) -> None: ...

    async with running(broker, numbered(name, wait, concurrency=1), first, store):
        await publish(broker, *range(10))
        await begun.wait()
        asyncio.get_running_loop().call_later(0.1, go_on.set)
    assert first.settled == [(0, "handled")]
    async with running(broker, numbered(name, handle), second, store):
        await second.ends(9)
    assert second.settled == [(number, "handled") for number in range(1, 10)]


@asynccontextmanager
async def two_of_ten_begun(broker: Broker) -> AsyncIterator[tuple[Diary, Claims, asyncio.Event]]:
    """Events of ten rooms are claimed, and of two of them in hand, until told to go on. Then ten more are to come."""
    diary, store, go_on = Diary(), Claims(), asyncio.Event()

    async def handle(number: int, delivery: Delivery) -> None:
        diary.begun.append(number)
        await go_on.wait()

    async with running(broker, numbered(queue_name(), handle, concurrency=2), diary, store):
        for number in range(20):
            await publish(broker, number, room=f"room-{number % 10}")
        await eventually(partial(store.has, 10))
        yield diary, store, go_on


async def test_events_of_more_rooms_are_claimed_than_are_handled_at_a_time(broker: Broker) -> None:
    async with two_of_ten_begun(broker) as (diary, _, go_on):
        assert len(diary.begun) == 2
        go_on.set()
        await diary.ends(20)
    assert {reason for _, reason in diary.settled} == {"handled"}


async def test_what_waits_for_a_place_at_the_stop_is_given_back_unclaimed(broker: Broker) -> None:
    async with two_of_ten_begun(broker) as (diary, store, go_on):
        asyncio.get_running_loop().call_later(0.1, go_on.set)
    assert sorted(diary.ended()) == sorted(diary.begun)
    assert len(diary.begun) == 2
    assert not store.held


async def test_a_partition_that_others_wait_for_is_left_without_what_waits_for_a_place(broker: Broker) -> None:
    async with two_of_ten_begun(broker) as (diary, store, go_on):
        store.surplus = frozenset(topics.PARTITION_WORDS)
        await eventually(store.has_let_go_of_others)
        assert len(store.held) == 2
        go_on.set()
    assert len(diary.ended()) == 2


async def test_events_are_held_back_and_handled_by_their_time(broker: Broker) -> None:
    diary = Diary()

    async def handle(number: int, delivery: Delivery) -> None:
        diary.begun.append(number)

    async with running(broker, numbered(queue_name(), handle, reorder_s=1.0), diary):
        for number in (3, 1, 2, 0):
            await publish(broker, number, occurred_s=number)
        await diary.ends(4)
        await publish(broker, 9, occurred_s=-1)
        await diary.ends(5)
    assert diary.begun == [0, 1, 2, 3, 9]
    assert diary.late == [9]


async def test_only_the_latest_is_handled(broker: Broker) -> None:
    diary = Diary()

    async def handle(number: int, delivery: Delivery) -> None: ...

    async with running(broker, numbered(queue_name(), handle, latest_only=True), diary):
        for number in (2, 1, 3):
            await publish(broker, number, occurred_s=number)
        await diary.ends(3)
    assert diary.settled == [(2, "handled"), (1, "superseded"), (3, "handled")]
