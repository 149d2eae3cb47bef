"""What is said of files in a folder that this user may not look into, such as one of another role."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from hookline.audit.reader import RefusalReader
from hookline.doctor.findings import Finding
from hookline.doctor.machine import check_audit, check_disk, check_sqlite
from hookline.ingress.listening import check_certificate
from hookline.runtime.visiting import visiting_event_log, visiting_queues
from hookline.runtime.worker_files import find_workers
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.settings import Settings, load
from tests.locked_folders import as_another_user

NEEDED = "this user must be able to write to the file and to its folder"


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o000)
    return folder


def settings_in(folder: Path) -> Settings:
    """Settings whose files are all in the folder."""
    config = folder.parent / "hookline.toml"
    config.write_text(
        f'[broker]\nurl = "sqlite:{folder}/queue.db"\n[store]\nurl = "sqlite:{folder}/store.db"\n'
        f'[audit]\npath = "{folder}/refused.db"\n'
    )
    return load(config, with_sources=False)


async def test_commands_say_what_the_user_lacks(locked: Path) -> None:
    settings = settings_in(locked)
    with as_another_user():
        for visiting in (visiting_queues, visiting_event_log):
            with pytest.raises(Unreachable, match=NEEDED):
                async with visiting(settings):
                    pass
        with pytest.raises(Unreachable, match=NEEDED):
            RefusalReader(locked / "refused.db").list()


@pytest.mark.parametrize("beside", ["", "-wal", "-shm"])
def test_the_check_finds_a_file_of_another_user_after_a_restore(beside: str, tmp_path: Path) -> None:
    settings, path = settings_in(tmp_path / "restored"), tmp_path / "restored" / "queue.db"
    path.parent.mkdir(mode=0o777)
    path.parent.chmod(0o777)
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(parent.stat().st_mode | 0o055)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 0")
    path.chmod(0o666)
    Path(f"{path}{beside}").touch()
    Path(f"{path}{beside}").chmod(0o444)
    with as_another_user():
        (finding,) = check_sqlite(settings, "broker", settings.broker.urls[0])
    assert (finding.level, finding.part) == ("fault", "broker")
    assert NEEDED in finding.text


@pytest.mark.parametrize(
    ("check", "said"),
    [
        pytest.param(
            lambda it: check_sqlite(it, "broker", it.broker.urls[0]), ("fault", "broker", NEEDED), id="broker"
        ),
        pytest.param(check_disk, ("fault", "disk", "is not writable by this user"), id="disk"),
        pytest.param(check_audit, ("warning", "audit", "audit.path: "), id="audit"),
    ],
)
def test_the_check_finds_it(
    check: Callable[[Settings], list[Finding]], said: tuple[str, str, str], locked: Path
) -> None:
    settings, (level, part, text) = settings_in(locked), said
    with as_another_user():
        (found,) = check(settings)
    assert (found.level, found.part) == (level, part)
    assert text in found.text


def test_a_certificate_there_is_no_port_that_is_taken(locked: Path) -> None:
    with as_another_user(), pytest.raises(SettingsError, match=r"cert\.pem cannot be read: Permission denied"):
        check_certificate(str(locked / "cert.pem"), "")


def test_a_workers_file_there_is_not_called_missing(locked: Path) -> None:
    with as_another_user(), pytest.raises(SettingsError, match=r"billing\.py: this user may not read it"):
        find_workers([str(locked / "billing.py")])
    with as_another_user(), pytest.raises(SettingsError, match="is neither a Python file"):
        find_workers([str(locked / "billing")])


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=f"there is no folder {tmp_path / 'none'}"):
        RefusalReader(tmp_path / "none" / "refused.db").list()
