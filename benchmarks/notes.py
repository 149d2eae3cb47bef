"""A consuming process records its events here, so that the suite can follow it and check them at the end.

Recording costs some CPU time: the same for Hookline's workers and for the references.
"""

import asyncio
import os
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

FOLDER_VARIABLE = "HOOKLINE_BENCHMARK_NOTES"
_EVERY_S = 0.02
_COUNT = struct.Struct("<q")


@dataclass(slots=True)
class Notes:
    """The events of one process: their ids where it knows them, and the Unix time of each call."""

    ids: list[str]
    times_s: list[float]

    def note(self, event_id: str) -> None:
        self.ids.append(event_id)
        self.times_s.append(time.time())


NOTES = Notes([], [])
"""The notes of this process. A function that takes only the event finds them here."""


@asynccontextmanager
async def kept() -> AsyncIterator[None]:
    """Write the number of notes to a file while the process runs, and all notes when it ends."""
    notes = NOTES
    stem = Path(os.environ[FOLDER_VARIABLE]) / str(os.getpid())
    progress = asyncio.create_task(_write_count(notes, stem.with_suffix(".count")))
    try:
        yield
    finally:
        progress.cancel()
        with suppress(asyncio.CancelledError):
            await progress
        stem.with_suffix(".json").write_bytes(msgspec.json.encode((notes.ids, notes.times_s)))


async def _write_count(notes: Notes, path: Path) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.pwrite(file, _COUNT.pack(len(notes.times_s)), 0)
            await asyncio.sleep(_EVERY_S)
    finally:
        os.close(file)


def counts(folder: Path) -> list[int]:
    """How many events each process of this folder has recorded so far."""
    contents = [path.read_bytes() for path in folder.glob("*.count")]
    return [_COUNT.unpack(content)[0] for content in contents if content]


def noted(folder: Path) -> Notes:
    """All notes of the processes of this folder, once they have ended."""
    together = Notes([], [])
    for path in folder.glob("*.json"):
        ids, times_s = msgspec.json.decode(path.read_bytes(), type=tuple[list[str], list[float]])
        together.ids += ids
        together.times_s += times_s
    return together
