"""Whether recent calls were quick, which decides how many events are claimed ahead."""

import asyncio

from hookline.workers.handler import HandlerLatency


async def test_calls_count_as_slow_until_one_was_quick() -> None:
    latency = HandlerLatency()
    waiting = asyncio.create_task(latency.quick())
    await asyncio.sleep(0)
    assert not waiting.done()
    latency.record(0.001)
    await waiting


async def test_one_slow_call_counts_for_many_quick_ones() -> None:
    latency = HandlerLatency()
    latency.record(0)
    latency.record(10)
    for _ in range(20):
        latency.record(0)
    waiting = asyncio.create_task(latency.quick())
    await asyncio.sleep(0)
    assert not waiting.done()
    for _ in range(200):
        latency.record(0)
    await waiting


async def test_calls_of_20_ms_are_not_quick() -> None:
    latency = HandlerLatency()
    for _ in range(50):
        latency.record(0.02)
    waiting = asyncio.create_task(latency.quick())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
