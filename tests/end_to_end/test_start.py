"""A process loads no library that its settings do not need."""

import os
import subprocess
import sys

import pytest

from tests.end_to_end.processes import Process, Project

DRIVERS = {"aio_pika", "aiormq", "redis", "psycopg"}


LOGGED_IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}


def modules(lines: list[str]) -> set[str]:
    """What a process imported, from the import log of Python."""
    names = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "hookline" in names
    return names


def loaded(lines: list[str]) -> set[str]:
    """The packages of these."""
    return {name.partition(".")[0] for name in modules(lines)}


def started(project: Project, *arguments: str) -> set[str]:
    process: Process = project.start(*arguments, environment=LOGGED_IMPORTS)
    process.stop()
    return loaded(process.output)


def test_an_ingress_alone_loads_nothing_that_runs_workers(embedded_project: Project) -> None:
    process = embedded_project.start("ingress", environment=LOGGED_IMPORTS)
    process.stop()
    names = modules(process.output)
    assert "hookline.ingress.server" in names
    runs_workers = (
        "hookline.runtime.pools",
        "hookline.workers.pipeline",
        "hookline.workers.pool",
        "hookline.workers.stores",
    )
    assert {name for name in names if name.startswith(runs_workers)} == set()


@pytest.mark.parametrize("arguments", ["ingress", "run counter.py", "worker rooms counter.py"])
def test_the_embedded_queue_and_store_load_no_driver(embedded_project: Project, arguments: str) -> None:
    assert started(embedded_project, *arguments.split()) & DRIVERS == set()


def test_a_worker_process_without_an_operators_port_loads_no_web_server(embedded_project: Project) -> None:
    config = embedded_project.config
    config.write_text(f"{config.read_text()}\n[admin]\nport = 0\n")
    assert "aiohttp" not in started(embedded_project, "worker", "counter.py")


def test_what_writes_metrics_is_loaded_when_they_are_asked_for(embedded_project: Project) -> None:
    assert "prometheus_client" not in started(embedded_project, "run", "counter.py")


@pytest.mark.parametrize("arguments", ["ingress", "run counter.py", "worker counter.py"])
def test_a_process_that_serves_does_not_load_rich(embedded_project: Project, arguments: str) -> None:
    assert "rich" not in started(embedded_project, *arguments.split())


@pytest.mark.parametrize("command", ["--help", "topics"])
def test_a_command_without_connections_loads_no_driver_and_no_web_server(command: str) -> None:
    environment = {**os.environ, **LOGGED_IMPORTS}
    done = subprocess.run(  # noqa: S603  our own command
        [sys.executable, "-m", "hookline", command], env=environment, capture_output=True, text=True, check=True
    )
    assert loaded(done.stderr.splitlines()) & (DRIVERS | {"aiohttp"}) == set()


def test_an_ingress_that_may_open_few_files_says_what_to_raise(embedded_project: Project) -> None:
    process = embedded_project.start("ingress", under=("sh", "-c", 'ulimit -n 140; exec "$@"', "sh"))
    (line,) = [line for line in process.lines if "the process may open 140 files" in str(line)]
    assert "raise `ulimit -n`, or LimitNOFILE of its service" in str(line)
    assert "warning" in str(line).lower()
