"""What a stop closes shares one deadline, and nothing that hangs keeps a process from ending."""

import asyncio
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from hookline.runtime import shutdown
from hookline.runtime.shutdown import ClosingTime, Stop, StoppedEarlyError
from hookline.sqlite.database import Database
from hookline.workers import draining
from hookline.workers.draining import drain

HANGS_S = 30.0
SOON_S = 0.1


class Part:
    """Something to close, which takes a while."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.closed = self.has_hung_up = False
        self._takes_s = takes_s

    async def close(self) -> None:
        try:
            await asyncio.sleep(self._takes_s)
            self.closed = True
        finally:
            self.has_hung_up = not self.closed


async def test_parts_that_hang_share_one_deadline_and_hang_up() -> None:
    hanging, closing_time = [Part(HANGS_S) for _ in range(6)], ClosingTime(SOON_S)
    began_s = time.monotonic()
    await closing_time.close(*(part.close() for part in hanging[:5]))
    await closing_time.close(hanging[5].close())
    assert time.monotonic() - began_s < HANGS_S / 2
    assert all(part.has_hung_up for part in hanging)


async def test_a_part_that_hangs_leaves_the_others_time_to_close() -> None:
    hanging, quick, later, closing_time = Part(HANGS_S), Part(), Part(SOON_S), ClosingTime(SOON_S)
    await closing_time.close(hanging.close(), quick.close())
    await closing_time.close(later.close())
    assert quick.closed
    assert later.closed


async def test_what_a_part_fails_with_is_raised_once_the_others_are_closed() -> None:
    async def fail() -> None:
        raise RuntimeError("broken")

    other = Part(SOON_S)
    with pytest.raises(RuntimeError, match="broken"):
        await ClosingTime().close(fail(), other.close())
    assert other.closed


async def test_a_file_whose_disk_hangs_is_not_waited_for(tmp_path: Path) -> None:
    database, goes_on = await Database.open(tmp_path / "queue.db"), threading.Event()

    def hang(_: sqlite3.Connection) -> None:
        goes_on.wait(HANGS_S)

    writing = asyncio.create_task(database.run(hang))
    await asyncio.sleep(0)
    closing = asyncio.create_task(ClosingTime(SOON_S).close(database.close()))
    await asyncio.wait([closing], timeout=HANGS_S / 2)
    assert closing.done()
    goes_on.set()
    await asyncio.gather(writing, database.close())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "_SERVERS_S", SOON_S)
    monkeypatch.setattr(shutdown, "_HANG_UP_S", SOON_S)
    monkeypatch.setattr(shutdown, "_SILENT_S", SOON_S)


@pytest.mark.usefixtures("impatient")
async def test_events_that_only_wait_for_a_silent_server_do_not_use_the_grace_of_functions() -> None:
    waiting = [asyncio.create_task(asyncio.sleep(HANGS_S)) for _ in range(3)]
    began_s = time.monotonic()
    assert (await drain(waiting, HANGS_S, lambda: False)).is_silent
    assert time.monotonic() - began_s < HANGS_S / 2
    assert all(task.cancelled() for task in waiting)


@pytest.mark.usefixtures("impatient")
async def test_functions_that_are_called_have_the_whole_grace() -> None:
    call = asyncio.create_task(asyncio.sleep(5 * SOON_S))
    assert not (await drain([call], HANGS_S, lambda: not call.done())).is_silent
    assert not call.cancelled()


@pytest.mark.usefixtures("impatient")
async def test_events_that_end_one_after_the_other_are_waited_for() -> None:
    ending = [asyncio.create_task(asyncio.sleep(number * SOON_S / 4)) for number in range(1, 12)]
    assert not (await drain(ending, HANGS_S, lambda: False)).is_silent
    assert not any(task.cancelled() for task in ending)


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_was_waited_for_in_vain_is_not_waited_for_again() -> None:
    hanging, closing_time = Part(HANGS_S), ClosingTime(HANGS_S)
    closing_time.shorten()
    began_s = time.monotonic()
    await closing_time.close(hanging.close())
    assert time.monotonic() - began_s < HANGS_S / 2
    assert hanging.has_hung_up


@pytest.mark.usefixtures("impatient")
async def test_a_step_of_the_start_that_goes_on_after_it_is_cancelled_does_not_hold_up_a_stop() -> None:
    """What it closes then may wait for a server that answers nothing."""

    async def open_and_close() -> None:
        try:
            await asyncio.sleep(HANGS_S)
        finally:
            await asyncio.sleep(HANGS_S)

    stop = Stop()
    starting = asyncio.create_task(stop.unless_asked(open_and_close()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stop.ask()
    await asyncio.wait([starting], timeout=HANGS_S / 2)
    assert starting.done()
    assert isinstance(starting.exception(), StoppedEarlyError)
