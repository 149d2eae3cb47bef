"""The transaction of a worker's function, and which of its errors are not the function's fault."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import psycopg

from hookline.aio.causes import causes
from hookline.schemas.errors import Unreachable
from hookline.workers.api import Poisoned, Retry
from hookline.workers.stores.postgresql.pool import Connection

FROZEN_MARGIN_S = 5.0
"""A transaction in which nothing happens for this long after the function's time-out belongs to a frozen process."""
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


@contextmanager
def faults_of_others(connection: Connection) -> Iterator[None]:
    """Turns errors that are not the function's fault into Unreachable, also where it raised another after one.

    Nor is it the function's fault that its connection is lost, whatever it makes of that. `Retry` and `Poisoned` are
    its own decisions.
    """
    try:
        yield
    except (Retry, Poisoned):
        raise
    except Exception as error:
        is_closed = isinstance(error, psycopg.Error) and connection.closed
        if is_closed or connection.broken or any(map(_is_of_others, causes(error))):
            raise Unreachable(f"PostgreSQL: {str(error) or type(error).__name__}") from error
        raise


def _is_of_others(error: BaseException) -> bool:
    if not isinstance(error, psycopg.Error):
        return False
    code = error.sqlstate
    if code is None:  # found by the client
        return isinstance(error, psycopg.OperationalError)
    return code in _CODES_OF_OTHERS or (code[:2] in _CLASSES_OF_OTHERS and code != _STATEMENT_TIMEOUT)


def _milliseconds(seconds: float) -> int:
    return min(_MAX_MS, max(1, round(1000 * seconds)))
