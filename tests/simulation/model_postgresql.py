"""A PostgreSQL server for functions' transactions: rows with locks, sessions that end, commits whose answer is lost.

`PostgresqlStore.transaction` itself runs on it, with the limits that it sets and its judgement of errors.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import psycopg

from hookline.schemas.errors import Unreachable
from hookline.workers.stores.claim_coalescer import Completion
from hookline.workers.stores.postgresql import statements
from hookline.workers.stores.postgresql.hindrances import Hindrances
from hookline.workers.stores.postgresql.pool import ConnectionPool
from hookline.workers.stores.postgresql.store import PostgresqlStore
from tests.simulation.model_store import ModelStore
from tests.simulation.network import Host, NetworkPath
from tests.simulation.store_server import Key, ModelServer

T = TypeVar("T")
LOCK = "lock a room"
WRITE = "write an effect"
_LIMITS = re.compile(rb"SET LOCAL lock_timeout = (\d+); SET LOCAL idle_in_transaction_session_timeout = (\d+)")


class Sessions:
    """The sessions of the server, and the locks that their transactions have."""

    def __init__(self, server: ModelServer, host: Host) -> None:
        self.server = server
        self.host = host
        self.holders: dict[str, Session] = {}
        self.waiting: dict[str, list[tuple[Session, asyncio.Future[None]]]] = {}
        self._open: set[Session] = set()

    def begin(self, owner: str) -> "Session":
        session = Session(self, owner)
        self._open.add(session)
        return session

    def end_of(self, owner: str | None = None) -> None:
        """The sessions of a process that died end, or all when the server stops."""
        for session in sorted(self._open, key=lambda each: each.number):
            if owner in {None, session.owner}:
                session.end(None)

    def waiting_among(self, numbers: Collection[int]) -> set[int]:
        """Which of the sessions with these numbers wait for locks."""
        waiting = (entry for entries in self.waiting.values() for entry in entries)
        return {session.number for session, granted in waiting if session.number in numbers and not granted.done()}

    def ended(self, session: "Session") -> None:
        """Give its locks to those that wait longest."""
        self._open.discard(session)
        for name in [name for name, holder in self.holders.items() if holder is session]:
            del self.holders[name]
            self._hand_on(name)

    def _hand_on(self, name: str) -> None:
        while waiting := self.waiting.get(name):
            session, granted = waiting.pop(0)
            if not granted.done() and session.error is None:
                self.holders[name] = session
                granted.set_result(None)
                return


_session_numbers = count()


class Session:
    """One transaction on the server."""

    def __init__(self, sessions: Sessions, owner: str) -> None:
        self.number = next(_session_numbers)
        self.owner = owner
        self.error: psycopg.Error | None = None
        self._sessions = sessions
        self._lock_timeout_s = self._idle_timeout_s = 0.0
        self._completions: list[Completion] = []
        self._written: list[Key] = []
        self._idle: asyncio.TimerHandle | None = None
        self._is_over = False

    def limit(self, lock_timeout_s: float, idle_timeout_s: float) -> None:
        self._used()
        self._lock_timeout_s, self._idle_timeout_s = lock_timeout_s, idle_timeout_s
        self._rest()

    def lock(self, name: str) -> "asyncio.Future[None]":
        """A future that ends when the lock is granted, or with LockNotAvailable."""
        self._used()
        loop = asyncio.get_running_loop()
        granted: asyncio.Future[None] = loop.create_future()
        granted.add_done_callback(_retrieved)
        holder = self._sessions.holders.setdefault(name, self)
        if holder is self:
            granted.set_result(None)
        else:
            self._sessions.waiting.setdefault(name, []).append((self, granted))
            if self._lock_timeout_s:
                loop.call_later(self._lock_timeout_s, _refuse, granted, context=self._sessions.host.context)
        granted.add_done_callback(lambda _: self._rest(), context=self._sessions.host.context)
        return granted

    def write(self, key: Key) -> None:
        self._used()
        self._written.append(key)
        self._rest()

    def complete(self, completion: Completion) -> int:
        """1, or 0 if the event is finished already. The caller has the lock on the event."""
        self._used()
        self._rest()
        if completion.key in self._sessions.server.contents.handled:
            return 0
        self._completions.append(completion)
        return 1

    def commit(self) -> None:
        self._used()
        self._sessions.server.finish(self._completions)
        self._sessions.server.contents.written += self._written
        self.end(None)

    def end(self, error: psycopg.Error | None) -> None:
        """Roll back what is not committed."""
        if self._is_over:
            return
        self._is_over = True
        self.error = error or psycopg.OperationalError("the server closed the connection")
        if self._idle is not None:
            self._idle.cancel()
        self._sessions.ended(self)

    def _used(self) -> None:
        if self.error is not None:
            raise self.error
        if self._idle is not None:
            self._idle.cancel()

    def _rest(self) -> None:
        """The server ends a session that stays idle in its transaction."""
        if self._idle_timeout_s and not self._is_over:
            if self._idle is not None:
                self._idle.cancel()
            error = psycopg.errors.IdleInTransactionSessionTimeout("idle in transaction")
            loop, context = asyncio.get_running_loop(), self._sessions.host.context
            self._idle = loop.call_later(self._idle_timeout_s, self.end, error, context=context)


@dataclass(slots=True)
class Cursor:
    rowcount: int = 0


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    backend_pid: int


class ModelConnection:
    """What the store and functions use of a psycopg connection."""

    def __init__(self, sessions: Sessions, path: NetworkPath, owner: str) -> None:
        self.closed = False
        self.broken = False
        self._sessions = sessions
        self._path = path
        self._owner = owner
        self._session: Session | None = None

    async def execute(self, statement: str | bytes, arguments: Sequence[Any] = ()) -> Cursor:
        if isinstance(statement, bytes):
            limits = _LIMITS.fullmatch(statement)
            if limits is not None:
                lock_ms, idle_ms = map(int, limits.groups())
                await self._ask(lambda: self._current.limit(lock_ms / 1000, idle_ms / 1000))
        elif statement == LOCK:
            await self._lock(f"room {arguments[0]}")
        elif statement == WRITE:
            await self._ask(lambda: self._current.write((arguments[0], arguments[1])))
        else:
            return Cursor(await self._complete(statement, arguments))
        return Cursor()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        self._session = await self._ask(lambda: self._sessions.begin(self._owner))
        try:
            yield
        except BaseException:
            with suppress(psycopg.Error):
                await self._ask(lambda: self._current.end(None))
            raise
        await self._ask(self._current.commit)

    @property
    def info(self) -> ConnectionInfo:
        return ConnectionInfo(self._current.number)

    @property
    def _current(self) -> Session:
        assert self._session is not None
        return self._session

    async def _complete(self, statement: str, arguments: Sequence[Any]) -> int:
        queue, event_id = arguments[0][0], arguments[1][0]
        is_timed = statement == statements._FINISH_AND_NOTE  # noqa: SLF001  what the store sends
        subject, occurred_s = (arguments[3][0], arguments[4][0]) if is_timed else (None, 0.0)
        await self._lock(f"event {queue} {event_id}")
        return await self._ask(lambda: self._current.complete(Completion(queue, event_id, subject, occurred_s)))

    async def _lock(self, name: str) -> None:
        granted = await self._ask(lambda: self._current.lock(name))
        await granted

    async def _ask(self, effect: Callable[[], T]) -> T:
        try:
            return await self._path.ask(effect)
        except Unreachable as error:
            self.closed = self.broken = True
            raise psycopg.OperationalError(str(error)) from error
        except psycopg.Error:
            self.closed = self._session is not None and self._session.error is not None
            raise


class ModelConnectionPool(ConnectionPool):
    """Opens a connection for each block. Its time-outs are the real ones."""

    def __init__(self, sessions: Sessions, path: NetworkPath, owner: str) -> None:
        self._timeout_s = path.timeout_s
        self._sessions = sessions
        self._path = path
        self._owner = owner

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        yield ModelConnection(self._sessions, self._path, self._owner)


class ModelPostgresqlStore(ModelStore):
    """Implements `TransactionalStore`."""

    def __init__(self, sessions: Sessions, path: NetworkPath, owner: str) -> None:
        super().__init__(sessions.server, path, owner)
        self._sessions = sessions
        self._for_functions = ModelConnectionPool(sessions, path, owner)
        self._hindrances = Hindrances(self._waiting_for_locks)

    transaction = PostgresqlStore.transaction

    async def _waiting_for_locks(self, pids: Sequence[int]) -> Collection[int]:
        return await self.path.ask(lambda: self._sessions.waiting_among(pids))

    async def _purge_after(self, finished: int) -> None:
        """Nothing is old."""


def _retrieved(granted: "asyncio.Future[None]") -> None:
    """An answer that was lost is nobody's to retrieve."""
    if not granted.cancelled():
        granted.exception()


def _refuse(granted: "asyncio.Future[None]") -> None:
    if not granted.done():
        granted.set_exception(psycopg.errors.LockNotAvailable("canceling statement due to lock timeout"))
