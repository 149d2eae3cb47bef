"""The transaction of a worker's function, and which of its errors are not the function's fault."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import psycopg

from hookline.schemas.errors import Unreachable
from hookline.workers.failure_policy import HandlerTimedOut
from hookline.workers.stores.postgresql.pool import Connection

FROZEN_MARGIN_S = 5.0
"""A transaction in which nothing happens for this long after the function's time-out belongs to a frozen process."""
_LOOK_BEFORE_S = 1.0
_LOOK_BEFORE = 1 / 4  # of the function's time-out, if that is shorter
_ANSWERS_S = 2.0
_SILENT = "it did not answer in time"
_IS_WAITING = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
_MAX_MS = 2**31 - 1
# Valid until the transaction ends, so that a pooler such as PgBouncer hands on no connection with these limits.
_LIMITS = "SET LOCAL lock_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = {}"

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_CLASSES_OF_OTHERS = frozenset(
    {
        "08",  # the connection
        "40",  # deadlocks and serialization failures
        "53",  # the server is full
        "57",  # the server is stopped, or starts
        "58",  # its system fails
        "XX",
    }
)
_CODES_OF_OTHERS = frozenset(
    {
        "55P03",  # a lock that another transaction has for too long
        "25P03",  # the server has ended the transaction, since this process was frozen
        "25006",  # the server has become a replica
        "26000",  # a pooler has handed on another connection
        "42P05",
    }
)
_STATEMENT_TIMEOUT = "57014"


@asynccontextmanager
async def begun(connection: Connection, timeout_s: float) -> AsyncIterator[None]:
    """A transaction with limits for a function that has this time-out."""
    limits = _LIMITS.format(_milliseconds(timeout_s / 2), _milliseconds(timeout_s + FROZEN_MARGIN_S))
    async with connection.transaction():
        await connection.execute(limits.encode())
        yield


@asynccontextmanager
async def others_told_apart(timeout_s: float, is_waiting: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
    """Raises Unreachable instead of HandlerTimedOut if the server kept the function waiting shortly before.

    It does if the transaction waits for a lock, or if the server does not answer. A wait for a lock that began in the
    second half of the function's time outlasts no `lock_timeout`. Behind a pooler it cannot be seen, and is the
    function's time-out.
    """
    loop, looking = asyncio.get_running_loop(), list[asyncio.Task[str | None]]()
    look_after_s = timeout_s - min(_LOOK_BEFORE_S, _LOOK_BEFORE * timeout_s)
    timer = loop.call_later(look_after_s, lambda: looking.append(loop.create_task(_look(is_waiting))))
    try:
        yield
    except HandlerTimedOut as error:
        if looking and (fault := await looking[0]):
            raise Unreachable(f"PostgreSQL: {fault}") from error
        raise
    finally:
        timer.cancel()
        for task in looking:
            task.cancel()


async def _look(is_waiting: Callable[[], Awaitable[bool]]) -> str | None:
    """What keeps the function waiting besides itself."""
    began_s = time.monotonic()
    try:
        if await is_waiting():
            return "another transaction had a lock for too long"
    except Unreachable:
        return _SILENT
    return _SILENT if time.monotonic() - began_s > _ANSWERS_S else None


async def waits_for_lock(connection: Connection, pid: int) -> bool:
    """Whether the server's process with this number waits for a lock that another transaction has."""
    return await (await connection.execute(_IS_WAITING, (pid,))).fetchone() == (True,)


@contextmanager
def faults_of_others(connection: Connection) -> Iterator[None]:
    """Turns errors that are not the function's fault into Unreachable, also where it raised another error from one."""
    try:
        yield
    except Exception as error:
        is_closed = isinstance(error, psycopg.Error) and connection.closed
        if is_closed or any(map(_is_of_others, _causes(error))):
            raise Unreachable(f"PostgreSQL: {str(error) or type(error).__name__}") from error
        raise


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_of_others(error: BaseException) -> bool:
    if not isinstance(error, psycopg.Error):
        return False
    code = error.sqlstate
    if code is None:  # found by the client
        return isinstance(error, psycopg.OperationalError)
    return code in _CODES_OF_OTHERS or (code[:2] in _CLASSES_OF_OTHERS and code != _STATEMENT_TIMEOUT)


def _milliseconds(seconds: float) -> int:
    return min(_MAX_MS, max(1, round(1000 * seconds)))
