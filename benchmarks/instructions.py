"""`python -m benchmarks.instructions`: how many instructions an event costs the ingress, and how many a worker.

The reference of the ingress is the bare application, and that of a worker the plain one. Counted by valgrind in
programs without sockets, so they hardly differ between runs and are the same on a busy machine. They leave out the
system's part, and what caches and waiting cost. Two runs with different numbers of requests are compared, so the start
is not counted.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from benchmarks.callbacks import CallbackGenerator
from benchmarks.errors import InvalidRun
from benchmarks.installation import USUAL, Installation
from benchmarks.processes import ROOT
from benchmarks.worker_without_sockets import PROGRAMS

_SQLITE = ("sqlite:hookline.db", "sqlite:hookline.db")
_LOADS = {"one provider": ("krtc",), "five providers": USUAL}
_REQUESTS_AT_A_TIME = (1, 64)
_MESSAGES_AT_A_TIME = (1, 128)
_INGRESS, _WORKER = "benchmarks.without_sockets", "benchmarks.worker_without_sockets"
_PLAIN = next(iter(PROGRAMS))
_FEWER, _MORE = 1280, 2560
_END_S = 900.0  # on a busy machine
_COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)")


@click.command(help=__doc__)
def main() -> None:
    if shutil.which("valgrind") is None:
        raise click.ClickException("valgrind counts the instructions: install it with the system's packages")
    click.echo(f"{'load':<24}{'at a time':>10}{'ours':>10}{'reference':>11}{'ratio':>7}")
    for name, providers in _LOADS.items():
        for at_a_time in _REQUESTS_AT_A_TIME:
            with _prepared(providers) as folder:  # for each row: a signature is fresh for five minutes
                ours, bare = (_per_event(_INGRESS, program, folder, at_a_time) for program in ("hookline", "bare"))
            _show(name, at_a_time, ours, bare)
    with _prepared(USUAL) as folder:
        for at_a_time in _MESSAGES_AT_A_TIME:
            counted = {program: _per_event(_WORKER, program, folder, at_a_time) for program in PROGRAMS}
            for program, ours in counted.items():
                _show(program, at_a_time, ours, counted[_PLAIN])


def _show(name: str, at_a_time: int, ours: float, reference: float) -> None:
    click.echo(f"{name:<24}{at_a_time:>10}{ours:>10,.0f}{reference:>11,.0f}{ours / reference:>7.2f}")


@contextmanager
def _prepared(providers: tuple[str, ...]) -> Iterator[Path]:
    """A folder with the settings of an installation, with requests to it, and with envelopes for its workers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        installation, callbacks = Installation(folder, *_SQLITE, providers=providers), CallbackGenerator()
        callbacks.prepare(folder / "requests", installation.sources, _MORE)
        envelopes = [*callbacks.envelopes(installation.sources, _MORE)]
        (folder / "envelopes").write_bytes(msgspec.msgpack.encode(envelopes))
        yield folder


def _per_event(module: str, program: str, folder: Path, at_a_time: int) -> float:
    fewer, more = (_counted(module, program, folder, count, at_a_time) for count in (_FEWER, _MORE))
    return (more - fewer) / (_MORE - _FEWER)


def _counted(module: str, program: str, folder: Path, count: int, at_a_time: int) -> int:
    """The instructions of one run of a program. Raises InvalidRun."""
    run = subprocess.run(
        [
            *("valgrind", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={os.devnull}", sys.executable),
            *("-m", module, program, str(folder), str(count), str(at_a_time)),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=_END_S,
        check=False,
    )
    found = _COUNTED.search(run.stderr)
    if run.returncode or found is None:
        raise InvalidRun(f"{program} without sockets ended with {run.returncode}: {run.stderr[-2000:]}")
    return int(found[1].replace(",", ""))


if __name__ == "__main__":
    main()
