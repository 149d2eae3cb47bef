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
_PURGE_EVERY = 1000
_PURGE_AT_MOST = 2000


class SqliteStore:
    """Implements `TransactionalStore`.

    Completion records are kept for `ttl_s`, which is longer than any provider re-sends. `ClaimCoalescer` says what
    happens while the file cannot be written, because it is locked for long or the disk is full.
    """

    def __init__(self, database: Database, ttl_s: float = TTL_S) -> None:
        self._database = database
        self._ttl_s = ttl_s
        self._finished = 0
        self._statements: dict[str, StoreStatements] = {}
        self._coalescer = ClaimCoalescer(self._claim, self._finish, self._release)

    async def claim(self, queue: str, event_id: str, for_s: float, subject: str | None = None) -> Claim:
        return await self._coalescer.claim(queue, event_id, for_s, subject)

    async def mark_exclusive(self, queue: str, event_id: str) -> None:
        def step(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE claims SET alone = 1 WHERE queue = ? AND id = ?", (queue, event_id))

        await self._database.run(step)

    async def finish(self, queue: str, event_id: str, *, subject: str | None = None, occurred_s: float = 0.0) -> None:
        await self._coalescer.finish(Completion(queue, event_id, subject, occurred_s))
        if self._purge_is_due():
            await self._database.run(partial(_purge, ttl_s=self._ttl_s))

    @asynccontextmanager
    async def transaction(
        self, queue: str, event_id: str, *, subject: str | None = None, occurred_s: float = 0.0
    ) -> AsyncIterator[Writes]:
        """Collects the function's writes, and runs them in the transaction of its completion record."""
        writes = Writes()
        yield writes
        statements, completion = self._statements_of(queue), Completion(queue, event_id, subject, occurred_s)

        def step(connection: sqlite3.Connection) -> None:
            if not statements.complete(connection, [completion]):
                raise AlreadyFinished
            writes.run(connection)

        await self._database.run(step)
        if self._purge_is_due():
            await self._database.run(partial(_purge, ttl_s=self._ttl_s))

    async def release(self, queue: str, event_id: str, *, failed: bool = False, parked: bool = False) -> None:
        await self._coalescer.release(ClaimRelease(queue, event_id, failed=failed, parked=parked))

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
        return self._database.share(self._statements_of(request.queue).claim, request, durable=False)

    def _finish(self, completion: Completion) -> Awaitable[None]:
        return self._database.share(self._statements_of(completion.queue).finish, completion, durable=True)

    def _release(self, release: ClaimRelease) -> Awaitable[None]:
        return self._database.share(self._statements_of(release.queue).release, release, durable=True)

    def _statements_of(self, queue: str) -> StoreStatements:
        statements = self._statements.get(queue)
        if statements is None:
            statements = self._statements[queue] = StoreStatements(queue, self._database.owner)
        return statements

    def _purge_is_due(self) -> bool:
        self._finished += 1
        return self._finished % _PURGE_EVERY == 0


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


def _purge(connection: sqlite3.Connection, *, ttl_s: float) -> None:
    for statement in _PURGE:
        connection.execute(statement, (ttl_s, _PURGE_AT_MOST))


_PURGE = (
    """DELETE FROM handled WHERE (queue, id) IN (SELECT queue, id FROM handled WHERE finished_at < now() - ?
        ORDER BY finished_at LIMIT ?)""",
    """DELETE FROM newest WHERE (queue, subject) IN (SELECT queue, subject FROM newest WHERE noted_at < now() - ?
        ORDER BY noted_at LIMIT ?)""",
    # Claims that failed or died and were never repeated. The table is small: these, and those in flight.
    """DELETE FROM claims WHERE (queue, id) IN (SELECT queue, id FROM claims WHERE until < now() - ? LIMIT ?)""",
)
