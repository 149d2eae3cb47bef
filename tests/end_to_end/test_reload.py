"""`--reload`: workers that start again whenever somebody saves their file."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.end_to_end.processes import END_S, START_S, House, Process, until

WORKER = '''
"""Notes the version of its own file for each event."""

import asyncio
import os
from pathlib import Path

from neighbour import VERSION
from hookline.events import Event
from hookline import worker

COUNTED = Path(os.environ["COUNTED"])


def note(line: str) -> None:
    with COUNTED.open("a") as file:
        file.write(line + "\\n")


@worker(topic="#", queue="versions", timeout_s=60)
async def versions(event: Event) -> None:
    {body}
'''
NOTE = 'note(f"first {VERSION}")'
WAIT = """note("began")
    while not COUNTED.with_name("go").exists():
        await asyncio.sleep(0.02)
    note("finished")"""


def save(house: House, *, body: str = NOTE, version: str = "one") -> None:
    (house.folder / "neighbour.py").write_text(f'VERSION = "{version}"\n')
    (house.folder / "mine.py").write_text(WORKER.replace("{body}", body))


@contextmanager
def reloading(house: House, command: str, *arguments: str) -> Iterator[Process]:
    """A command that is ended with its own process, whatever becomes of the test."""
    process = house.start(command, "--reload", *arguments, ready="worker versions")
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.stop()


def send_one(house: House) -> None:
    done = house.call("send", "krtc-main", "103")
    assert done.returncode == 0, done.stderr


def said(process: Process, text: str) -> int:
    return sum(text in line for line in process.output)


def started(process: Process, times: int) -> None:
    until(lambda: said(process, "worker versions") >= times, START_S)


def handled(house: House, *lines: str) -> None:
    until(lambda: house.counted.exists() and house.counted.read_text().splitlines() == list(lines), END_S)


def test_a_worker_is_run_anew_when_its_file_or_a_neighbour_changes(embedded_house: House) -> None:
    save(embedded_house)
    embedded_house.start("ingress")
    with reloading(embedded_house, "worker", "mine.py") as process:
        send_one(embedded_house)
        handled(embedded_house, "first one")
        save(embedded_house, body=NOTE.replace("first", "other"))
        started(process, 2)
        send_one(embedded_house)
        handled(embedded_house, "first one", "other one")
        (embedded_house.folder / "neighbour.py").write_text('VERSION = "two"\n')
        started(process, 3)
        send_one(embedded_house)
        handled(embedded_house, "first one", "other one", "other two")
        assert process.stop() == 0


def test_a_syntax_error_is_told_and_the_next_change_mends_it(embedded_house: House) -> None:
    save(embedded_house)
    with reloading(embedded_house, "worker", "mine.py") as process:
        save(embedded_house, body="def :")
        process.wait_for("mine.py cannot be imported: SyntaxError")
        process.wait_for("waiting for a change")
        save(embedded_house)
        started(process, 2)


def test_what_is_in_hand_is_finished_before_the_new_start(embedded_house: House) -> None:
    save(embedded_house, body=WAIT)
    embedded_house.start("ingress")
    with reloading(embedded_house, "worker", "mine.py") as process:
        send_one(embedded_house)
        handled(embedded_house, "began")
        save(embedded_house)
        process.wait_for("stopping")
        (embedded_house.folder / "go").touch()
        started(process, 2)
        send_one(embedded_house)
        handled(embedded_house, "began", "finished", "first one")


def test_door_and_workers_in_one_process_are_run_anew_too(embedded_house: House) -> None:
    save(embedded_house)
    with reloading(embedded_house, "run", "mine.py") as process:
        until(lambda: said(process, "queue: ") == 1, START_S)
        save(embedded_house, version="two")
        until(lambda: said(process, "queue: ") == 2, START_S)
        send_one(embedded_house)
        handled(embedded_house, "first two")


def test_a_process_that_dies_is_told_and_started_again_at_the_next_change(embedded_house: House) -> None:
    save(embedded_house, body="os._exit(7)")
    embedded_house.start("ingress")
    with reloading(embedded_house, "worker", "mine.py") as process:
        send_one(embedded_house)
        process.wait_for("the process ended with exit code 7; waiting for a change")
        save(embedded_house)
        handled(embedded_house, "first one")


def test_without_the_library_the_command_says_how_to_get_it(embedded_house: House) -> None:
    save(embedded_house)
    (embedded_house.folder / "watchfiles.py").write_text("raise ImportError\n")  # hides the one that is installed
    done = embedded_house.call("worker", "--reload", "mine.py")
    assert done.returncode == 2
    assert "pip install 'hookline[reload]'" in done.stderr


def test_without_a_file_there_is_nothing_to_watch(embedded_house: House) -> None:
    done = embedded_house.call("run", "--reload")
    assert done.returncode == 2
    assert "needs the file or module of a worker" in done.stderr
