"""A crowd of calls that never wait leaves turns of the event loop to others."""

import asyncio

from tests.test_gathered_completions import CONCURRENCY, SOON_S, Lane

CALLS = 8 * CONCURRENCY
CALL_S = 0.005


async def test_as_many_are_called_in_a_turn_as_run_at_a_time() -> None:
    """The calls of one turn of the event loop are between two rounds of this test's own task."""
    lane, most = Lane(gather_s=SOON_S, call_s=CALL_S), 0
    lane.begin(CALLS)
    while (before := lane.called) < CALLS:
        await asyncio.sleep(0)
        most = max(most, lane.called - before)
    assert 0 < most <= CONCURRENCY
    await lane.until(done=CALLS)
