"""The store in PostgreSQL: for workers on several machines, and for workers that write to the same database."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Protocol

from hookline.schemas.errors import Unreachable
from hookline.workers.store import AlreadyFinished, Assignment, Claim
from hookline.workers.stores.claim_coalescer import CLAIM_LOST, ClaimCoalescer, ClaimRelease, ClaimRequest, Completion
from hookline.workers.stores.heartbeat import Heartbeat
from hookline.workers.stores.postgresql import partitions as postgresql_partitions
from hookline.workers.stores.postgresql import schema, statements
from hookline.workers.stores.postgresql.hindrances import Hindrances, waiting_for_locks
from hookline.workers.stores.postgresql.lease import Owner
from hookline.workers.stores.postgresql.pool import Connection, ConnectionPool, connection_settings
from hookline.workers.stores.postgresql.transaction import begun, faults_of_others

TTL_S = 7 * 24 * 3600.0
TIMEOUT_S = 5.0
CONNECTIONS = 20
_OWN_CONNECTIONS = 4
_WAIT_S = 30.0  # for a connection that another function uses
_PURGE_EVERY = 1000


class ClaimChange(Protocol):
    """A statement about a claim of this process. Whether the process has the claim still."""

    async def __call__(self, connection: Connection, *, owner: str, key: tuple[str, str], number: int) -> bool: ...


class PostgresqlStore:
    """Implements `TransactionalStore`.

    The transactions of functions use up to `connections` connections; the store uses four more. Completion records
    are kept for `ttl_s`. Every wait for the server ends after `timeout_s`.
    """

    def __init__(self, url: str, ttl_s: float, timeout_s: float, connections: int) -> None:
        settings = connection_settings(url, timeout_s)
        self._own = ConnectionPool(settings, _OWN_CONNECTIONS, timeout_s)
        self._for_functions = ConnectionPool(settings, connections, timeout_s, _WAIT_S)
        self._coalescer = ClaimCoalescer.batching(self._claim, self._finish, self._release, timeout_s)
        self.claim, self.finish, self.release = self._coalescer.claim, self._coalescer.finish, self._coalescer.release
        self.claim_all, self.finish_all = self._coalescer.claim_all, self._coalescer.finish_all
        self.holds = self._coalescer.holds
        self._hindrances = Hindrances(self._waiting_for_locks)
        self._owner = Owner(settings, self._coalescer.named)
        self._heartbeat = Heartbeat(self._beat, self._owner.end)
        self._ttl_s = ttl_s
        self._finished_since_purge = 0

    @classmethod
    async def open(
        cls, url: str, ttl_s: float = TTL_S, timeout_s: float = TIMEOUT_S, connections: int = CONNECTIONS
    ) -> "PostgresqlStore":
        """Bring the tables forward. Raises Unreachable, or SettingsError for a wrong URL and for refused tables."""
        store = cls(url, ttl_s, timeout_s, connections)
        try:
            await store._own.open()
            await store._for_functions.open()
            await store._own.run(schema.bring_forward)
            await store._heartbeat.start()
        except BaseException:
            await store.close()
            raise
        return store

    @property
    def faults(self) -> list[str]:
        """What is wrong with the store for this process: each a sentence for an operator."""
        return self._heartbeat.faults

    async def close(self) -> None:
        self._hindrances.close()
        try:
            await self._coalescer.close()
            await self._heartbeat.stop()
        finally:
            await asyncio.gather(self._own.close(), self._for_functions.close())

    async def mark_exclusive(self, queue: str, event_id: str) -> None:
        if not await self._change(statements.mark_exclusive, queue, event_id):
            raise Unreachable(CLAIM_LOST)

    async def start_anew(self, queue: str, event_id: str, copy: int) -> None:
        if not await self._change(partial(statements.start_anew, copy=copy), queue, event_id):
            raise Unreachable(CLAIM_LOST)

    async def note_attempt(self, queue: str, event_id: str, *, failures: int, tried: int) -> bool:
        noting = partial(statements.note_attempt, failures=failures, tried=tried)
        return await self._change(noting, queue, event_id)

    @asynccontextmanager
    async def transaction(
        self, queue: str, event_id: str, *, timeout_s: float, subject: str | None = None, occurred_s: float = 0.0
    ) -> AsyncIterator[Connection]:
        """A psycopg connection in a transaction that ends with the function, and cannot be committed before.

        A lock that another transaction has for half the function's time-out raises Unreachable. So does the time-out
        itself, where locks of others or a server that did not answer took a part of that time. The server ends the
        transaction of a process that was frozen, some seconds after the function's time-out.
        """
        completion = Completion(queue, event_id, subject, occurred_s)
        with self._coalescer.ending(queue, event_id):
            async with self._for_functions.connection() as connection:
                with faults_of_others(connection):
                    async with self._for_functions.in_time() as limit, begun(connection, timeout_s):
                        limit.reschedule(None)  # the function has a time-out of its own
                        pid = connection.info.backend_pid
                        try:
                            async with self._hindrances.told_apart(timeout_s, pid):
                                yield connection
                        finally:
                            limit.reschedule(self._for_functions.deadline_s())
                        if not await statements.finish(connection, [completion]):
                            raise AlreadyFinished
        await self._purge_after(1)

    async def forget(self, queue: str, event_ids: Sequence[str]) -> None:
        await self._own.run(partial(statements.forget, queue=queue, event_ids=event_ids))

    async def assign(self, queue: str, partitions: Sequence[str], consuming: Collection[str]) -> Assignment:
        owner = self._owner.name
        return await self._own.run(lambda each: postgresql_partitions.assign(each, owner, queue, partitions, consuming))

    async def revoke(self, queue: str, partition: str) -> None:
        await self._own.run(lambda each: postgresql_partitions.revoke(each, self._owner.name, queue, partition))

    async def decline(self, queue: str, partition: str) -> None:
        await self._own.run(lambda each: postgresql_partitions.decline(each, self._owner.name, queue, partition))

    async def _waiting_for_locks(self, pids: Sequence[int]) -> Collection[int]:
        return await self._own.run(partial(waiting_for_locks, pids=pids))

    def _beat(self) -> None:
        began_s, renewed_at = time.monotonic(), self._owner.renewed_at
        self._owner.beat()
        self._coalescer.renewed(began_s, self._owner.renewed_at - renewed_at)

    async def _claim(self, requests: list[ClaimRequest]) -> list[Claim]:
        return await self._own.run(partial(statements.claim, owner=self._owner.name, requests=requests))

    async def _finish(self, completions: list[Completion]) -> list[None]:
        await self._own.run(partial(statements.finish, completions=completions))
        await self._purge_after(len(completions))
        return [None] * len(completions)

    async def _release(self, release: ClaimRelease) -> None:
        await self._own.run(partial(statements.release, owner=self._owner.name, release=release))

    async def _change(self, statement: ClaimChange, queue: str, event_id: str) -> bool:
        """Change what is noted of a claimed event. Whether this process has the claim still."""
        number = self._coalescer.number(queue, event_id)
        changing = partial(statement, owner=self._owner.name, key=(queue, event_id), number=number)
        return await self._own.run(changing)

    async def _purge_after(self, finished: int) -> None:
        """Delete old rows after every thousand completions. If that fails, it is retried after the next thousand."""
        self._finished_since_purge += finished
        if self._finished_since_purge >= _PURGE_EVERY:
            self._finished_since_purge = 0
            with suppress(Unreachable):
                await self._own.run(partial(statements.purge, ttl_s=self._ttl_s))
