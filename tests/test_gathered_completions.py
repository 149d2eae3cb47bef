"""What a worker has called is finished in groups: soon, at once if it is much, and before a drain ends."""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from hookline import Worker, worker
from hookline.events import RoomCreated
from hookline.schemas.broker import Done, Outcome, Received
from hookline.schemas.envelope import Envelope, to_headers
from hookline.workers import fast_lane
from hookline.workers.fast_lane import Entry, FastLane
from hookline.workers.pipeline import Pipeline
from hookline.workers.work import Work
from tests.contract.installations import envelope
from tests.contract.test_pool import Grouped
from tests.events import make

SOON_S = 1.0
NEVER_S = 600.0
HOUR = timedelta(hours=1)
CONCURRENCY = 16
MANY = CONCURRENCY // 2  # a quarter of what is in flight until calls are known to be quick


class Store(Grouped):
    """Notes how many events each request finishes."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[int] = []

    async def finish_all(
        self, queue: str, events: Sequence[tuple[str, str | None, float]], *, synced: bool = True
    ) -> Sequence[None]:
        self.groups.append(len(events))
        return await super().finish_all(queue, events, synced=synced)


class Lane:
    """A fast lane that calls a function at once, which never waits and takes `call_s`."""

    def __init__(self, *, gather_s: float, call_s: float = 0.0, **options: Any) -> None:
        self.store = Store()
        self.opened = 0
        self.called = 0
        self.done = 0
        self.outcomes: list[Outcome] = []
        self._call_s = call_s
        self._changed = asyncio.Event()
        pipeline = Pipeline(self._worker({"concurrency": CONCURRENCY} | options), self.store, normalise=self._one)
        self.lane: FastLane[None] = FastLane(
            pipeline, self._none_alone, self._none_ends, self._done, lambda: None, gather_s=gather_s
        )

    def begin(self, count: int, body: bytes = b"{}") -> None:
        self.begin_each([envelope() for _ in range(count)], body)

    def begin_each(self, envelopes: Sequence[Envelope], body: bytes = b"{}") -> None:
        received = [Received(to_headers(each), "", body, 1, None) for each in envelopes]
        self.lane.begin([Entry(each, None, 0.0) for each in received])

    async def until(self, *, called: int = 0, done: int = 0) -> None:
        async with asyncio.timeout(20):
            while self.called < called or self.done < done:
                self._changed.clear()
                await self._changed.wait()

    def _worker(self, options: dict[str, Any]) -> Worker[Any]:
        @worker(RoomCreated, **options)
        async def handle(_: RoomCreated) -> None:
            time.sleep(self._call_s)  # noqa: ASYNC251  as a function that computes
            self.called += 1
            self._changed.set()

        declared: Worker[Any] = handle
        return declared

    def _one(self, each: Envelope) -> tuple[RoomCreated]:
        self.opened += 1
        return (make(RoomCreated, each.id),)

    async def _none_alone(self, _: Entry[None]) -> Work:
        raise AssertionError

    async def _none_ends(self, _: Entry[None], __: Work) -> None:
        raise AssertionError

    def _done(self, entries: Sequence[Entry[None]], works: Sequence[Work]) -> None:
        self.done += len(entries)
        self.outcomes += [work.outcome for work in works]
        self._changed.set()


async def test_what_is_called_one_after_the_other_is_finished_together() -> None:
    lane = Lane(gather_s=SOON_S)
    for number in range(1, MANY):
        lane.begin(1)
        await lane.until(called=number)
    await lane.until(done=MANY - 1)
    assert lane.store.groups == [MANY - 1]


async def test_what_is_called_later_is_finished_by_itself() -> None:
    lane = Lane(gather_s=0.001)
    for number in range(1, 4):
        lane.begin(1)
        await lane.until(done=number)
    assert lane.store.groups == [1, 1, 1]


async def test_a_quarter_of_what_may_be_in_flight_waits_for_no_more() -> None:
    lane = Lane(gather_s=NEVER_S)
    lane.begin(MANY - 1)
    await lane.until(called=MANY - 1)
    lane.begin(1)
    await lane.until(done=MANY)
    assert lane.store.groups == [MANY]


async def test_all_that_is_called_in_one_turn_is_finished_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_lane, "_AT_ONCE_S", SOON_S)  # a busy machine would make several turns of it
    lane = Lane(gather_s=NEVER_S)
    lane.begin(3 * MANY)
    await lane.until(done=3 * MANY)
    assert lane.store.groups == [3 * MANY]


async def test_a_worker_that_may_have_little_in_flight_waits_for_no_more() -> None:
    lane = Lane(gather_s=NEVER_S, concurrency=2)
    lane.begin(1)
    await lane.until(done=1)


async def test_a_drain_waits_for_no_more() -> None:
    lane = Lane(gather_s=NEVER_S)
    lane.begin(1)
    await lane.until(called=1)
    async with asyncio.timeout(20):
        assert not await lane.lane.drain(grace_s=10)
    assert lane.done == 1


@pytest.mark.parametrize("together", [False, True], ids=["called later", "called in the same turn"])
async def test_an_event_that_waits_to_be_finished_supersedes_an_older_one(*, together: bool) -> None:
    lane = Lane(gather_s=SOON_S, latest_only=True)
    newer, older = envelope(), msgspec.structs.replace(envelope(), occurred_at=envelope().occurred_at - HOUR)
    lane.begin_each([newer, older] if together else [newer])
    await lane.until(called=1)
    if not together:
        lane.begin_each([older])
    await lane.until(done=2)
    assert lane.outcomes == [Done(), Done("superseded")]
