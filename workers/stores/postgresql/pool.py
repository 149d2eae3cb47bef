"""Connections to a PostgreSQL server: bounded in number and in time, and made anew after the server was away."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from hookline.schemas.errors import SettingsError, Unreachable

T = TypeVar("T")
Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]


class ConnectionPool:
    """At most so many connections at a time; each wait for the server, and for a connection to be free, has an end."""

    def __init__(self, conninfo: str, connections: int, timeout_s: float, wait_s: float | None = None) -> None:
        self._conninfo = conninfo
        self._timeout_s = timeout_s
        self._wait_s = wait_s or timeout_s
        self._free = asyncio.Semaphore(connections)
        self._idle: list[Connection] = []

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` returns of a connection in autocommit mode. Raises Unreachable."""
        async with self.connection() as connection, self.in_time():
            with unreachable():
                return await work(connection)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection in autocommit mode, for one at a time. Raises Unreachable."""
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise Unreachable("all connections to PostgreSQL were in use for too long") from None
        try:
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                yield connection
            finally:
                await self._put_back(connection)
        finally:
            self._free.release()

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[asyncio.Timeout]:
        """Raises Unreachable if what is within takes longer than the time-out."""
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                yield limit
        except TimeoutError:
            if limit.expired():
                raise Unreachable("PostgreSQL did not answer in time") from None
            raise

    def deadline_s(self) -> float:
        """When the time-out ends that begins now, by the event loop's clock."""
        return asyncio.get_running_loop().time() + self._timeout_s

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    async def _connect(self) -> Connection:
        async with self.in_time():
            with unreachable():
                return await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)

    async def _put_back(self, connection: Connection) -> None:
        if connection.closed:
            await self.close()  # the others had the same server
        elif connection.info.transaction_status is TransactionStatus.IDLE:
            self._idle.append(connection)
        else:
            await connection.close()


@contextmanager
def unreachable() -> Iterator[None]:
    """Raises Unreachable for whatever our own statements fail of, but for values that PostgreSQL cannot keep."""
    try:
        yield
    except psycopg.DataError:
        raise
    except psycopg.Error as error:
        raise Unreachable(f"PostgreSQL: {_first_line(error)}") from error


def connection_settings(url: str, timeout_s: float) -> str:
    """A URL, with the time-outs that the network needs. Raises SettingsError, which does not quote it."""
    seconds = max(2, math.ceil(timeout_s))
    ours: dict[str, Any] = {
        "connect_timeout": seconds,
        "tcp_user_timeout": 1000 * seconds,
        "keepalives_idle": seconds,
        "keepalives_interval": seconds,
        "application_name": "hookline",
    }
    try:
        return make_conninfo("", **{**ours, **conninfo_to_dict(url)})
    except psycopg.ProgrammingError:
        raise SettingsError('store.url: expected "postgresql://user:password@host/database"') from None


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
