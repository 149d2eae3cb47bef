"""Two versions of an ordered worker on one queue: a partition goes to the version that wants its next event."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hookline import Delivery, Worker, worker
from hookline.events import CanonicalEvent, ParticipantJoined, ParticipantLeft
from hookline.schemas import topics
from hookline.schemas.broker import Again, Done, Parked
from hookline.schemas.dead_letters import REPLAYED_AT
from hookline.schemas.envelope import Envelope
from hookline.workers import blocked_partitions
from hookline.workers.ordered_pool import OrderedPool
from hookline.workers.pipeline import Pipeline
from hookline.workers.prefetch import partition_prefetch
from hookline.workers.stores import assignment
from hookline.workers.work import Work
from tests.contract.installations import EmbeddedInstallation, Installation, envelope, eventually, fresh_rabbitmq
from tests.contract.stores import Another
from tests.events import make
from tests.stopped_pools import kept_in, stop

JOINED, LEFT = "participant.joined", "participant.left"
TYPES: dict[str, type[ParticipantJoined | ParticipantLeft]] = {JOINED: ParticipantJoined, LEFT: ParticipantLeft}
ROOMS = [f"room-{number}" for number in range(6)]
WITHIN_S = 60.0

installations = pytest.mark.parametrize(
    ("installation", "address"),
    [("embedded", "sqlite"), ("rabbitmq", "redis"), ("rabbitmq", "postgresql")],
    indirect=True,
)


@pytest.fixture
async def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Installation:
    if request.param == "embedded":
        return EmbeddedInstallation(tmp_path / "queues.db")
    return await fresh_rabbitmq(request.config)


class History:
    """What the processes of a test did: the events that were handled, in order, and how deliveries were settled."""

    def __init__(self) -> None:
        self.handled: list[tuple[str, str]] = []
        self.attempts: set[int] = set()
        self.works: list[Work] = []

    def ids(self, process: str | None = None) -> list[str]:
        return [event_id for event_id, by in self.handled if process in (None, by)]

    def ended(self) -> set[str]:
        ended = (work for work in self.works if isinstance(work.outcome, Done | Parked))
        return {work.envelope.id for work in ended if work.envelope is not None}

    async def has_handled(self, ids: Iterable[str]) -> None:
        wanted = set(ids)

        async def all_are() -> bool:
            return wanted <= set(self.ids())

        await eventually(all_are, WITHIN_S)

    async def has_ended(self, ids: Iterable[str]) -> None:
        wanted = set(ids)

        async def all_are() -> bool:
            return wanted <= self.ended()

        await eventually(all_are, WITHIN_S)


class Fleet:
    """Processes of one queue."""

    def __init__(self, installation: Installation, another: Another, queue: str) -> None:
        self.call_s = 0.0
        self.installation = installation
        self._another = another
        self.queue = queue
        self.history = History()
        self._published: dict[str, list[str]] = defaultdict(list)

    @asynccontextmanager
    async def process(self, name: str, *events: type[CanonicalEvent], after_s: float = 600) -> AsyncIterator[None]:
        """A process that runs a version of the worker, which wants these types."""
        made = self._version(name, *events)
        async with self.installation.opened() as broker, self._another() as store:
            await broker.declare_partitions(made.queue, made.patterns)
            open_ = partial(broker.subscribe, made.queue, made.patterns, partition_prefetch(made))
            pipeline = Pipeline(made, store, normalise=normalise, unwanted_after_s=after_s)
            pool = OrderedPool(pipeline, store, open_, kept_in(self.history.works))
            running = asyncio.create_task(pool.run())
            try:
                yield
            finally:
                await stop(pool, 10)
                await running

    async def publish(self, types: Sequence[str], rooms: Sequence[str] = ROOMS) -> list[str]:
        """Publish events of these types in each room; their ids."""
        async with self.installation.opened() as broker:
            for each in types:
                envelopes = [envelope(each, subject=room) for room in rooms]
                await asyncio.gather(*(broker.publisher.publish(each) for each in envelopes))
                for room, sent in zip(rooms, envelopes, strict=True):
                    self._published[room].append(sent.id)
        return [event_id for room in rooms for event_id in self._published[room]]

    def check_order(self, rooms: Sequence[str] = ROOMS) -> None:
        """Each event was handled once, in the order of its room, at its first attempt."""
        handled = self.history.ids()
        for room in rooms:
            assert [each for each in handled if each in self._published[room]] == self._published[room]
        assert self.history.attempts == {1}

    def _version(self, name: str, *events: type[CanonicalEvent]) -> Worker[Any]:
        @worker(*events, queue=self.queue, ordered=True)
        async def handle(event: CanonicalEvent, delivery: Delivery) -> None:
            await asyncio.sleep(self.call_s)
            self.history.handled.append((event.id, name))
            self.history.attempts.add(delivery.attempt)

        return handle


@pytest.fixture
def fleet(installation: Installation, another: Another, queue: str) -> Fleet:
    return Fleet(installation, another, queue)


def normalise(envelope: Envelope) -> tuple[CanonicalEvent, ...]:
    return (make(TYPES[envelope.event_type], envelope.id, room_id=envelope.subject, user_id="u"),)


@installations
@pytest.mark.parametrize("direction", ["a type is added", "a type is removed"])
async def test_a_deploy_loses_no_event_keeps_the_order_and_ends_with_the_old_process(
    fleet: Fleet, direction: str
) -> None:
    more, fewer = ("more", ParticipantJoined, ParticipantLeft), ("fewer", ParticipantJoined)
    old, new = (fewer, more) if direction == "a type is added" else (more, fewer)
    async with fleet.process(*more):  # has the queues and their bindings declared
        pass
    ids = await fleet.publish([JOINED, LEFT] * 4)
    fleet.call_s = 0.2  # the partitions are shared before all is done
    async with fleet.process(*old), fleet.process(*new):
        await fleet.history.has_handled(ids)
    fleet.check_order()
    left = {each.envelope.id for each in fleet.history.works if each.envelope and each.envelope.event_type == LEFT}
    assert left.isdisjoint(fleet.history.ids("fewer"))
    assert {work.outcome.reason for work in fleet.history.works} <= {"handled", "unwanted"}


@installations
async def test_what_waits_at_a_rollback_is_handled_in_order_when_a_process_wants_it(fleet: Fleet) -> None:
    async with fleet.process("more", ParticipantJoined, ParticipantLeft):
        pass
    ids = await fleet.publish([LEFT, JOINED] * 3)
    async with fleet.process("fewer", ParticipantJoined):
        elsewhere = await fleet.publish([JOINED], ["elsewhere"])
        await fleet.history.has_handled(elsewhere)
        async with fleet.process("more", ParticipantJoined, ParticipantLeft):
            await fleet.history.has_handled(ids)
    fleet.check_order()


@installations
async def test_what_no_process_wants_is_parked_and_other_rooms_go_on_meanwhile(fleet: Fleet, queue: str) -> None:
    async with fleet.process("before", ParticipantJoined, ParticipantLeft):
        pass
    room = ROOMS[0]
    neighbour = neighbour_of(room)
    unwanted, waiting = await fleet.publish([LEFT, JOINED], [room])
    async with fleet.process("one", ParticipantJoined, after_s=6), fleet.process("two", ParticipantJoined, after_s=6):
        beside = await fleet.publish([JOINED] * 5, [neighbour])
        await fleet.history.has_handled(beside)
        assert not fleet.history.ended() & {unwanted, waiting}
        await fleet.history.has_ended([unwanted, waiting])
    (dead,) = await fleet.installation.dead(queue)
    assert (dead.reason, dead.attempts) == ("unwanted", 1)
    assert sorted(fleet.history.ids()) == sorted([waiting, *beside])


@installations
async def test_two_workers_of_one_queue_that_want_different_types_take_turns(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignment, "TURN_S", 1.0)
    async with fleet.process("joins", ParticipantJoined), fleet.process("leaves", ParticipantLeft):
        async with fleet.process("both", ParticipantJoined, ParticipantLeft):
            pass
        ids = await fleet.publish([JOINED, LEFT, JOINED], ROOMS[:2])
        await fleet.history.has_handled(ids)
    fleet.check_order(ROOMS[:2])


def neighbour_of(room: str) -> str:
    """Another room in the same partition."""
    return next(f"n{n}" for n in range(1000) if topics.partition(f"n{n}") == topics.partition(room))


@pytest.mark.parametrize(("installation", "address"), [("embedded", "sqlite"), ("rabbitmq", "redis")], indirect=True)
async def test_many_events_behind_an_unwanted_one_leave_room_for_others(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked_partitions, "CROWDED_S", 0.1)
    async with fleet.process("before", ParticipantJoined, ParticipantLeft):
        pass
    room = ROOMS[0]
    neighbour = neighbour_of(room)
    ids = await fleet.publish([LEFT, LEFT, *[JOINED] * 300], [room])
    beside = await fleet.publish([JOINED], [neighbour])
    async with fleet.process("now", ParticipantJoined):
        await fleet.history.has_handled(beside)
        await fleet.history.has_handled(ids[2:])
    async with fleet.process("later", ParticipantJoined, ParticipantLeft):
        await fleet.history.has_handled(ids)
    assert not [work for work in fleet.history.works if isinstance(work.outcome, Parked)]
    fleet.check_order([neighbour])


@pytest.mark.parametrize(("installation", "address"), [("embedded", "sqlite"), ("rabbitmq", "redis")], indirect=True)
async def test_many_events_behind_an_unwanted_one_keep_their_order_while_a_process_has_room(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process takes 256 messages of a partition. Behind these there are no others."""
    monkeypatch.setattr(blocked_partitions, "CROWDED_S", 0.1)
    async with fleet.process("before", ParticipantJoined, ParticipantLeft):
        pass
    room = ROOMS[0]
    neighbour = neighbour_of(room)
    ids = await fleet.publish([LEFT, *[JOINED] * 200], [room])
    beside = await fleet.publish([JOINED], [neighbour])
    async with fleet.process("now", ParticipantJoined):
        await fleet.history.has_handled(beside)
        seen = len(fleet.history.works)

        async def is_put_back_often() -> bool:
            return len(fleet.history.works) >= seen + 3

        await eventually(is_put_back_often, WITHIN_S)
    async with fleet.process("later", ParticipantJoined, ParticipantLeft):
        await fleet.history.has_handled(ids)
    fleet.check_order([room, neighbour])


@pytest.mark.parametrize(("installation", "address"), [("embedded", "sqlite")], indirect=True)
async def test_a_replay_of_what_was_handled_elsewhere_is_put_back_first(fleet: Fleet) -> None:
    """The process remembers only since when this delivery has been unwanted."""
    async with fleet.process("more", ParticipantJoined, ParticipantLeft):
        pass
    (unwanted,) = await fleet.publish([LEFT], ROOMS[:1])
    async with fleet.process("fewer", ParticipantJoined, after_s=3):

        async def is_put_back() -> bool:
            return bool(fleet.history.works)

        await eventually(is_put_back, WITHIN_S)
        async with fleet.process("more", ParticipantJoined, ParticipantLeft):
            await fleet.history.has_handled([unwanted])
        await asyncio.sleep(3)
        seen = len(fleet.history.works)
        async with fleet.installation.opened() as broker:
            original = next(work for work in fleet.history.works if work.envelope and work.envelope.id == unwanted)
            assert original.envelope is not None
            headers = {REPLAYED_AT: "2026-01-02T03:04:05+00:00"}
            await broker.history.feed(fleet.queue, [original.envelope], headers)

        async def is_seen() -> bool:
            return len(fleet.history.works) > seen

        await eventually(is_seen, WITHIN_S)
    assert isinstance(fleet.history.works[seen].outcome, Again)
