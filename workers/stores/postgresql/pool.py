"""Connections to a PostgreSQL server, bounded in number and in time."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Any, Self, TypeAlias, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from hookline.aio.cancellation import cancellation_kept
from hookline.schemas.errors import SettingsError, Unreachable

T = TypeVar("T")
_READ_ONLY = psycopg.errors.ReadOnlySqlTransaction
Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]
Cursor: TypeAlias = psycopg.AsyncCursor[tuple[Any, ...]]


SESSION: Mapping[str, Any] = MappingProxyType({"autocommit": True, "prepare_threshold": None})
"""No statement is prepared on the server: a pooler such as PgBouncer gives each transaction another connection."""
_LOOK_AFTER_CLIENT = """SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 25000"""
"""The server ends the transactions of a machine that has vanished, with its locks, after 25 s."""
_PREPARE_AFTER = 5  # uses, on a connection without a pooler


class ConnectionPool:
    """Up to `connections` connections in autocommit mode, opened when they are needed.

    A wait for the server ends after `timeout_s`, and a wait for a connection that is in use after `wait_s`. When one
    connection turns out to be lost, all idle ones are closed, since they had the same server.
    """

    def __init__(self, conninfo: str, connections: int, timeout_s: float, wait_s: float | None = None) -> None:
        self._timeout_s = timeout_s
        self._wait_s = wait_s or timeout_s
        self._waiting: set[asyncio.Timeout] = set()
        self._failure: str | None = None
        self._pool = AsyncConnectionPool(
            conninfo,
            connection_class=self._connection_class(),
            kwargs=dict(SESSION),
            min_size=0,
            max_size=connections,
            open=False,
            reconnect_timeout=0,  # the next request tries again at once
        )

    async def open(self) -> None:
        """Accept requests. Connects to nothing yet."""
        await self._pool.open()

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` returns, called with a connection. Raises Unreachable."""
        async with self.connection() as connection, self.in_time():
            with unreachable():
                return await work(connection)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for exclusive use. Raises Unreachable."""
        with cancellation_kept():
            connection = await self._get()
            try:
                yield connection
            finally:
                await self._put_back(connection)

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[asyncio.Timeout]:
        """Raises Unreachable if the block takes longer than the time-out."""
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                yield limit
        except TimeoutError:
            if limit.expired():
                raise Unreachable("PostgreSQL did not answer in time") from None
            raise

    def deadline_s(self) -> float:
        """The end of a time-out that begins now, by the event loop's clock."""
        return asyncio.get_running_loop().time() + self._timeout_s

    async def close(self) -> None:
        await self._pool.close(self._timeout_s)

    async def _get(self) -> Connection:
        limit = asyncio.timeout(self._wait_s)
        try:
            async with limit:
                self._waiting.add(limit)
                return await self._pool.getconn(self._wait_s)
        except (TimeoutError, PoolTimeout):
            reason = self._failure or "all connections to PostgreSQL were in use for too long"
            raise Unreachable(reason) from None
        except PoolClosed:
            raise Unreachable("the connections to PostgreSQL are closed") from None
        finally:
            self._waiting.discard(limit)

    async def _put_back(self, connection: Connection) -> None:
        was_lost = connection.closed
        if connection.info.transaction_status is not TransactionStatus.IDLE:
            await connection.close()  # the pool would roll back, without a time-out
        await self._pool.putconn(connection)
        if was_lost:
            await self._pool.drain()

    def _connection_class(self) -> type[Connection]:
        pool = self

        class BoundedConnection(psycopg.AsyncConnection[tuple[Any, ...]]):
            """Reports why it cannot connect. The pool connects in the background, and would let its callers wait."""

            @classmethod
            async def connect(cls, conninfo: str = "", **options: Any) -> Self:
                try:
                    async with pool.in_time():
                        with unreachable():
                            connection = await super().connect(conninfo, **options)
                            if await _is_direct(connection):
                                connection.prepare_threshold = _PREPARE_AFTER
                                await connection.execute(_LOOK_AFTER_CLIENT)
                except Unreachable as error:
                    pool._end_waits(error)
                    raise
                pool._failure = None
                return connection

        return BoundedConnection

    def _end_waits(self, failure: Unreachable) -> None:
        """Raise the failure in all callers that wait for a connection."""
        self._failure = str(failure)
        for limit in self._waiting:
            if not limit.expired():
                limit.reschedule(0)
        self._waiting.clear()


async def _is_direct(connection: Connection) -> bool:
    """Whether no pooler is in between. A pooler gives its clients another number than that of the server's process."""
    row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
    return row == (connection.info.backend_pid,)


@contextmanager
def unreachable() -> Iterator[None]:
    """Turns errors of our own statements into Unreachable, except for values that PostgreSQL cannot store."""
    try:
        yield
    except psycopg.DataError:
        raise
    except psycopg.Error as error:
        hint = "; store.url must name a server that accepts writes" if isinstance(error, _READ_ONLY) else ""
        raise Unreachable(f"PostgreSQL: {_first_line(error)}{hint}") from error


def connection_settings(url: str, timeout_s: float) -> str:
    """The URL as a connection string with time-outs. Raises SettingsError, which does not quote the URL."""
    seconds = max(2, math.ceil(timeout_s))
    ours: dict[str, Any] = {
        "connect_timeout": seconds,
        "tcp_user_timeout": 1000 * seconds,
        "keepalives_idle": seconds,
        "keepalives_interval": seconds,
        "application_name": "hookline",
        "client_encoding": "utf8",  # texts of a database in SQL_ASCII would be bytes, and equal nothing of ours
    }
    try:
        return make_conninfo("", **{**ours, **conninfo_to_dict(url)})
    except psycopg.ProgrammingError:
        raise SettingsError('store.url: expected "postgresql://user:password@host/database"') from None


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
