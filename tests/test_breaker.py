"""The breaker of a queue."""

import asyncio

import pytest

from hookline.schemas.broker import Again, Done, Parked
from hookline.workers.breaker import Breaker

PARKED = Parked("failed", "ValueError", 1)
KNOWN = Parked("failed", "another process of the queue has parked it", 1, is_known=True)
HANDLED = Done("handled")


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def opened(clock: Clock, max_percent: int = 50) -> Breaker:
    breaker = Breaker("billing", max_percent, clock=clock)
    for _ in range(100):
        breaker.note([PARKED])
    return breaker


async def is_admitted(breaker: Breaker) -> bool:
    waiting = asyncio.create_task(breaker.admitted())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    return not waiting.cancelled()


async def test_it_opens_when_most_of_the_last_hundred_deliveries_were_parked() -> None:
    said: list[str] = []
    breaker = Breaker("billing", 50, said.append)
    for _ in range(60):
        breaker.note([HANDLED])
    for _ in range(50):
        breaker.note([PARKED])
    assert (breaker.is_open, breaker.faults, said) == (False, [], [])
    breaker.note([PARKED])
    assert (breaker.is_open, said) == (True, ["billing"])
    assert breaker.faults == ["the breaker of billing is open: most of its deliveries were parked"]


async def test_a_few_deliveries_are_not_enough_to_open_it() -> None:
    breaker = Breaker("billing", 50)
    for _ in range(99):
        breaker.note([PARKED])
    assert not breaker.is_open


@pytest.mark.parametrize("outcome", [Done("duplicate"), Done("superseded"), Again(1, 2, "failed"), Again(1, 1, "busy")])
async def test_what_was_neither_handled_nor_parked_does_not_count(outcome: Done | Again) -> None:
    breaker = opened(Clock())
    breaker.note([outcome])
    assert breaker.is_open


async def test_what_is_parked_without_a_call_does_not_open_it() -> None:
    breaker = Breaker("billing", 50)
    breaker.note([KNOWN] * 100)
    assert not breaker.is_open


@pytest.mark.parametrize("outcome", [KNOWN, Done("duplicate")])
async def test_after_a_delivery_without_a_call_it_lets_another_through_at_once(outcome: Done | Parked) -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now_s = 5
    assert await is_admitted(breaker)
    waiting = asyncio.create_task(breaker.admitted())
    await asyncio.sleep(0)
    breaker.note([outcome])
    await asyncio.wait_for(waiting, 1)
    assert breaker.is_open
    assert not await is_admitted(breaker)
    clock.now_s = 10
    assert await is_admitted(breaker)  # no later than after any other


async def test_a_group_counts_like_each_of_its_deliveries() -> None:
    breaker = Breaker("billing", 50)
    was_open = []
    for group in (
        [PARKED] * 51 + [HANDLED] * 48,
        [HANDLED],  # the hundredth
        [HANDLED] * 100 + [PARKED] * 50 + [HANDLED] * 51 + [PARKED] * 50,
        [PARKED],
    ):
        breaker.note(group)
        was_open.append(breaker.is_open)
    assert was_open == [False, True, False, True]


async def test_at_100_percent_it_never_opens() -> None:
    assert not opened(Clock(), max_percent=100).is_open


async def test_it_lets_one_delivery_through_more_and_more_rarely() -> None:
    clock = Clock()
    breaker = opened(clock)
    admitted = []
    for second in range(1, 160):
        clock.now_s = second
        while await is_admitted(breaker):
            admitted.append(second)
            breaker.note([PARKED])
    assert admitted == [5, 10, 20, 40, 80, 140]


async def test_a_delivery_that_is_handled_closes_it_for_all_who_wait() -> None:
    breaker = opened(Clock())
    waiting = [asyncio.create_task(breaker.admitted()) for _ in range(3)]
    await asyncio.sleep(0)
    breaker.note([HANDLED])
    await asyncio.gather(*waiting)
    assert not breaker.is_open
    for _ in range(98):
        breaker.note([PARKED])
    assert not breaker.is_open  # it begins to count anew
