"""An ingress that is asked to stop while the disk of its spool hangs."""

import os
from pathlib import Path

import pytest

from tests.end_to_end.processes import Project
from tests.services.servers import free_ports


@pytest.fixture
def hanging(tmp_path: Path) -> Path:
    """A folder with a file of an earlier process whose opening never ends: a pipe that nobody writes to."""
    folder = tmp_path / "hookline-spool" / "00000000000000000001-1-00000000"
    folder.mkdir(parents=True, mode=0o700)
    folder.with_name(folder.name + ".lock").touch()
    os.mkfifo(folder / "00000001.segment")
    return tmp_path


def test_a_start_that_waits_for_the_disk_of_the_spool_can_be_stopped(hanging: Path) -> None:
    """It says what it waits for."""
    (port,) = free_ports(1)
    project = Project(hanging, f"amqp://guest:guest@127.0.0.1:{port}/")
    try:
        ingress = project.start("ingress", ready="for the disk of the spool")
        assert ingress.stop() == 0
        assert not ingress.count("listening on")
        assert not ingress.count("Traceback")
    finally:
        project.close()
