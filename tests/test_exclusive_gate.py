"""Entries to the gate, shared and exclusive."""

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
    """An entry that lasts until it is told to leave."""

    def __init__(self, gate: ExclusiveGate, *, alone: bool = False) -> None:
        self._gate = gate
        self._leave = asyncio.Event()
        self.entered = asyncio.Event()
        self.task = asyncio.create_task(self._stay(alone=alone))

    async def _stay(self, *, alone: bool) -> None:
        if alone:
            async with self._gate.exclusive():
                await self._be()
            return
        await self._gate.enter()
        try:
            await self._be()
        finally:
            self._gate.leave()

    async def _be(self) -> None:
        self.entered.set()
        await self._leave.wait()

    async def leave(self) -> None:
        self._leave.set()
        await self.task


async def settle_down() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_many_are_together() -> None:
    gate = ExclusiveGate()
    visits = [Visit(gate) for _ in range(3)]
    await settle_down()
    assert all(visit.entered.is_set() for visit in visits)
    for visit in visits:
        await visit.leave()


async def test_one_is_alone_only_when_the_others_have_left_and_nobody_new_comes_in() -> None:
    gate = ExclusiveGate()
    first = Visit(gate)
    await settle_down()
    alone, late = Visit(gate, alone=True), None
    await settle_down()
    late = Visit(gate)
    await settle_down()
    assert not alone.entered.is_set()
    await first.leave()
    await settle_down()
    assert alone.entered.is_set()
    assert not late.entered.is_set()
    await alone.leave()
    await settle_down()
    assert late.entered.is_set()
    await late.leave()


async def test_two_who_want_to_be_alone_are_so_one_after_the_other() -> None:
    gate = ExclusiveGate()
    first, second = Visit(gate, alone=True), Visit(gate, alone=True)
    await settle_down()
    assert first.entered.is_set() != second.entered.is_set()
    await first.leave()
    await settle_down()
    assert second.entered.is_set()
    await second.leave()


async def test_one_who_gives_up_waiting_to_be_alone_holds_up_nobody() -> None:
    gate = ExclusiveGate()
    first, impatient = Visit(gate), Visit(gate, alone=True)
    await settle_down()
    impatient.task.cancel()
    await settle_down()
    other = Visit(gate)
    await settle_down()
    assert other.entered.is_set()
    await other.leave()
    await first.leave()


async def test_whoever_waits_to_be_alone_is_not_overtaken() -> None:
    gate = ExclusiveGate()
    first, alone = Visit(gate), Visit(gate, alone=True)
    await settle_down()
    late, another = Visit(gate), Visit(gate, alone=True)
    for visit in (first, alone, late, another):
        await settle_down()
        assert visit.entered.is_set()
        await visit.leave()


async def test_one_who_is_let_in_and_cancelled_at_once_does_not_stay() -> None:
    gate = ExclusiveGate()
    first, cancelled = Visit(gate), Visit(gate, alone=True)
    await settle_down()
    first.task.add_done_callback(lambda _: cancelled.task.cancel())
    await first.leave()
    await settle_down()
    other = Visit(gate, alone=True)
    await settle_down()
    assert other.entered.is_set()
    await other.leave()


class Suspecting(MemoryStore):
    """Takes every event for one that may have killed a process, and answers late."""

    async def claim(self, queue: str, event_id: str, subject: str | None = None) -> Claim:
        claim = await super().claim(queue, event_id, subject)
        await asyncio.sleep(0)
        return replace(claim, deaths=2) if isinstance(claim, Acquired) else claim


@pytest.mark.parametrize("turns", [1, 10], ids=["while it asks the store", "while it waits to be alone"])
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
        await settle_down()
    assert await store.claim("welcome", event.id) == Acquired(deaths=2)
    assert called == []
