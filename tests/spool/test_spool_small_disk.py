"""A spool on a real disk that is small, and one that becomes read-only. Both need the right to mount one."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookline.broker.spool import spool as spool_module
from tests.contract.installations import envelope
from tests.spool.primaries import Primary, drained, opened
from tests.spool.test_spooling_publisher import refused, until

BYTES = 256 * 1024


def mount(*options: str) -> bool:
    return subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0  # noqa: S603, S607


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", f"size={BYTES}", "hookline-test", str(folder)):
        pytest.skip("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)  # noqa: S603, S607


async def test_a_disk_that_is_full_loses_nothing_and_is_used_again(disk: Path) -> None:
    primary = Primary()
    primary.is_away = True
    async with opened(disk / "spool", primary) as (publisher, spool):
        kept = []
        while not await refused(publisher, event := envelope(body=b"x" * 8000)):
            kept.append(event.id)
        assert 10 < len(kept) < BYTES // 8000
        assert not publisher.ready
        assert spool.fault is not None
        assert "No space left" in spool.fault
        primary.is_away = False
        await drained(spool)
        assert primary.confirmed == kept
        primary.is_away = True
        await until(lambda: publisher.ready)
        assert not await refused(publisher, envelope())


async def test_a_disk_that_was_mounted_read_only_is_used_once_it_is_writable(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_LOAD_S", 0.5)
    primary = Primary()
    primary.is_away = True
    async with opened(disk / "spool", primary) as (publisher, _):
        await publisher.publish(before := envelope())
    assert mount("-o", "remount,ro", str(disk))
    async with opened(disk / "spool", primary) as (publisher, spool):
        assert await refused(publisher, envelope())
        assert "Read-only file system" in str(spool.fault)
        primary.is_away = False
        await publisher.publish(envelope())  # the broker needs no disk
        assert mount("-o", "remount,rw", str(disk))
        await until(lambda: before.id in primary.confirmed)
