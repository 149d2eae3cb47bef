"""The calls that run in a worker: how many, how long the oldest runs, where it waits, and those past their time-out."""

import asyncio
from pathlib import Path

import pytest

from hookline import worker
from hookline.events import RoomCreated
from hookline.schemas.broker import Received
from hookline.schemas.envelope import Identity, seal, to_headers
from hookline.workers import running_calls
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import MemoryStore
from tests.events import START, make

WAITS_AT = 1 + Path(__file__).read_text().splitlines().index("        await may_end.wait()")


def received() -> Received:
    identity = Identity("room.created", ("id",), "subject", START.timestamp())
    envelope = seal(identity, b"{}", provider="krtc", source="main", content_type="", received_at=START)
    return Received(to_headers(envelope), "", b"{}", 2, None)


async def test_a_running_call_has_its_event_its_line_and_its_age() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    @worker(RoomCreated, queue="billing")
    async def billing(_: RoomCreated) -> None:
        begun.set()
        await may_end.wait()

    pipeline = Pipeline(billing, MemoryStore(), normalise=lambda _: (make(RoomCreated, "e1"),))
    calls = pipeline.handler.calls
    assert (len(calls), calls.oldest, calls.oldest_s) == (0, None, 0.0)
    working = asyncio.create_task(pipeline.work(received()))
    await begun.wait()
    oldest = calls.oldest
    assert oldest is not None
    assert (oldest.event_id, oldest.topic, oldest.attempt) == ("e1", "krtc.main.room.created", 2)
    assert oldest.line == f"test_running_calls.py:{WAITS_AT}"
    assert (len(calls), calls.overdue) == (1, 0)
    assert 0 <= oldest.seconds <= calls.oldest_s
    may_end.set()
    await working
    assert (len(calls), calls.oldest) == (0, None)


async def test_a_call_that_swallows_its_cancellation_is_overdue_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_calls, "OVERDUE_S", 0.01)
    swallowed, may_end = asyncio.Event(), asyncio.Event()

    @worker(RoomCreated, queue="billing", timeout_s=0.01)
    async def stubborn(_: RoomCreated) -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                swallowed.set()

    pipeline = Pipeline(stubborn, MemoryStore(), normalise=lambda _: (make(RoomCreated),))
    working = asyncio.create_task(pipeline.work(received()))
    await swallowed.wait()
    await asyncio.sleep(0.1)
    assert (len(pipeline.handler.calls), pipeline.handler.calls.overdue) == (1, 1)
    may_end.set()
    await working
    assert (len(pipeline.handler.calls), pipeline.handler.calls.overdue) == (0, 0)
