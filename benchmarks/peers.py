"""The reference programs, running."""

import shutil
import subprocess
from pathlib import Path

from benchmarks.errors import InvalidRun
from benchmarks.processes import Consumer, Ingress
from benchmarks.queues import REFERENCE_QUEUE
from benchmarks.run import Run
from tests.services.servers import free_ports

_MODULE = "benchmarks.references"
_GO_INGRESS = Path(__file__).parent / "references" / "go_ingress"
_PREFETCH = 300
"""Both references are fastest with this many; Hookline prefetches fewer."""


def bare(run: Run) -> Ingress:
    (port,) = free_ports(1)
    return Ingress("bare", [f"{_MODULE}.bare", str(port)], run.folder, port)


def bare_protocol(run: Run) -> Ingress:
    (port,) = free_ports(1)
    return Ingress("bare_protocol", [f"{_MODULE}.bare_protocol", str(port)], run.folder, port)


def go_ingress(run: Run, secret: str) -> Ingress:
    """The reference in Go, built now. Raises InvalidRun without Go."""
    program = run.folder / "go_ingress"
    if shutil.which("go") is None:
        raise InvalidRun("this row needs Go 1.23 or newer: https://go.dev/dl")
    if not program.exists():
        subprocess.run(["go", "build", "-o", str(program), "."], cwd=_GO_INGRESS, check=True)  # noqa: S607  ours
    (port,) = free_ports(1)
    arguments = [str(port), run.servers.amqp_url, REFERENCE_QUEUE, secret]
    return Ingress("go_ingress", arguments, run.folder, port, [str(program)])


def obvious_ingress(run: Run) -> Ingress:
    return _ingress(run, "obvious_ingress")


def faststream_ingress(run: Run) -> Ingress:
    return _ingress(run, "faststream_ingress")


def _ingress(run: Run, module: str) -> Ingress:
    (port,) = free_ports(1)
    arguments = [f"{_MODULE}.{module}", str(port), run.servers.amqp_url, REFERENCE_QUEUE]
    return Ingress(module, arguments, run.folder, port)


def obvious_worker(run: Run, notes_folder: Path) -> Consumer:
    return _worker(run, "obvious_worker", notes_folder)


def faststream_worker(run: Run, notes_folder: Path) -> Consumer:
    return _worker(run, "faststream_worker", notes_folder)


def _worker(run: Run, module: str, notes_folder: Path) -> Consumer:
    arguments = [f"{_MODULE}.{module}", run.servers.amqp_url, REFERENCE_QUEUE, str(_PREFETCH)]
    return Consumer(module, arguments, run.folder, notes_folder)
