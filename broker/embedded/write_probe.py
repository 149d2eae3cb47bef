"""Whether the embedded queue can be written: refusals are counted, and while they last a probe tries again."""

import asyncio
import sqlite3
from functools import partial

from hookline.aio.lasting_task import start_lasting
from hookline.aio.refusal_tally import RefusalTally
from hookline.broker.embedded import tables
from hookline.schemas.errors import NotDurable, Unreachable
from hookline.sqlite.database import Database

_PROBE_EVERY_S = 1.0


class WriteProbe:
    """Writes and syncs a page once a second while writes fail, and leaves no event behind."""

    def __init__(self, database: Database, max_bytes: int) -> None:
        self._database = database
        self._step = partial(_write, max_bytes=max_bytes)
        self._tally = RefusalTally()
        self._task: asyncio.Task[None] | None = None

    @property
    def lasting(self) -> str:
        """The code of the reason why nothing can be written; empty if there is none."""
        return self._tally.lasting

    def succeeded(self, count: int) -> None:
        for _ in range(min(count, self._tally.count)):
            self._tally.accepted()

    def failed(self, error: Exception) -> None:
        self._tally.refused(_reason(error))
        if self._tally.lasting and (self._task is None or self._task.done()):
            self._task = start_lasting(self._probe(), "the look whether events can be written again")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _probe(self) -> None:
        while self._tally.count:
            await asyncio.sleep(_PROBE_EVERY_S)
            try:
                await self._database.run(self._step)
            except (NotDurable, Unreachable) as error:
                self._tally.refused(_reason(error))
            else:
                self._tally.clear()


def _write(connection: sqlite3.Connection, *, max_bytes: int) -> None:
    tables.check_room(connection, tables.state(connection), max_bytes)
    connection.execute("UPDATE lease_clock SET value = value")  # a changed page, whatever is in it


def _reason(error: Exception) -> str:
    match error:
        case NotDurable():
            return "queue_full"
        case TimeoutError():
            return "disk_slow"
        case _:
            return "disk_full" if "is full" in str(error) else "disk_failed"
