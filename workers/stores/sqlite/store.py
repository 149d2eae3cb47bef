"""The store in SQLite: the default, for one machine."""

import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial

from hookline.schemas.errors import Unreachable
from hookline.sqlite.database import Database
from hookline.workers.store import AlreadyFinished, Assignment, Claim
from hookline.workers.stores.claim_coalescer import CLAIM_LOST, ClaimCoalescer, ClaimRelease, ClaimRequest, Completion
from hookline.workers.stores.sqlite import shares
from hookline.workers.stores.sqlite.statements import StoreStatements, free_unknown
from hookline.workers.stores.sqlite.transaction import Writes

TTL_S = 7 * 24 * 3600.0


class SqliteStore:
    """Implements `TransactionalStore` and `UnsyncedStore`.

    Completion records are kept for `ttl_s`, which is longer than any provider re-sends. `ClaimCoalescer` says what
    happens while the file cannot be written, because it is locked for long or the disk is full.
    """

    def __init__(self, database: Database, ttl_s: float = TTL_S) -> None:
        self._database = database
        self._statements = _StatementsByQueue(database.owner, ttl_s)
        self._coalescer = ClaimCoalescer(self._claim, self._finish, self._release)
        self.claim, self.finish, self.release = self._coalescer.claim, self._coalescer.finish, self._coalescer.release
        self.claim_all, self.finish_all = self._coalescer.claim_all, self._coalescer.finish_all
        self.holds = self._coalescer.holds
        self.finish_unsynced = partial(self._coalescer.finish, synced=False)
        database.on_heartbeat(self._renew)

    async def sync(self) -> None:
        await self._database.run(partial(_write_something, owner=self._database.owner))

    async def mark_exclusive(self, queue: str, event_id: str) -> None:
        statements, number = self._statements[queue], self._coalescer.number(queue, event_id)
        if not await self._database.run(lambda connection: statements.mark_exclusive(connection, event_id, number)):
            raise Unreachable(CLAIM_LOST)

    async def start_anew(self, queue: str, event_id: str, copy: int) -> None:
        statements, number = self._statements[queue], self._coalescer.number(queue, event_id)
        if not await self._database.run(lambda each: statements.start_anew(each, event_id, number, copy)):
            raise Unreachable(CLAIM_LOST)

    async def note_attempt(self, queue: str, event_id: str, *, failures: int, tried: int) -> bool:
        statements, number = self._statements[queue], self._coalescer.number(queue, event_id)
        return await self._database.run(lambda each: statements.note_attempt(each, event_id, number, failures, tried))

    @asynccontextmanager
    async def transaction(
        self,
        queue: str,
        event_id: str,
        *,
        timeout_s: float,  # noqa: ARG002  the function holds no lock while it runs
        subject: str | None = None,
        occurred_s: float = 0.0,
    ) -> AsyncIterator[Writes]:
        """Collects the function's writes, and runs them in the transaction of its completion record."""
        writes = Writes()
        yield writes
        statements, completion = self._statements[queue], Completion(queue, event_id, subject, occurred_s)

        def step(connection: sqlite3.Connection) -> None:
            if not statements.complete(connection, [completion]):
                raise AlreadyFinished
            writes.run(connection)

        with self._coalescer.ending(queue, event_id):
            await self._database.run(step)

    async def forget(self, queue: str, event_ids: Sequence[str]) -> None:
        rows = [(queue, event_id) for event_id in event_ids]

        def step(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM handled WHERE queue = ? AND id = ?", rows)

        await self._database.run(step)

    async def assign(self, queue: str, partitions: Sequence[str], consuming: Collection[str]) -> Assignment:
        step = partial(shares.assign, queue, self._database.owner, partitions, consuming)
        return await self._database.run(step, durable=False)

    async def revoke(self, queue: str, partition: str) -> None:
        await self._database.run(partial(shares.revoke, queue, self._database.owner, partition), durable=False)

    async def decline(self, queue: str, partition: str) -> None:
        await self._database.run(partial(shares.decline, queue, self._database.owner, partition), durable=False)

    def _renew(self, connection: sqlite3.Connection, renewed_at: float) -> None:
        """Belongs to the writer thread."""
        free_unknown(connection, self._database.owner, self._coalescer.named(), renewed_at)
        (value,) = connection.execute("SELECT value FROM lease_clock").fetchone()
        self._coalescer.renewed(time.monotonic(), value - renewed_at)

    def _claim(self, requests: Sequence[ClaimRequest]) -> Awaitable[Sequence[Claim | Exception]]:
        return self._database.share_all(self._statements[requests[0].queue].claim, requests, durable=False)

    def _finish(self, completions: Sequence[Completion]) -> Awaitable[Sequence[Exception | None]]:
        finish, synced = self._statements[completions[0].queue].finish, completions[0].synced
        return self._database.share_all(finish, completions, durable=synced)

    def _release(self, release: ClaimRelease) -> Awaitable[None]:
        return self._database.share(self._statements[release.queue].release, release, durable=True)


def _write_something(connection: sqlite3.Connection, *, owner: str) -> None:
    """A transaction that writes nothing does not wait for the disk, nor does one that changes no byte."""
    connection.execute("INSERT INTO members VALUES ('', ?, 0)", (owner,))
    connection.execute("DELETE FROM members WHERE queue = '' AND owner = ?", (owner,))


class _StatementsByQueue(dict[str, StoreStatements]):
    """The statements of each queue, made when it is first named."""

    def __init__(self, owner: str, ttl_s: float) -> None:
        super().__init__()
        self._owner = owner
        self._ttl_s = ttl_s

    def __missing__(self, queue: str) -> StoreStatements:
        statements = self[queue] = StoreStatements(queue, self._owner, self._ttl_s)
        return statements
