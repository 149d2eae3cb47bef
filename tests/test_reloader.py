"""Where `--reload` looks for changes."""

from pathlib import Path

import pytest

from hookline.runtime.reloader import folders_of
from hookline.schemas.errors import SettingsError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a package and a module."""
    (tmp_path / "company" / "workers").mkdir(parents=True)
    (tmp_path / "company" / "__init__.py").write_text("raise RuntimeError('imported to find where it is')\n")
    (tmp_path / "company" / "workers" / "billing.py").touch()
    (tmp_path / "lonely_module.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path.resolve()


def test_a_file_is_watched_with_its_folder(here: Path) -> None:
    assert folders_of(["mine.py", "company/workers/billing.py"]) == [here, here / "company" / "workers"]


def test_a_module_is_watched_with_its_whole_package_without_an_import(here: Path) -> None:
    assert folders_of(["company.workers.billing"]) == [here / "company"]


def test_a_module_outside_of_packages_is_watched_with_its_folder(here: Path) -> None:
    assert folders_of(["lonely_module"]) == [here]


@pytest.mark.parametrize(
    "name", [pytest.param("no_such_module.at_all", id="a module"), pytest.param("nowhere/mine.py", id="a file")]
)
def test_a_name_that_does_not_exist_is_refused(here: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="there is no such"):
        folders_of([name])
