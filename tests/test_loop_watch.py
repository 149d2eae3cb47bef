"""A function that blocks the event loop is named while it does. Threads come to run beside it."""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from hookline.runtime.import_watch import watching_import
from hookline.runtime.loop_watch import watching_loop
from hookline.workers.user_code import running_line

WITHIN_S = 60.0


def block_until_logged(caplog: pytest.LogCaptureFixture) -> None:
    end_s = time.monotonic() + WITHIN_S
    while not caplog.records and time.monotonic() < end_s:
        time.sleep(0.01)


def block(seconds: float) -> None:
    time.sleep(seconds)


async def test_the_line_that_blocks_is_named_while_it_does(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "hookline")
    with watching_loop(stalled_s=0.1, look_s=0.05):
        block_until_logged(caplog)
    (record,) = caplog.records
    assert f"{__file__}:" in record.message
    assert "blocks this process for more than 0.1 s" in record.message


async def test_a_file_is_named_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "hookline")
    with watching_loop(stalled_s=0.1, look_s=0.05):
        for _ in range(3):
            block_until_logged(caplog)
            block(0.3)
            await asyncio.sleep(0)
    assert len(caplog.records) == 1


async def test_the_time_for_which_the_loop_did_not_run_is_added_up() -> None:
    with watching_loop() as watch:
        assert (watch.blocked(), watch.blocked_s) == (None, 0.0)
        await blocked_for(1.2)
        blocked = watch.blocked()
    assert watch.blocked_s > 0.5
    assert blocked is not None
    assert blocked.share > 0.5 / 60


async def test_the_line_that_blocked_the_loop_for_less_than_is_logged_is_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with watching_loop(stalled_s=30.0, look_s=0.1) as watch:
        await blocked_for(1.2)
        blocked = watch.blocked()
    assert blocked is not None
    assert blocked.line.startswith(f"{__file__}:")
    assert not caplog.records


async def blocked_for(seconds: float) -> None:
    """Block the loop, and return once it has noticed."""
    await asyncio.sleep(0.7)
    block(seconds)
    await asyncio.sleep(0.7)


def test_an_import_that_takes_long_is_said_with_its_line(caplog: pytest.LogCaptureFixture) -> None:
    with watching_import("billing.py", 0.1):
        block_until_logged(caplog)
    (record,) = caplog.records
    assert f"the import of billing.py takes more than 0.1 s, and is at {__file__}:" in record.message


async def test_an_event_loop_that_waits_runs_no_line_of_the_team() -> None:
    """What started the loop, such as this test's runner, is not what blocks it."""
    main, found = threading.get_ident(), asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def look() -> None:
        loop.call_soon_threadsafe(found.set_result, running_line(sys._current_frames()[main]))  # noqa: SLF001

    timer = threading.Timer(0.2, look)  # the loop waits by then
    timer.start()
    assert await found is None


@pytest.fixture
def switching_s() -> Iterator[float]:
    """How long a thread waits for the interpreter before it asks for it."""
    before_s = sys.getswitchinterval()
    yield before_s
    sys.setswitchinterval(before_s)


async def test_threads_are_let_in_sooner_once_none_comes_to_run(
    switching_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)
    monkeypatch.setattr(threading.Thread, "join", lambda _: None)
    with watching_loop(look_s=0.02):
        async with asyncio.timeout(WITHIN_S):
            while sys.getswitchinterval() == switching_s:  # noqa: ASYNC110  no signal is given
                await asyncio.sleep(0.01)
    assert sys.getswitchinterval() < switching_s


async def test_as_long_as_threads_come_to_run_none_interrupts_the_loop_sooner(switching_s: float) -> None:
    with watching_loop():
        await asyncio.sleep(2.2)
    assert sys.getswitchinterval() == switching_s
