"""A partition is left at the moment at which an event of it fails: the calls of other partitions go on."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hookline import Worker, worker
from hookline.events import RoomCreated
from hookline.schemas.broker import Received
from hookline.schemas.envelope import Envelope, to_headers
from hookline.sqlite.database import Database
from hookline.workers.fast_lane import Entry, FastLane
from hookline.workers.pipeline import Pipeline
from hookline.workers.stores.sqlite.store import SqliteStore
from hookline.workers.work import Work
from tests.contract.installations import envelope
from tests.events import make

LEFT, KEPT = "p00", "p01"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    database = await Database.open(tmp_path / "store.db")
    yield SqliteStore(database)
    await database.close()


class Lane:
    """One event of each partition in flight. That of the first fails, and its partition is left at that moment."""

    def __init__(self, store: SqliteStore, *, at_once: bool) -> None:
        self.called: list[str] = []
        self.ended: dict[str, str] = {}
        self.both_called, self.go_on, self.all_ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._at_once = at_once
        pipeline = Pipeline(self._worker(), store, normalise=_one, clock=envelope().received_at.timestamp)
        self._lane: FastLane[str] = FastLane(pipeline, self._none_alone, self._end, self._done, lambda: None)
        self.leaving: asyncio.Task[None] | None = None

    def begin(self, *partitions: str) -> None:
        received = [Received(to_headers(envelope()), "", b"{}", 1, None) for _ in partitions]
        self._lane.begin([Entry(each, place, 0.0) for each, place in zip(received, partitions, strict=True)])

    def _worker(self) -> Worker[Any]:
        @worker(RoomCreated, concurrency=1)
        async def handle(_: RoomCreated) -> None:
            self.called.append(LEFT if not self.called else KEPT)
            if self.called == [LEFT]:
                leaving = self._lane.leave(lambda place: place == LEFT, at_once=self._at_once)
                self.leaving = asyncio.create_task(leaving)
                raise ValueError
            self.both_called.set()
            await self.go_on.wait()

        return handle

    async def _none_alone(self, _: Entry[str]) -> Work:
        raise AssertionError

    async def _end(self, entry: Entry[str], work: Work) -> None:
        self._note(entry, work)

    def _done(self, entries: Any, works: Any) -> None:
        for entry, work in zip(entries, works, strict=True):
            self._note(entry, work)

    def _note(self, entry: Entry[str], work: Work) -> None:
        self.ended[entry.place] = work.outcome.reason
        if len(self.ended) == len({LEFT, KEPT}):
            self.all_ended.set()


def _one(each: Envelope) -> tuple[RoomCreated]:
    return (make(RoomCreated, each.id),)


@pytest.mark.parametrize("at_once", [True, False], ids=["calls are cancelled", "calls finish"])
async def test_the_call_after_one_that_failed_in_a_partition_that_is_left_ends(
    store: SqliteStore, *, at_once: bool
) -> None:
    lane = Lane(store, at_once=at_once)
    lane.begin(LEFT, KEPT)
    async with asyncio.timeout(20):
        await lane.both_called.wait()
        lane.go_on.set()
        await lane.all_ended.wait()
        assert lane.leaving is not None
        await lane.leaving
    assert lane.ended == {LEFT: "failed", KEPT: "handled"}
