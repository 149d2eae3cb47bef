"""What the starters of the private servers say when a program is missing."""

from pathlib import Path

import pytest

from tests.services import rabbitmq


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the environment names, with `rabbitmq-server` in it."""
    monkeypatch.setenv(rabbitmq.PROGRAMS_VARIABLE, str(tmp_path))
    program = tmp_path / "rabbitmq-server"
    program.touch(mode=0o755)
    return tmp_path


def test_the_folder_that_the_environment_names_comes_first(folder: Path) -> None:
    (folder / "rabbitmqctl").touch(mode=0o755)
    assert rabbitmq.programs() == folder


def test_a_named_folder_that_misses_a_program_fails_and_names_the_variable(folder: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match=rf"{rabbitmq.PROGRAMS_VARIABLE} is {folder}.*rabbitmqctl"):
        rabbitmq.programs()
