"""Where `--reload` looks for changes."""

from pathlib import Path

import pytest

from hookline.runtime.reloader import folders_of
from hookline.schemas.errors import SettingsError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file, a package and a module, in which somebody works."""
    (tmp_path / "company" / "workers").mkdir(parents=True)
    (tmp_path / "company" / "__init__.py").write_text("raise RuntimeError('imported only to look where it is')\n")
    (tmp_path / "company" / "workers" / "billing.py").touch()
    (tmp_path / "lonely_module.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path.resolve()


def test_a_file_is_watched_with_its_neighbours(here: Path) -> None:
    assert folders_of(["mine.py", "company/workers/billing.py"]) == [here, here / "company" / "workers"]


def test_a_module_is_watched_with_its_whole_package_and_is_not_imported_for_it(here: Path) -> None:
    assert folders_of(["company.workers.billing"]) == [here / "company"]


def test_a_module_outside_of_packages_is_watched_with_its_neighbours(here: Path) -> None:
    assert folders_of(["lonely_module"]) == [here]


@pytest.mark.parametrize("name", ["no_such_module.at_all", "nowhere/mine.py"])
def test_what_is_not_there_is_told_at_once(here: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="there is no such"):
        folders_of([name])
