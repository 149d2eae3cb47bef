"""Together or alone."""

import asyncio
from contextlib import AbstractAsyncContextManager

from workers.solitude import Solitude


class Visit:
    """Somebody inside, until told to leave."""

    def __init__(self, room: AbstractAsyncContextManager[None]) -> None:
        self._leave = asyncio.Event()
        self.entered = asyncio.Event()
        self.task = asyncio.create_task(self._stay(room))

    async def _stay(self, room: AbstractAsyncContextManager[None]) -> None:
        async with room:
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
    visits = [Visit(solitude.together()) for _ in range(3)]
    await settle_down()
    assert all(visit.entered.is_set() for visit in visits)
    for visit in visits:
        await visit.leave()


async def test_one_is_alone_only_when_the_others_have_left_and_nobody_new_comes_in() -> None:
    solitude = Solitude()
    first = Visit(solitude.together())
    await settle_down()
    alone, late = Visit(solitude.alone()), None
    await settle_down()
    late = Visit(solitude.together())
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
    first, second = Visit(solitude.alone()), Visit(solitude.alone())
    await settle_down()
    assert first.entered.is_set() != second.entered.is_set()
    await first.leave()
    await settle_down()
    assert second.entered.is_set()
    await second.leave()


async def test_one_who_gives_up_waiting_to_be_alone_holds_up_nobody() -> None:
    solitude = Solitude()
    first, impatient = Visit(solitude.together()), Visit(solitude.alone())
    await settle_down()
    impatient.task.cancel()
    await settle_down()
    other = Visit(solitude.together())
    await settle_down()
    assert other.entered.is_set()
    await other.leave()
    await first.leave()
