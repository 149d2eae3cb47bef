"""After a power cut, the log of the embedded queue is left as far as it was synced. It has each answered event."""

import asyncio
import errno
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from hookline.aio.disk import sync
from hookline.broker.embedded.broker import EmbeddedBroker
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable
from hookline.sqlite.database import Database
from tests.contract.installations import envelope


class PowerCut:
    """Keeps what of the log is on disk: what was in it when the last sync that has ended began.

    A sync may fail once. The system takes for written what it should have synced, so that no later sync does.
    """

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = path
        self._at_start = path.with_name("start.db")
        self._on_disk = b""
        self._lost = range(0)
        self._is_to_fail = False
        self._pwrite = os.pwrite
        monkeypatch.setattr(os, "pwrite", self._write)
        monkeypatch.setattr("hookline.sqlite.log.sync", self._sync)

    def _sync(self, descriptor: int) -> None:
        log = bytearray(Path(f"{self._path}-wal").read_bytes())
        if self._is_to_fail:
            self._is_to_fail = False
            self._lost = range(len(self._on_disk), len(log))
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)
        log[self._lost.start : self._lost.stop] = bytes(len(self._lost))
        self._on_disk = bytes(log)

    def _write(self, descriptor: int, data: bytes, offset: int) -> int:
        written = self._pwrite(descriptor, data, offset)
        if offset <= self._lost.start and self._lost.stop <= offset + written:
            self._lost = range(0)
        return written

    def begin(self) -> None:
        """Keep the file itself, which nothing is written to before the log is large."""
        shutil.copy(self._path, self._at_start)

    def fail_a_sync(self) -> None:
        """Have the next sync fail."""
        self._is_to_fail = True

    @property
    def has_been_copied(self) -> bool:
        """Whether anything of the log was copied into the file."""
        return self._path.read_bytes() != self._at_start.read_bytes()

    def left(self, folder: Path) -> set[bytes]:
        """The bodies of the events that are found after a power cut now."""
        on_disk = self._on_disk
        folder.mkdir()
        file = folder / "left.db"
        shutil.copy(self._at_start, file)
        Path(f"{file}-wal").write_bytes(on_disk)
        connection = sqlite3.connect(file)
        try:
            return {body for (body,) in connection.execute("SELECT body FROM envelopes")}
        finally:
            connection.close()


@pytest.fixture
def cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PowerCut:
    return PowerCut(tmp_path / "queues.db", monkeypatch)


@pytest.fixture
async def broker(tmp_path: Path, cut: PowerCut) -> AsyncIterator[EmbeddedBroker]:
    """One with a queue, on a file of which the cut keeps this state."""
    database = await Database.open(tmp_path / "queues.db")
    broker = EmbeddedBroker(database)
    await broker.subscribe("q", ("#",), 1)
    cut.begin()
    yield broker
    await broker.close()
    await database.close()


@pytest.mark.parametrize("senders", [1, 8, 100], ids=["one at a time", "small groups", "large groups"])
async def test_a_power_cut_leaves_every_event_that_was_answered(
    tmp_path: Path, cut: PowerCut, broker: EmbeddedBroker, senders: int
) -> None:
    events = [envelope(body=b"%d" % number) for number in range(40 if senders == 1 else 400)]
    answered: set[bytes] = set()

    async def publish(events: Sequence[Envelope]) -> None:
        """Publish events, each when the one before is answered. After each seventh answer the power is cut."""
        for event in events:
            await broker.publisher.publish(event)
            answered.add(event.body)
            if len(answered) % 7 == 0:
                assert answered <= cut.left(tmp_path / str(len(answered)))

    await asyncio.gather(*(publish(events[first::senders]) for first in range(senders)))
    assert cut.left(tmp_path / "end") == {event.body for event in events} == answered


async def test_a_power_cut_after_a_failed_sync_leaves_every_event_that_was_answered(
    tmp_path: Path, cut: PowerCut, broker: EmbeddedBroker
) -> None:
    answered: set[bytes] = set()
    for number in range(20):
        event = envelope(body=b"%d" % number)
        if number % 5 == 3:
            cut.fail_a_sync()
            with pytest.raises(NotDurable):
                await broker.publisher.publish(event)
        else:
            await broker.publisher.publish(event)
            answered.add(event.body)
        assert answered <= cut.left(tmp_path / str(number))
        assert not cut.has_been_copied
