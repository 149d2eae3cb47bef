from pathlib import Path

import pytest

from tests.packaging.builds import ROOT, build, install


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `python`, `hookline` and what else a virtual environment with the wheel has."""
    return install(wheel, tmp_path_factory.mktemp("environment"))
