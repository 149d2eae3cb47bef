"""A publisher that does what the test says, and a spool on a real disk behind it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hookline.aio.completion import Completion
from hookline.broker.spool.files import File, Files, RealFiles
from hookline.broker.spool.journal import Journal
from hookline.broker.spool.lanes import ThreadLane
from hookline.broker.spool.publisher import SpoolingPublisher
from hookline.broker.spool.spool import Spool, SpoolLimits
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable, Obstacle

WITHIN_S = 60.0


class Primary:
    """Confirms at once; or is away, silent, or refuses what `refused` holds."""

    def __init__(self) -> None:
        self.is_away = False
        self.is_silent = False
        self.refused: set[str] = set()
        self.impossible: set[str] = set()
        self.too_large: set[str] = set()
        self.broken: set[str] = set()
        self.begun: list[str] = []
        self.confirmed: list[str] = []
        self.pending: list[tuple[str, Completion]] = []

    @property
    def reason(self) -> str:
        return "broker_away" if self.is_away else ""

    def begin(self, envelope: Envelope) -> Completion:
        if self.is_away:
            raise NotDurable("away")
        if envelope.id in self.impossible:
            raise NotDurable("its headers are too large", Obstacle.IMPOSSIBLE)
        if envelope.id in self.broken:
            self.broken.discard(envelope.id)
            raise TypeError("s3cret")
        if envelope.id in self.too_large:
            raise NotDurable("it takes no event of this size", Obstacle.REFUSED)
        self.begun.append(envelope.id)
        event = Completion()
        if self.is_silent:
            self.pending.append((envelope.id, event))
        elif envelope.id in self.refused:
            event.end(NotDurable("a queue is full", Obstacle.REFUSED))
        else:
            self.confirmed.append(envelope.id)
            event.end(None)
        return event

    def speak(self) -> None:
        """Confirm what was begun in silence, and everything from now on."""
        self.is_silent = False
        for event_id, event in self.pending:
            self.confirmed.append(event_id)
            event.end(None)
        self.pending.clear()


class FaultyFiles(RealFiles):
    """A disk that fails or hangs when the test says so."""

    def __init__(self) -> None:
        self.error: OSError | None = None
        self.hangs = False
        self.read_error: OSError | None = None

    def create(self, path: Path) -> File:
        return _FaultyFile(self, super().create(path))

    def open(self, path: Path):  # type: ignore[no-untyped-def]  # noqa: ANN201  as that of RealFiles
        if self.read_error is not None:
            raise self.read_error
        return super().open(path)


class _FaultyFile:
    def __init__(self, disk: FaultyFiles, file: File) -> None:
        self._disk = disk
        self._file = file

    def write(self, data: bytes) -> None:
        self._fail()
        self._file.write(data)

    def sync(self) -> None:
        self._fail()
        self._file.sync()

    def close(self) -> None:
        self._file.close()

    def _fail(self) -> None:
        while self._disk.hangs:
            time.sleep(0.01)
        if self._disk.error is not None:
            raise self._disk.error


@asynccontextmanager
async def opened(
    folder: Path,
    primary: Primary,
    *,
    after_s: float = 1.0,
    files: Files | None = None,
    limits: SpoolLimits | None = None,
) -> AsyncIterator[tuple[SpoolingPublisher, Spool]]:
    """A publisher with its spool, as in a process."""
    journal = Journal(folder, files or RealFiles())
    spool = Spool(journal, limits or SpoolLimits(), ThreadLane("writer"), ThreadLane("reader"))
    publisher = SpoolingPublisher(primary, spool, after_s=after_s, max_draining=100)
    await publisher.open()
    try:
        yield publisher, spool
    finally:
        await publisher.close()


async def drained(spool: Spool) -> None:
    """Wait until nothing is left in a spool, and its files are deleted."""
    async with asyncio.timeout(WITHIN_S):
        while spool.events or spool.status.bytes:  # noqa: ASYNC110  its disk is another thread's
            await asyncio.sleep(0.02)
