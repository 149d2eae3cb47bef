"""What the wheel and the sdist contain."""

import os
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

from tests.packaging.builds import ROOT, build, unpacked


def contents(wheel: Path) -> dict[str, bytes]:
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def package_files() -> set[str]:
    """Every file of the package, also those behind its links."""
    return {
        str((Path(folder) / name).relative_to(ROOT))
        for folder, _, names in os.walk(ROOT / "hookline", followlinks=True)
        for name in names
        if not folder.endswith("__pycache__")
    }


def test_the_wheel_installs_nothing_beside_the_package(wheel: Path) -> None:
    assert {name.partition("/")[0] for name in contents(wheel)} == {
        "hookline",
        f"hookline-{version('hookline')}.dist-info",
    }


def test_the_wheel_contains_every_file_of_the_package(wheel: Path) -> None:
    found = {name for name in contents(wheel) if name.startswith("hookline/")}
    assert found == package_files()
    assert {f"hookline/{room}/__init__.py" for room in ("schemas", "ingress", "workers", "broker")} <= found


def test_an_sdist_builds_the_very_same_wheel(wheel: Path, tmp_path: Path) -> None:
    for folder in ("sdist", "source", "again"):
        (tmp_path / folder).mkdir()
    source = unpacked(build("sdist", ROOT, tmp_path / "sdist"), tmp_path / "source")
    assert contents(build("wheel", source, tmp_path / "again")) == contents(wheel)


def test_an_sdist_contains_each_module_once(tmp_path: Path) -> None:
    (tmp_path / "sdist").mkdir()
    source = unpacked(build("sdist", ROOT, tmp_path / "sdist"), tmp_path / "source")
    modules = {str(path.relative_to(source)) for path in source.rglob("*.py")}
    assert modules == {name for name in package_files() if name.endswith(".py")}
