"""Worker files as teams write them: several workers, state that opens and closes, and middleware."""

import pytest

from tests.end_to_end.processes import END_S, Project, until

NOTING = '''
"""Two workers and their shared state. They write a line for everything that happens."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hookline.events import CanonicalEvent, Event, ParticipantJoined, RoomCreated
from hookline import Call, Delivery, worker

COUNTED = Path(os.environ["COUNTED"])


def note(line: str) -> None:
    with COUNTED.open("a") as file:
        file.write(line + "\\n")


@asynccontextmanager
async def open_visits() -> AsyncIterator[list[str]]:
    note("open")
    yield []
    note("close")


def noted(call: Call) -> Call:
    async def step(event: CanonicalEvent, delivery: Delivery) -> None:
        await call(event, delivery)
        note(f"after {type(event).__name__}")

    return step


@worker(RoomCreated, state=open_visits, middleware=[noted])
async def lessons(event: RoomCreated, delivery: Delivery[list[str]]) -> None:
    delivery.state.append("room")
    note(f"lessons {len(delivery.state)}")


@worker(ParticipantJoined, state=open_visits)
async def people(event: ParticipantJoined, delivery: Delivery[list[str]]) -> None:
    delivery.state.append("person")
    note(f"people {len(delivery.state)}")
    try:
        while not COUNTED.with_name("go").exists():
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        note("people cancelled")
        raise
    note("people end")
'''


@pytest.fixture
def noting(project: Project) -> Project:
    (project.folder / "noting.py").write_text(NOTING)
    return project


def lines(project: Project) -> list[str]:
    return project.counted.read_text().splitlines() if project.counted.exists() else []


def send(project: Project, event: str) -> None:
    done = project.call("send", "krtc-main", event)
    assert done.returncode == 0, done.stderr


def test_all_workers_of_a_file_run_and_share_their_state(noting: Project) -> None:
    run = noting.start("run", "noting.py")
    send(noting, "101")
    until(lambda: lines(noting) == ["open", "lessons 1", "after RoomCreated"])
    send(noting, "103")
    until(lambda: lines(noting)[3:] == ["people 2"])
    (noting.folder / "go").touch()
    assert run.stop() == 0


def test_a_state_is_closed_after_the_last_event_in_flight_is_handled(noting: Project) -> None:
    run = noting.start("run", "noting.py")
    send(noting, "103")
    until(lambda: lines(noting) == ["open", "people 1"])
    run.popen.terminate()
    run.wait_for("stopping")
    (noting.folder / "go").touch()
    run.popen.wait(END_S)
    assert lines(noting) == ["open", "people 1", "people end", "close"]


def test_at_a_second_signal_events_in_flight_are_put_back_before_the_state_is_closed(noting: Project) -> None:
    run = noting.start("run", "noting.py")
    send(noting, "103")
    until(lambda: lines(noting) == ["open", "people 1"])
    run.popen.terminate()
    run.wait_for("stopping")
    run.popen.terminate()
    assert run.popen.wait(END_S) == 0
    assert lines(noting) == ["open", "people 1", "people cancelled", "close"]


def test_a_state_that_cannot_be_opened_ends_the_process_with_exit_code_1(embedded_project: Project) -> None:
    (embedded_project.folder / "noting.py").write_text(NOTING.replace("yield []", "yield [][0]"))
    done = embedded_project.call("run", "noting.py")
    assert done.returncode == 1
    assert "hookline: open_visits of worker lessons failed: IndexError: list index out of range, in noting.py:" in (
        done.stderr
    )
    assert "Traceback" not in done.stderr


def test_a_state_that_fails_to_close_is_logged_and_the_exit_code_is_0(embedded_project: Project) -> None:
    (embedded_project.folder / "noting.py").write_text(
        NOTING.replace('note("close")', "raise OSError(28, 'disk full')")
    )
    run = embedded_project.start("run", "noting.py")
    assert run.stop() == 0
    (logged,) = [line for line in run.lines if "open_visits of worker lessons did not close" in line["message"]]
    assert "disk full" in logged["traceback"]
