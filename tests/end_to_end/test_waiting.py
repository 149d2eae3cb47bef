"""A process that starts while the broker or the store is away waits for it, unless it is told to fail fast."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.amqp_proxy import AmqpProxy
from tests.contract.installations import fresh_rabbitmq
from tests.end_to_end.processes import END_S, Project, eventually, until
from tests.end_to_end.test_processes import PROCESSES, change
from tests.services.rabbitmq import own_node
from tests.services.servers import free_ports

FIXTURES = Path(__file__).parent.parent / "fixtures"
WAITING = "waiting, and trying again: "
ROLES = (
    pytest.param(("ingress",), id="ingress"),
    pytest.param(("worker", "counter.py"), id="worker"),
)


@pytest.fixture
def port() -> int:
    (port,) = free_ports(1)
    return port


@pytest.fixture
def away_project(tmp_path: Path, port: int) -> Iterator[Project]:
    """A project whose RabbitMQ is not there yet."""
    made = Project(tmp_path, f"amqp://guest:guest@127.0.0.1:{port}/")
    made.config.write_text(made.config.read_text() + '\n[spool]\npath = ""\n')  # with a spool the ingress does not wait
    yield made
    made.close()


@pytest.mark.parametrize("role", ROLES)
async def test_a_process_waits_for_rabbitmq_with_one_line_and_then_starts(
    role: tuple[str, ...], away_project: Project, port: int, request: pytest.FixtureRequest
) -> None:
    await fresh_rabbitmq(request.config)
    process = away_project.start(*role, ready=WAITING)
    assert process.count(f"{WAITING}RabbitMQ at 127.0.0.1:{port}: connection refused") == 1
    async with AmqpProxy(own_node(request.config).port, port):
        await eventually(lambda: process.count("queue: ") == 1)
        assert process.count(WAITING) == 1
        process.kill()


async def test_several_ingress_processes_wait_for_rabbitmq(
    away_project: Project, port: int, request: pytest.FixtureRequest
) -> None:
    change(away_project, "[ingress]\n", f"[ingress]\nprocesses = {PROCESSES}\n")
    ingresses = away_project.start("ingress", ready=WAITING)
    async with AmqpProxy(own_node(request.config).port, port):
        await eventually(lambda: ingresses.count("listening on") == PROCESSES)
        ingresses.kill()


@pytest.mark.parametrize("role", ROLES)
def test_a_process_that_waits_can_be_stopped(role: tuple[str, ...], away_project: Project) -> None:
    process = away_project.start(*role, ready=WAITING)
    assert process.stop() == 0
    assert process.count('"stopping"') == 1


def test_processes_that_wait_can_be_stopped(away_project: Project) -> None:
    change(away_project, "[ingress]\n", f"[ingress]\nprocesses = {PROCESSES}\n")
    assert away_project.start("ingress", ready=WAITING).stop() == 0


@pytest.mark.parametrize(
    "store", ["redis://127.0.0.1:1/0", "postgresql://u:p@127.0.0.1:1/d"], ids=["redis", "postgresql"]
)
def test_a_worker_waits_for_its_store(store: str, tmp_path: Path) -> None:
    project = Project(tmp_path, store_url=store)
    try:
        assert project.start("worker", "counter.py", ready=WAITING).stop() == 0
        assert project.call("worker", "--fail-fast", "counter.py").returncode == 3
    finally:
        project.close()


def test_with_fail_fast_it_is_exit_code_3(away_project: Project, port: int) -> None:
    done = away_project.call("worker", "--fail-fast", "counter.py")
    assert done.returncode == 3
    assert done.stderr == f"hookline: RabbitMQ at 127.0.0.1:{port}: connection refused\n"


def test_a_local_file_that_cannot_be_opened_is_not_waited_for(tmp_path: Path) -> None:
    project = Project(tmp_path, "sqlite:missing/hookline.db")
    assert project.call("run").returncode == 3


@pytest.fixture
def locked_project(tmp_path: Path) -> Iterator[tuple[Project, sqlite3.Connection]]:
    """A project whose SQLite file is of an earlier version, and the process that brings it forward."""
    project = Project(tmp_path)
    shutil.copy(FIXTURES / "before_versions.sqlite3", tmp_path / "hookline.db")
    with closing(sqlite3.connect(tmp_path / "hookline.db", isolation_level=None)) as first:
        first.execute("BEGIN IMMEDIATE")
        yield project, first
    project.close()


@pytest.mark.parametrize("role", ROLES)
def test_a_process_waits_while_another_one_brings_a_large_file_forward(
    role: tuple[str, ...], locked_project: tuple[Project, sqlite3.Connection]
) -> None:
    project, first = locked_project
    process = project.start(*role, ready=WAITING)
    assert process.count(f"{WAITING}{project.folder}/hookline.db cannot be opened: another process has locked it") == 1
    first.execute("ROLLBACK")
    process.wait_for("queue: ")
    assert process.stop() == 0


def test_with_fail_fast_a_locked_file_is_exit_code_3(locked_project: tuple[Project, sqlite3.Connection]) -> None:
    project, _ = locked_project
    done = project.call("worker", "--fail-fast", "counter.py")
    assert done.returncode == 3
    assert "hookline.db cannot be opened: another process has locked it" in done.stderr


async def test_a_wrong_password_is_said_and_tried_again(
    tmp_path: Path, request: pytest.FixtureRequest, port: int
) -> None:
    node = own_node(request.config)
    project = Project(tmp_path, f"amqp://guest:hunter2@127.0.0.1:{port}/")
    try:
        async with AmqpProxy(node.port, port) as proxy:
            process = project.start("worker", "counter.py", ready=WAITING)
            await eventually(lambda: proxy.accepted >= 3)
            assert process.count("it refused the user or password") == 1
            assert process.count("hunter2") == 0
            process.popen.terminate()
            until(lambda: process.popen.poll() == 0, END_S)
    finally:
        project.close()
