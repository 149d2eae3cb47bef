"""The installed wheel in a project that has modules of the same names as Hookline's own folders.

Every test runs with and without `PYTHONPATH=.`, which puts the project's modules before all installed ones.
"""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.processes import until
from tests.packaging.builds import environment, run
from tests.services.servers import free_ports

PROJECT = Path(__file__).parent / "project"
START_S = 20
END_S = 40


@pytest.fixture(params=[None, "."], ids=["without PYTHONPATH", "with PYTHONPATH=."])
def python_path(request: pytest.FixtureRequest) -> str | None:
    value: str | None = request.param
    return value


@pytest.fixture
def project(programs: Path, tmp_path: Path) -> Path:
    """A copy of the project, with a settings file."""
    folder = tmp_path / "project"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    run([programs / "hookline", "init"], folder)
    settings = folder / "hookline.toml"
    (port,) = free_ports(1)
    settings.write_text(settings.read_text().replace("port = 8080", f"port = {port}"))
    return folder


@contextmanager
def running(programs: Path, folder: Path, python_path: str | None, *arguments: str) -> Iterator[None]:
    """A command that runs until the end of the block, and has started before."""
    log = folder / f"{arguments[0]}.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(  # noqa: S603  our own command
            [programs / "hookline", *arguments], cwd=folder, env=environment(python_path), stderr=output
        ) as process,
    ):
        try:
            until(lambda: b"queue: " in log.read_bytes() or process.poll() is not None, START_S)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            ended = process.wait(END_S)
        assert ended == 0, log.read_text()


def sends_and_handles(programs: Path, folder: Path, python_path: str | None) -> None:
    run([programs / "hookline", "send", "krtc-main", "participant.joined"], folder, python_path)
    written = folder / "attendance.txt"
    until(written.exists, START_S)
    assert written.read_text().startswith("TEACHER joined demo-")


def test_a_worker_runs_beside_the_ingress(programs: Path, project: Path, python_path: str | None) -> None:
    with running(programs, project, python_path, "run", "worker.py"):
        sends_and_handles(programs, project, python_path)


def test_a_worker_runs_in_a_process_of_its_own(programs: Path, project: Path, python_path: str | None) -> None:
    with (
        running(programs, project, python_path, "ingress"),
        running(programs, project, python_path, "worker", "worker"),
    ):
        sends_and_handles(programs, project, python_path)


def test_the_tests_of_the_project_pass(programs: Path, project: Path, python_path: str | None) -> None:
    # -P: as the program `pytest` does, and unlike `python -m pytest`, leave the current folder off the path.
    said = run([programs / "python", "-P", "-m", "pytest", "-p", "no:cacheprovider"], project, python_path)
    assert "1 passed" in said


def test_the_topics_are_listed(programs: Path, project: Path, python_path: str | None) -> None:
    topics = json.loads(run([programs / "hookline", "topics", "--json"], project, python_path))
    assert "participant.joined" in {row["topic"] for row in topics}


def test_the_installed_wheel_is_what_runs(programs: Path, project: Path, python_path: str | None) -> None:
    script = "import hookline.schemas; print(hookline.schemas.__file__)"
    found = run([programs / "python", "-c", script], project, python_path).strip()
    assert Path(found).is_relative_to(programs.parent)
