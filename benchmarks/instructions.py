"""`python -m benchmarks.instructions`: how many instructions an event costs the ingress, and the bare application.

Counted by valgrind in programs without sockets, so they hardly differ between runs and are the same on a busy machine.
They leave out the system's part, and what caches and waiting cost. Two runs with different numbers of requests are
compared, so the start is not counted.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.callbacks import CallbackGenerator
from benchmarks.errors import InvalidRun
from benchmarks.installation import USUAL, Installation
from benchmarks.processes import ROOT

_LOADS = {"one provider": ("krtc",), "five providers": USUAL}
_AT_A_TIME = (1, 64)
_FEWER, _MORE = 640, 1920
_END_S = 300.0
_COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)")


@click.command(help=__doc__)
def main() -> None:
    if shutil.which("valgrind") is None:
        raise click.ClickException("valgrind counts the instructions: install it with the system's packages")
    click.echo(f"{'load':<16}{'at a time':>10}{'ours':>10}{'bare':>10}{'ratio':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for name, providers in _LOADS.items():
            for at_a_time in _AT_A_TIME:
                prepared = _prepared(Path(folder) / f"{len(providers)}-{at_a_time}", providers)
                ours, bare = (_per_event(program, prepared, at_a_time) for program in ("hookline", "bare"))
                click.echo(f"{name:<16}{at_a_time:>10}{ours:>10,.0f}{bare:>10,.0f}{ours / bare:>7.2f}")


def _prepared(folder: Path, providers: tuple[str, ...]) -> Path:
    """A folder with the settings of an installation and with requests to it."""
    folder.mkdir()
    installation = Installation(folder, "sqlite:hookline.db", "sqlite:hookline.db", providers=providers)
    CallbackGenerator().prepare(folder / "requests", installation.sources, _MORE)
    return folder


def _per_event(program: str, folder: Path, at_a_time: int) -> float:
    fewer, more = (_counted(program, folder, count, at_a_time) for count in (_FEWER, _MORE))
    return (more - fewer) / (_MORE - _FEWER)


def _counted(program: str, folder: Path, count: int, at_a_time: int) -> int:
    """The instructions of one run of a program. Raises InvalidRun."""
    run = subprocess.run(
        [
            *("valgrind", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={os.devnull}", sys.executable),
            *("-m", "benchmarks.without_sockets", program, str(folder), str(count), str(at_a_time)),
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
