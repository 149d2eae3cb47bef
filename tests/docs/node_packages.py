"""Packages of npm for a test, installed in a folder of its own."""

import shutil
import subprocess
from pathlib import Path

import pytest

_INSTALL_S = 240


def install(folder: Path, purpose: str, *packages: str) -> Path:
    """Install packages in a folder, and return it. Skips the test without Node, npm or a package index."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip(f"NOT TESTED: Node and npm are not installed, so {purpose}")
    (folder / "package.json").write_text('{"private": true}')
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        pytest.skip(f"NOT TESTED: npm took too long, so {purpose}")
    if done.returncode:
        pytest.skip(f"NOT TESTED: npm cannot install {', '.join(packages)}, so {purpose}: {done.stderr}")
    return folder
