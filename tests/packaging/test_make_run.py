"""`make run` in folders as people have them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ANEW = "-m venv .venv"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with a space and an umlaut in its name, and an environment that `make` takes for installed."""
    folder = tmp_path / "für mich"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=folder, check=True)
    (folder / ".venv" / ".installed").touch()
    return folder


def made(folder: Path, *arguments: str, **environment: str) -> str:
    """What `make` prints."""
    command = ["make", *arguments]
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(  # noqa: S603  our own Makefile
        command, cwd=folder, env={**ours, **environment}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_environment_that_works_is_kept(checkout: Path) -> None:
    assert ANEW not in made(checkout, "-n", "run")


def test_the_environment_of_a_folder_that_was_moved_is_made_anew(checkout: Path) -> None:
    moved = checkout.rename(checkout.with_name("für dich"))
    assert ANEW in made(moved, "-n", "run")


def test_an_environment_whose_python_is_gone_is_made_anew(checkout: Path) -> None:
    python = checkout / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(checkout / "no-python")
    assert ANEW in made(checkout, "-n", "run")


@pytest.mark.parametrize(("locale", "used"), [("C", "C.UTF-8"), ("POSIX", "C.UTF-8"), ("de_DE.UTF-8", "de_DE.UTF-8")])
def test_python_can_read_the_name_of_the_folder_in_any_locale(checkout: Path, locale: str, used: str) -> None:
    assert made(checkout, "--eval=show:; @echo $$LC_ALL", "show", LC_ALL=locale) == f"{used}\n"
