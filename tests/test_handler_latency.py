"""How long calls take of late."""

import asyncio

from hookline.workers.handler_latency import Pace


async def test_it_has_to_be_shown_that_calls_are_short() -> None:
    pace = Pace()
    waiting = asyncio.create_task(pace.quick())
    await asyncio.sleep(0)
    assert not waiting.done()
    pace.note(0.001)
    await waiting


async def test_one_long_call_is_not_forgotten_at_once() -> None:
    pace = Pace()
    pace.note(0)
    pace.note(10)
    for _ in range(20):
        pace.note(0)
    waiting = asyncio.create_task(pace.quick())
    await asyncio.sleep(0)
    assert not waiting.done()
    for _ in range(200):
        pace.note(0)
    await waiting


async def test_calls_that_take_long_are_not_quick() -> None:
    pace = Pace()
    for _ in range(50):
        pace.note(0.02)
    waiting = asyncio.create_task(pace.quick())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
