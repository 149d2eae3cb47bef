"""The store in SQLite: the default, for one machine."""

import sqlite3
from collections.abc import Callable
from typing import Protocol, TypeVar

from workers.store import Claim

T = TypeVar("T")

TTL_S = 7 * 24 * 3600.0
_PURGE_EVERY = 1000
_PURGE_AT_MOST = 2000


class Database(Protocol):
    """What the store needs of an open SQLite file.

    Steps run in transactions that are on disk when `run` returns; SQL there has `now()` (Unix seconds) and the view
    `alive` of the owners whose processes live.
    """

    @property
    def owner(self) -> str: ...

    async def run(self, step: Callable[[sqlite3.Connection], T]) -> T: ...


class SqliteStore:
    """Implements `Store`. What was finished is remembered for `ttl_s`, longer than any provider sends again."""

    def __init__(self, database: Database, ttl_s: float) -> None:
        self._database = database
        self._ttl_s = ttl_s
        self._finished = 0

    @classmethod
    async def open(cls, database: Database, ttl_s: float = TTL_S) -> "SqliteStore":
        await database.run(_create)
        return cls(database, ttl_s)

    async def claim(self, queue: str, event_id: str, for_s: float) -> Claim:
        def step(connection: sqlite3.Connection) -> Claim:
            row = connection.execute(_LOOK_UP, (queue, event_id)).fetchone()
            if row is None or row == (None, 0):
                values = (queue, event_id, self._database.owner, for_s)
                connection.execute("INSERT OR REPLACE INTO handled VALUES (?, ?, ?, now() + ?, NULL)", values)
                return Claim.MINE
            return Claim.BUSY if row[0] is None else Claim.SEEN

        return await self._database.run(step)

    async def finish(self, queue: str, event_id: str) -> None:
        self._finished += 1
        purge = self._finished % _PURGE_EVERY == 0

        def step(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO handled VALUES (?, ?, NULL, NULL, now())", (queue, event_id))
            if purge:
                connection.execute(_PURGE, (self._ttl_s, _PURGE_AT_MOST))

        await self._database.run(step)

    async def release(self, queue: str, event_id: str) -> None:
        def step(connection: sqlite3.Connection) -> None:
            values = (queue, event_id, self._database.owner)
            connection.execute("DELETE FROM handled WHERE queue = ? AND id = ? AND owner = ?", values)

        await self._database.run(step)


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS handled (queue TEXT NOT NULL, id TEXT NOT NULL, owner TEXT, claimed_until REAL,"
        " finished_at REAL, PRIMARY KEY (queue, id)) WITHOUT ROWID"
    )
    connection.execute(
        "CREATE INDEX IF NOT EXISTS handled_by_age ON handled (finished_at) WHERE finished_at IS NOT NULL"
    )


_LOOK_UP = """SELECT finished_at, coalesce(claimed_until > now() AND owner IN (SELECT owner FROM alive), 0)
    FROM handled WHERE queue = ? AND id = ?"""
_PURGE = """DELETE FROM handled WHERE (queue, id) IN (SELECT queue, id FROM handled WHERE finished_at < now() - ?
    ORDER BY finished_at LIMIT ?)"""
