"""The store in SQLite: the default, for one machine."""

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from workers.store import Busy, Claim, Mine, Seen

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
        return await self._database.run(partial(_claim, queue, event_id, self._database.owner, for_s))

    async def isolate(self, queue: str, event_id: str) -> None:
        def step(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE claims SET alone = 1 WHERE queue = ? AND id = ?", (queue, event_id))

        await self._database.run(step)

    async def finish(self, queue: str, event_id: str) -> None:
        self._finished += 1
        purge = self._finished % _PURGE_EVERY == 0

        def step(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM claims WHERE queue = ? AND id = ?", (queue, event_id))
            connection.execute("INSERT OR REPLACE INTO handled VALUES (?, ?, now())", (queue, event_id))
            if purge:
                connection.execute(_PURGE, (self._ttl_s, _PURGE_AT_MOST))

        await self._database.run(step)

    async def release(self, queue: str, event_id: str) -> None:
        def step(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE claims SET owner = NULL, alone = 0 WHERE queue = ? AND id = ? AND owner = ?",
                (queue, event_id, self._database.owner),
            )
            connection.execute(
                "DELETE FROM claims WHERE queue = ? AND id = ? AND owner IS NULL AND crashes = 0", (queue, event_id)
            )

        await self._database.run(step)


def _claim(queue: str, event_id: str, owner: str, for_s: float, connection: sqlite3.Connection) -> Claim:
    if connection.execute("SELECT 1 FROM handled WHERE queue = ? AND id = ?", (queue, event_id)).fetchone():
        return Seen()
    row = connection.execute(_LOOK_UP, (queue, event_id)).fetchone()
    held, died, alone, crashes = row or (0, 0, 0, 0)
    if held:
        return Busy()
    crashes += died and alone
    values = (queue, event_id, owner, for_s, crashes)
    connection.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, now() + ?, 0, ?)", values)
    return Mine(suspect=bool(died), crashes=crashes)


def _create(connection: sqlite3.Connection) -> None:
    for statement in _CREATE:
        connection.execute(statement)


_CREATE = (
    """CREATE TABLE IF NOT EXISTS claims (
        queue TEXT NOT NULL, id TEXT NOT NULL, owner TEXT, until REAL NOT NULL, alone INTEGER NOT NULL,
        crashes INTEGER NOT NULL, PRIMARY KEY (queue, id)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS handled (
        queue TEXT NOT NULL, id TEXT NOT NULL, finished_at REAL NOT NULL, PRIMARY KEY (queue, id)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS handled_by_age ON handled (finished_at)",
)
# Is it held: its owner lives, and its time is not over? Has its owner died?
_LOOK_UP = """SELECT owner IN (SELECT owner FROM alive) AND until > now(),
    owner IS NOT NULL AND owner NOT IN (SELECT owner FROM alive), alone, crashes
    FROM claims WHERE queue = ? AND id = ?"""
_PURGE = """DELETE FROM handled WHERE (queue, id) IN (SELECT queue, id FROM handled WHERE finished_at < now() - ?
    ORDER BY finished_at LIMIT ?)"""
