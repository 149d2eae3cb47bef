"""Shared and exclusive entries to the gate."""

import asyncio

import pytest
from msgspec.structs import replace

from hookline import worker
from hookline.events import ParticipantJoined
from hookline.schemas.broker import Received
from hookline.schemas.envelope import to_headers
from hookline.workers.admission import ExclusiveGate
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import Acquired, Claim, LeasedElsewhere, MemoryStore
from tests.contract.installations import envelope
from tests.events import make


class Visit:
    """An entry that lasts until `leave` is called."""

    def __init__(self, gate: ExclusiveGate, *, exclusive: bool = False) -> None:
        self._gate = gate
        self._leave = asyncio.Event()
        self.entered = asyncio.Event()
        self.task = asyncio.create_task(self._stay(exclusive=exclusive))

    async def _stay(self, *, exclusive: bool) -> None:
        if exclusive:
            async with self._gate.exclusive():
                await self._wait()
            return
        await self._gate.enter()
        try:
            await self._wait()
        finally:
            self._gate.leave()

    async def _wait(self) -> None:
        self.entered.set()
        await self._leave.wait()

    async def leave(self) -> None:
        self._leave.set()
        await self.task


async def let_tasks_run() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def enters_at_once(gate: ExclusiveGate, *, exclusive: bool = False) -> None:
    visit = Visit(gate, exclusive=exclusive)
    await let_tasks_run()
    assert visit.entered.is_set()
    await visit.leave()


async def test_shared_entries_overlap() -> None:
    gate = ExclusiveGate()
    visits = [Visit(gate) for _ in range(3)]
    await let_tasks_run()
    assert all(visit.entered.is_set() for visit in visits)
    for visit in visits:
        await visit.leave()


async def test_an_exclusive_entry_waits_for_the_others_to_leave_and_admits_no_new_one() -> None:
    gate = ExclusiveGate()
    first = Visit(gate)
    await let_tasks_run()
    exclusive = Visit(gate, exclusive=True)
    await let_tasks_run()
    late = Visit(gate)
    await let_tasks_run()
    assert not exclusive.entered.is_set()
    await first.leave()
    await let_tasks_run()
    assert exclusive.entered.is_set()
    assert not late.entered.is_set()
    await exclusive.leave()
    await let_tasks_run()
    assert late.entered.is_set()
    await late.leave()


async def test_exclusive_entries_follow_one_another() -> None:
    gate = ExclusiveGate()
    first, second = Visit(gate, exclusive=True), Visit(gate, exclusive=True)
    await let_tasks_run()
    assert first.entered.is_set() != second.entered.is_set()
    await first.leave()
    await let_tasks_run()
    assert second.entered.is_set()
    await second.leave()


async def test_a_cancelled_exclusive_entry_blocks_no_other() -> None:
    gate = ExclusiveGate()
    first, cancelled = Visit(gate), Visit(gate, exclusive=True)
    await let_tasks_run()
    cancelled.task.cancel()
    await let_tasks_run()
    await enters_at_once(gate)
    await first.leave()


async def test_entries_are_admitted_in_the_order_of_arrival() -> None:
    gate = ExclusiveGate()
    first, second = Visit(gate), Visit(gate, exclusive=True)
    await let_tasks_run()
    third, fourth = Visit(gate), Visit(gate, exclusive=True)
    for visit in (first, second, third, fourth):
        await let_tasks_run()
        assert visit.entered.is_set()
        await visit.leave()


async def test_an_entry_that_is_admitted_and_cancelled_at_once_leaves() -> None:
    gate = ExclusiveGate()
    first, cancelled = Visit(gate), Visit(gate, exclusive=True)
    await let_tasks_run()
    first.task.add_done_callback(lambda _: cancelled.task.cancel())
    await first.leave()
    await let_tasks_run()
    await enters_at_once(gate, exclusive=True)


class Suspecting(MemoryStore):
    """Reports every event as one that may have crashed a process, and answers one turn of the event loop later."""

    async def claim(self, queue: str, event_id: str, subject: str | None = None) -> Claim:
        claim = await super().claim(queue, event_id, subject)
        await asyncio.sleep(0)
        return replace(claim, deaths=2) if isinstance(claim, Acquired) else claim


@pytest.mark.parametrize("turns", [1, 10], ids=["while it claims the event", "while it waits for the gate"])
async def test_a_cancelled_crash_suspect_releases_its_claim(turns: int) -> None:
    event = make(ParticipantJoined, user_id="u")
    store, gate = Suspecting(), ExclusiveGate()
    called: list[str] = []

    @worker(ParticipantJoined)
    async def welcome(event: ParticipantJoined) -> None:
        called.append(event.id)

    pipeline = Pipeline(welcome, store, gate, normalise=lambda _: (event,))
    received = Received(to_headers(envelope("participant.joined")), "", b"{}", 1, None)
    async with gate.exclusive():
        task = asyncio.create_task(pipeline.work(received))
        for _ in range(turns):
            await asyncio.sleep(0)
        assert await store.claim("welcome", event.id) == LeasedElsewhere()
        task.cancel()
        await let_tasks_run()
    assert await store.claim("welcome", event.id) == Acquired(deaths=2)
    assert called == []
