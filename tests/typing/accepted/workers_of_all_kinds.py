"""Every way to write a worker. mypy must report no error here."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import assert_type

from hookline import Backoff, Call, Delivery, Middleware, Worker, worker
from hookline.events import (
    CallStarted,
    CanonicalEvent,
    Event,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantRoleChanged,
    RoomCreated,
    RoomEnded,
    RoomUpdated,
    SeatsChanged,
)
from hookline.schemas.broker import Outcome
from hookline.testing import deliver


class Pool:
    async def execute(self, statement: str) -> None: ...


@asynccontextmanager
async def open_pool() -> AsyncIterator[Pool]:
    yield Pool()


def timing(call: Call) -> Call:
    async def timed(event: CanonicalEvent, delivery: Delivery) -> None:
        await call(event, delivery)

    return timed


def only(source: str) -> Middleware:
    def build(call: Call) -> Call:
        async def step(event: CanonicalEvent, delivery: Delivery) -> None:
            if event.source == source:
                await call(event, delivery)

        return step

    return build


@worker(RoomCreated)
async def one(event: RoomCreated) -> None: ...


@worker(RoomCreated)
async def with_its_delivery(event: RoomCreated, delivery: Delivery) -> None:
    assert_type(delivery.state, None)


@worker(RoomCreated, RoomEnded)
async def two(event: RoomCreated | RoomEnded) -> None: ...


@worker(RoomCreated, RoomEnded, RoomUpdated, ParticipantJoined, ParticipantLeft, SeatsChanged)
async def six(
    event: RoomCreated | RoomEnded | RoomUpdated | ParticipantJoined | ParticipantLeft | SeatsChanged,
) -> None: ...


@worker(RoomCreated, RoomEnded, RoomUpdated, ParticipantJoined, ParticipantLeft, SeatsChanged, CallStarted)
async def seven(event: Event) -> None: ...


@worker(RoomCreated)
async def a_wider_event(event: CanonicalEvent) -> None: ...


@worker(topic="krtc.*.room.*")
async def by_topic(event: Event) -> None: ...


@worker(RoomCreated, queue="q", concurrency=2, timeout_s=5, retry=Backoff(attempts=3), middleware=[timing, only("a")])
async def with_all_options(event: RoomCreated) -> None: ...


@worker(RoomCreated, RoomEnded, ordered=True, hold_s=30, reorder_s=2, latest_only=True)
async def in_order(event: RoomCreated | RoomEnded, delivery: Delivery) -> None:
    assert_type(delivery.late, bool)


@worker(RoomCreated, transactional=True, state=open_pool)
async def in_a_transaction(event: RoomCreated, delivery: Delivery[Pool]) -> None:
    await delivery.transaction.execute("INSERT")


@worker(RoomCreated, ParticipantRoleChanged, state=open_pool)
async def with_state(event: RoomCreated | ParticipantRoleChanged, delivery: Delivery[Pool]) -> None:
    await delivery.state.execute("INSERT")


@worker(RoomCreated, state=open_pool)
async def with_state_unused(event: RoomCreated) -> None: ...


@worker(topic="#", state=open_pool)
async def by_topic_with_state(event: Event, delivery: Delivery[Pool]) -> None:
    assert_type(delivery.state, Pool)


@worker(RoomCreated, RoomEnded, RoomUpdated, ParticipantJoined, ParticipantLeft, SeatsChanged, state=open_pool)
async def six_with_state(
    event: RoomCreated | RoomEnded | RoomUpdated | ParticipantJoined | ParticipantLeft | SeatsChanged,
    delivery: Delivery[Pool],
) -> None: ...


EVENTS: Sequence[type[CanonicalEvent]] = [RoomCreated, RoomEnded]


@worker(*EVENTS)
async def a_list(event: CanonicalEvent) -> None: ...


assert_type(one, Worker[RoomCreated, None])
assert_type(with_state, Worker[RoomCreated | ParticipantRoleChanged, Pool])


async def every_kind_can_be_tested(created: RoomCreated, ended: RoomEnded, any_event: Event) -> Sequence[Outcome]:
    return [
        await deliver(one, created),
        await deliver(two, ended),
        await deliver(a_list, ended),
        await deliver(by_topic, any_event),
        await deliver(with_state, created, state=Pool(), attempt=2),
    ]
