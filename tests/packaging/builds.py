"""The wheel as a user gets it: built from this folder, and installed into a virtual environment of its own.

Nothing here needs a network: hatchling runs without build isolation, and the new environment finds the dependencies
where this one has them. It does not see this environment's editable installation, which would hide a missing file.
"""

import os
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Sequence
from pathlib import Path

from tests.services.commands import output_of

ROOT = Path(__file__).parents[2]
BUILD_S = 60


def run(arguments: Sequence[str | Path], folder: Path, python_path: str | None = None) -> str:
    """What a command writes to stdout. Raises AssertionError with its errors if it fails."""
    return output_of(arguments, folder=folder, environment=environment(python_path), timeout_s=BUILD_S)


def environment(python_path: str | None) -> dict[str, str]:
    """This process's environment with another PYTHONPATH, or none."""
    others = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return others if python_path is None else {**others, "PYTHONPATH": python_path}


def build(target: str, source: Path, into: Path) -> Path:
    """The `wheel` or `sdist` of a source folder."""
    run([sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", into], source)
    (built,) = into.iterdir()
    return built


def unpacked(sdist: Path, into: Path) -> Path:
    """The source folder in an sdist."""
    with tarfile.open(sdist) as archive:
        archive.extractall(into, filter="data")
    (source,) = into.iterdir()
    return source


def install(wheel: Path, into: Path) -> Path:
    """The folder with the programs of a new virtual environment in which the wheel is installed."""
    venv.create(into, with_pip=False)
    programs = into / "bin"
    run(
        [sys.executable, "-m", "pip", "--python", programs / "python", "install", "--no-index", "--no-deps", wheel],
        into,
    )
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = into / "lib" / version / "site-packages"
    (own / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return programs
