"""How long calls take of late."""

import asyncio

from hookline.workers.handler_latency import HandlerLatency


async def test_it_has_to_be_shown_that_calls_are_short() -> None:
    handler_latency = HandlerLatency()
    waiting = asyncio.create_task(handler_latency.quick())
    await asyncio.sleep(0)
    assert not waiting.done()
    handler_latency.note(0.001)
    await waiting


async def test_one_long_call_is_not_forgotten_at_once() -> None:
    handler_latency = HandlerLatency()
    handler_latency.note(0)
    handler_latency.note(10)
    for _ in range(20):
        handler_latency.note(0)
    waiting = asyncio.create_task(handler_latency.quick())
    await asyncio.sleep(0)
    assert not waiting.done()
    for _ in range(200):
        handler_latency.note(0)
    await waiting


async def test_calls_that_take_long_are_not_quick() -> None:
    handler_latency = HandlerLatency()
    for _ in range(50):
        handler_latency.note(0.02)
    waiting = asyncio.create_task(handler_latency.quick())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
