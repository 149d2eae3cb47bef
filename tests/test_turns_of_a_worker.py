"""A crowd of deliveries leaves turns of the event loop to others, although nothing of them ever waits."""

import asyncio

from tests.test_gathered_completions import CONCURRENCY, SOON_S, Lane

CALLS = 8 * CONCURRENCY
CALL_S = 0.005
LARGE = b"{%s}" % (b" " * 400_000)
LARGE_ONES = 10
MOST_LARGE_ONES = 3  # of which the last exceeds what is opened in a turn


async def test_as_many_are_called_in_a_turn_as_run_at_a_time() -> None:
    """The calls of one turn of the event loop are between two rounds of this test's own task."""
    lane, most = Lane(gather_s=SOON_S, call_s=CALL_S), 0
    lane.begin(CALLS)
    while (before := lane.called) < CALLS:
        await asyncio.sleep(0)
        most = max(most, lane.called - before)
    assert 0 < most <= CONCURRENCY
    await lane.until(done=CALLS)


async def test_few_large_ones_are_opened_in_a_turn() -> None:
    lane, before, most = Lane(gather_s=SOON_S), 0, 0
    lane.begin(LARGE_ONES, LARGE)
    while before < LARGE_ONES:
        most, before = max(most, lane.opened - before), lane.opened
        await asyncio.sleep(0)
    assert most == MOST_LARGE_ONES
    await lane.until(done=LARGE_ONES)


async def test_a_drain_leaves_large_ones_that_are_not_opened() -> None:
    lane = Lane(gather_s=SOON_S)
    lane.begin(LARGE_ONES, LARGE)
    async with asyncio.timeout(20):
        assert not await lane.lane.drain(grace_s=10)
    assert lane.opened == MOST_LARGE_ONES
    assert lane.lane.in_flight == 0
