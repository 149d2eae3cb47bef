"""The end of a task that nobody awaits."""

import asyncio

import pytest

from hookline.aio.lasting_task import start_lasting


async def fail() -> None:
    raise ValueError("s3cret")


async def test_a_task_that_fails_is_logged_while_it_is_still_kept(caplog: pytest.LogCaptureFixture) -> None:
    task = start_lasting(fail(), "looking at the queues")
    await asyncio.wait([task])
    await asyncio.sleep(0)
    (logged,) = [record.getMessage() for record in caplog.records]
    assert logged.startswith("looking at the queues ended by ValueError in ")
    assert logged.endswith(": restart the process")
    assert "s3cret" not in logged


async def test_a_task_that_is_cancelled_is_not(caplog: pytest.LogCaptureFixture) -> None:
    task = start_lasting(asyncio.sleep(60), "looking at the queues")
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert not caplog.records
