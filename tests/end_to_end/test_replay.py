"""`hookline replay` feeds a worker events from before its start, and each is handled once."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.end_to_end.processes import COUNTER, Process, Project, until

CALLBACKS = 200
HALF = 100
DYING = Path(__file__).with_name("replay_that_dies.py")
WITHIN_S = 60


def start_and_send(project: Project) -> Process:
    """Switch the history on and have a worker handle 200 callbacks. Returns the process."""
    project.config.write_text(project.config.read_text() + "\n[history]\nenabled = true\n")
    run = project.start("run", "counter.py")
    sent = project.call("send", "krtc-main", "--count", str(CALLBACKS))
    assert sent.returncode == 0, sent.stdout + sent.stderr
    until(lambda: len(project.handled()) == CALLBACKS)
    return run


def start_newcomer(project: Project, topic: str = "#") -> Process:
    """Start a worker with a new queue, which writes what it handles to another file."""
    newcomer = COUNTER.replace('topic="#", queue="counter"', f'topic="{topic}", queue="newcomer"')
    (project.folder / "newcomer.py").write_text(newcomer.replace('os.environ["COUNTED"]', '"newcomer"'))
    return project.start("worker", "newcomer.py")


def handled_by_newcomer(project: Project) -> list[str]:
    file = project.folder / "newcomer"
    return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []


def fed(project: Project, *options: str) -> int:
    done = project.call("replay", "--since", "1h", "--to", "newcomer", "--json", *options)
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["events"])


def test_a_new_worker_handles_events_from_before_its_start(project: Project) -> None:
    start_and_send(project)
    start_newcomer(project)
    assert fed(project) == CALLBACKS
    until(lambda: len(set(handled_by_newcomer(project))) == CALLBACKS)
    assert sorted(handled_by_newcomer(project)) == sorted(project.handled())


def test_a_replay_that_was_killed_half_way_is_repeated_and_each_event_is_handled_once(project: Project) -> None:
    start_and_send(project)
    newcomer = start_newcomer(project)
    died = subprocess.run(  # noqa: S603  our own command
        [sys.executable, DYING, str(HALF), "replay", "--since", "1h", "--to", "newcomer", "--config", project.config],
        env={**os.environ, "PYTHONPATH": str(DYING.parents[2])},
        timeout=WITHIN_S,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    until(lambda: settled(newcomer) == HALF)
    assert fed(project) == CALLBACKS
    until(lambda: settled(newcomer) == HALF + CALLBACKS)
    assert sorted(handled_by_newcomer(project)) == sorted(set(project.handled()))


def settled(process: Process, queue: str = "newcomer") -> int:
    """How many deliveries of the queue are handled or duplicates."""
    done = [line for line in list(process.lines) if line.get("outcome") in ("handled", "duplicate")]
    return len([line for line in done if line["queue"] == queue])


def test_a_dry_run_counts_and_feeds_nothing(embedded_project: Project) -> None:
    start_and_send(embedded_project)
    start_newcomer(embedded_project)
    shown = embedded_project.call("replay", "--since", "1h", "--to", "newcomer", "--dry-run")
    assert shown.stdout.splitlines()[-1] == f"newcomer would be fed {CALLBACKS} events"
    assert "25  krtc.krtc-main.room.created" in shown.stdout
    assert fed(embedded_project, "--topic", "*.*.room.created", "--dry-run") == CALLBACKS // 8
    assert fed(embedded_project, "--source", "voice") == 0
    assert handled_by_newcomer(embedded_project) == []


def test_a_worker_is_fed_only_what_it_is_bound_to(embedded_project: Project) -> None:
    start_and_send(embedded_project)
    start_newcomer(embedded_project, "*.*.room.*")
    assert fed(embedded_project) == CALLBACKS // 4


def test_a_repaired_worker_handles_finished_events_once_more_for_each_name(embedded_project: Project) -> None:
    run = start_and_send(embedded_project)
    for again in ("repair-1", "repair-1", "repair-2"):
        done = embedded_project.call("replay", "--since", "1h", "--to", "counter", "--again", again)
        assert done.stdout.endswith(f"counter was fed {CALLBACKS} events\n")
    until(lambda: settled(run, "counter") == 4 * CALLBACKS)
    assert sorted(embedded_project.handled()) == sorted(3 * embedded_project.handled()[:CALLBACKS])
