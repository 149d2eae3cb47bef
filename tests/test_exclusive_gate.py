"""Together or alone."""

import asyncio

import pytest
from msgspec.structs import replace

from hookline import worker
from hookline.events import ParticipantJoined
from hookline.schemas.broker import Received
from hookline.schemas.envelope import to_headers
from hookline.workers.exclusive_gate import Solitude
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import Busy, Claim, MemoryStore, Mine
from tests.contract.installations import envelope
from tests.events import make


class Visit:
    """Somebody inside, until told to leave."""

    def __init__(self, solitude: Solitude, *, alone: bool = False) -> None:
        self._solitude = solitude
        self._leave = asyncio.Event()
        self.entered = asyncio.Event()
        self.task = asyncio.create_task(self._stay(alone=alone))

    async def _stay(self, *, alone: bool) -> None:
        if not alone:
            async with self._solitude:
                await self._be()
            return
        await self._solitude.begin()
        try:
            await self._be()
        finally:
            self._solitude.end()

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
    solitude = Solitude()
    visits = [Visit(solitude) for _ in range(3)]
    await settle_down()
    assert all(visit.entered.is_set() for visit in visits)
    for visit in visits:
        await visit.leave()


async def test_one_is_alone_only_when_the_others_have_left_and_nobody_new_comes_in() -> None:
    solitude = Solitude()
    first = Visit(solitude)
    await settle_down()
    alone, late = Visit(solitude, alone=True), None
    await settle_down()
    late = Visit(solitude)
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
    solitude = Solitude()
    first, second = Visit(solitude, alone=True), Visit(solitude, alone=True)
    await settle_down()
    assert first.entered.is_set() != second.entered.is_set()
    await first.leave()
    await settle_down()
    assert second.entered.is_set()
    await second.leave()


async def test_one_who_gives_up_waiting_to_be_alone_holds_up_nobody() -> None:
    solitude = Solitude()
    first, impatient = Visit(solitude), Visit(solitude, alone=True)
    await settle_down()
    impatient.task.cancel()
    await settle_down()
    other = Visit(solitude)
    await settle_down()
    assert other.entered.is_set()
    await other.leave()
    await first.leave()


async def test_whoever_waits_to_be_alone_is_not_overtaken() -> None:
    solitude = Solitude()
    first, alone = Visit(solitude), Visit(solitude, alone=True)
    await settle_down()
    late, another = Visit(solitude), Visit(solitude, alone=True)
    for visit in (first, alone, late, another):
        await settle_down()
        assert visit.entered.is_set()
        await visit.leave()


async def test_one_who_is_let_in_and_cancelled_at_once_does_not_stay() -> None:
    solitude = Solitude()
    first, cancelled = Visit(solitude), Visit(solitude, alone=True)
    await settle_down()
    first.task.add_done_callback(lambda _: cancelled.task.cancel())
    await first.leave()
    await settle_down()
    other = Visit(solitude, alone=True)
    await settle_down()
    assert other.entered.is_set()
    await other.leave()


class Suspecting(MemoryStore):
    """Takes every event for one that may have killed a process, and answers late."""

    async def claim(self, queue: str, event_id: str, for_s: float, subject: str | None = None) -> Claim:
        claim = await super().claim(queue, event_id, for_s, subject)
        await asyncio.sleep(0)
        return replace(claim, suspect=True) if isinstance(claim, Mine) else claim


@pytest.mark.parametrize("turns", [1, 10])  # it is asked for, or waits to be alone
async def test_the_claim_of_one_who_gives_up_waiting_is_given_up(turns: int) -> None:
    event = make(ParticipantJoined, user_id="u")
    store, solitude = Suspecting(), Solitude()
    called: list[str] = []

    @worker(ParticipantJoined)
    async def welcome(event: ParticipantJoined) -> None:
        called.append(event.id)

    pipeline = Pipeline(welcome, store, solitude, normalise=lambda _: (event,))
    await solitude.begin()
    received = Received(to_headers(envelope("participant.joined")), "", b"{}", 1, None)
    task = asyncio.create_task(pipeline.work(received))
    for _ in range(turns):
        await asyncio.sleep(0)
    assert await store.claim("welcome", event.id, 1) == Busy()
    task.cancel()
    await settle_down()
    assert await store.claim("welcome", event.id, 1) == Mine(suspect=True)
    assert called == []
