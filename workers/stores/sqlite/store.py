"""The store in SQLite: the default, for one machine."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from hookline.sqlite.database import Database
from hookline.workers.store import AlreadyFinished, Assignment, Claim
from hookline.workers.stores.assignment import fair_assignment
from hookline.workers.stores.claim_coalescer import ClaimCoalescer, ClaimRelease, ClaimRequest, Completion
from hookline.workers.stores.sqlite.statements import StoreStatements
from hookline.workers.stores.sqlite.transaction import Writes

TTL_S = 7 * 24 * 3600.0


class SqliteStore:
    """Implements `TransactionalStore`.

    Completion records are kept for `ttl_s`, which is longer than any provider re-sends. `ClaimCoalescer` says what
    happens while the file cannot be written, because it is locked for long or the disk is full.
    """

    def __init__(self, database: Database, ttl_s: float = TTL_S) -> None:
        self._database = database
        self._statements = _StatementsByQueue(database.owner, ttl_s)
        self._coalescer = ClaimCoalescer(self._claim, self._finish, self._release)
        self.claim, self.finish, self.release = self._coalescer.claim, self._coalescer.finish, self._coalescer.release

    async def mark_exclusive(self, queue: str, event_id: str) -> None:
        def step(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE claims SET alone = 1 WHERE queue = ? AND id = ?", (queue, event_id))

        await self._database.run(step)

    @asynccontextmanager
    async def transaction(
        self, queue: str, event_id: str, *, subject: str | None = None, occurred_s: float = 0.0
    ) -> AsyncIterator[Writes]:
        """Collects the function's writes, and runs them in the transaction of its completion record."""
        writes = Writes()
        yield writes
        statements, completion = self._statements[queue], Completion(queue, event_id, subject, occurred_s)

        def step(connection: sqlite3.Connection) -> None:
            if not statements.complete(connection, [completion]):
                raise AlreadyFinished
            writes.run(connection)

        await self._database.run(step)

    async def forget(self, queue: str, event_ids: Sequence[str]) -> None:
        rows = [(queue, event_id) for event_id in event_ids]

        def step(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM handled WHERE queue = ? AND id = ?", rows)

        await self._database.run(step)

    async def assign(self, queue: str, partitions: Sequence[str]) -> Assignment:
        return await self._database.run(partial(_assign, queue, partitions, self._database.owner))

    async def revoke(self, queue: str, partition: str) -> None:
        def step(connection: sqlite3.Connection) -> None:
            key = (queue, partition, self._database.owner)
            connection.execute("DELETE FROM shares WHERE queue = ? AND share = ? AND owner = ?", key)

        await self._database.run(step)

    def _claim(self, request: ClaimRequest) -> Awaitable[Claim]:
        return self._database.share(self._statements[request.queue].claim, request, durable=False)

    def _finish(self, completion: Completion) -> Awaitable[None]:
        return self._database.share(self._statements[completion.queue].finish, completion, durable=True)

    def _release(self, release: ClaimRelease) -> Awaitable[None]:
        return self._database.share(self._statements[release.queue].release, release, durable=True)


class _StatementsByQueue(dict[str, StoreStatements]):
    """The statements of each queue, made when it is first named."""

    def __init__(self, owner: str, ttl_s: float) -> None:
        super().__init__()
        self._owner = owner
        self._ttl_s = ttl_s

    def __missing__(self, queue: str) -> StoreStatements:
        statements = self[queue] = StoreStatements(queue, self._owner, self._ttl_s)
        return statements


def _assign(queue: str, partitions: Sequence[str], owner: str, connection: sqlite3.Connection) -> Assignment:
    connection.execute("INSERT OR IGNORE INTO members VALUES (?, ?)", (queue, owner))
    connection.execute("DELETE FROM members WHERE queue = ? AND owner NOT IN (SELECT owner FROM alive)", (queue,))
    members = {member for (member,) in connection.execute("SELECT owner FROM members WHERE queue = ?", (queue,))}
    holders = dict(connection.execute("SELECT share, owner FROM shares WHERE queue = ?", (queue,)))
    assignment = fair_assignment(partitions, holders, members | {owner}, owner)
    taken = [
        (queue, partition, owner) for partition in sorted(assignment.partitions) if holders.get(partition) != owner
    ]
    connection.executemany("INSERT OR REPLACE INTO shares VALUES (?, ?, ?)", taken)
    return assignment
