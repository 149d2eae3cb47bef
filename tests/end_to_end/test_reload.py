"""`--reload`: workers restart when their file is saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.end_to_end.processes import WITHIN_S, Process, Project, until

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


def save(project: Project, *, body: str = NOTE, version: str = "one") -> None:
    (project.folder / "neighbour.py").write_text(f'VERSION = "{version}"\n')
    (project.folder / "mine.py").write_text(WORKER.replace("{body}", body))


@contextmanager
def reloading(project: Project, command: str, *arguments: str) -> Iterator[Process]:
    """A command that is stopped together with its child process, even if the test fails."""
    process = project.start(command, "--reload", *arguments, ready="worker versions")
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.stop()


def send_one(project: Project) -> None:
    done = project.call("send", "krtc-main", "103")
    assert done.returncode == 0, done.stderr


@contextmanager
def waiting(project: Project) -> Iterator[Process]:
    """A worker with an event in flight, whose function waits for a file named `go`."""
    save(project, body=WAIT)
    project.start("ingress")
    with reloading(project, "worker", "mine.py") as process:
        send_one(project)
        handled(project, "began")
        yield process


def started(process: Process, times: int) -> None:
    until(lambda: process.count("worker versions") >= times)


def handled(project: Project, *lines: str) -> None:
    until(lambda: project.counted.exists() and project.counted.read_text().splitlines() == list(lines))


def test_a_worker_restarts_when_its_file_or_a_neighbour_changes(embedded_project: Project) -> None:
    save(embedded_project)
    embedded_project.start("ingress")
    with reloading(embedded_project, "worker", "mine.py") as process:
        send_one(embedded_project)
        handled(embedded_project, "first one")
        save(embedded_project, body=NOTE.replace("first", "other"))
        started(process, 2)
        send_one(embedded_project)
        handled(embedded_project, "first one", "other one")
        (embedded_project.folder / "neighbour.py").write_text('VERSION = "two"\n')
        started(process, 3)
        send_one(embedded_project)
        handled(embedded_project, "first one", "other one", "other two")
        assert process.stop() == 0


def test_a_worker_restarts_when_the_settings_change(embedded_project: Project) -> None:
    save(embedded_project)
    elsewhere = embedded_project.folder.with_name("settings-elsewhere")
    elsewhere.mkdir()
    embedded_project.config = embedded_project.config.rename(elsewhere / "hookline.toml")
    with reloading(embedded_project, "worker", "mine.py") as process:
        (elsewhere / "unrelated.py").touch()
        text = embedded_project.config.read_text()
        embedded_project.config.write_text(text + "\n[workers]\nshutdown_s = 0\n")
        process.wait_for("workers.shutdown_s: expected")
        process.wait_for("waiting for a change")
        embedded_project.config.write_text(text)
        started(process, 2)
        assert process.count("unrelated") == 0


def test_a_syntax_error_is_logged_and_the_next_change_restarts_the_worker(embedded_project: Project) -> None:
    save(embedded_project)
    with reloading(embedded_project, "worker", "mine.py") as process:
        save(embedded_project, body="def :")
        process.wait_for("mine.py cannot be imported: SyntaxError")
        process.wait_for("waiting for a change")
        save(embedded_project)
        started(process, 2)


def test_events_in_flight_finish_before_the_restart(embedded_project: Project) -> None:
    with waiting(embedded_project) as process:
        save(embedded_project)
        process.wait_for("stopping")
        (embedded_project.folder / "go").touch()
        started(process, 2)
        send_one(embedded_project)
        handled(embedded_project, "began", "finished", "first one")


def test_ctrl_c_lets_events_in_flight_finish(embedded_project: Project) -> None:
    with waiting(embedded_project) as process:
        process.popen.send_signal(signal.SIGINT)
        process.wait_for("stopping")
        process.popen.send_signal(signal.SIGINT)
        (embedded_project.folder / "go").touch()
        assert process.popen.wait(WITHIN_S) == 0
        handled(embedded_project, "began", "finished")


def test_a_process_that_drains_at_a_stop_is_not_replaced(embedded_project: Project) -> None:
    with waiting(embedded_project) as process:
        save(embedded_project)
        process.wait_for("stopping")
        process.popen.send_signal(signal.SIGTERM)
        (embedded_project.folder / "go").touch()
        assert process.popen.wait(WITHIN_S) == 0
        process.follower.join(WITHIN_S)
        assert process.count("worker versions") == 1


def test_ingress_and_workers_in_one_process_restart_too(embedded_project: Project) -> None:
    save(embedded_project)
    with reloading(embedded_project, "run", "mine.py") as process:
        until(lambda: process.count("queue: ") == 1)
        save(embedded_project, version="two")
        until(lambda: process.count("queue: ") == 2)
        send_one(embedded_project)
        handled(embedded_project, "first two")


def test_a_process_that_dies_is_logged_and_restarts_at_the_next_change(embedded_project: Project) -> None:
    save(embedded_project, body="os._exit(7)")
    embedded_project.start("ingress")
    with reloading(embedded_project, "worker", "mine.py") as process:
        send_one(embedded_project)
        process.wait_for("the process ended with exit code 7; waiting for a change")
        save(embedded_project)
        handled(embedded_project, "first one")


def test_without_the_library_the_command_says_how_to_install_it(embedded_project: Project) -> None:
    save(embedded_project)
    (embedded_project.folder / "watchfiles.py").write_text("raise ImportError\n")  # hides the installed one
    done = embedded_project.call("worker", "--reload", "mine.py")
    assert done.returncode == 2
    assert "--reload needs a library: pip install 'watchfiles" in done.stderr


def test_without_a_file_there_is_nothing_to_watch(embedded_project: Project) -> None:
    done = embedded_project.call("run", "--reload")
    assert done.returncode == 2
    assert "needs the file or module of a worker" in done.stderr
