"""What a worker's function writes through when the store is SQLite."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]

_NOT_THE_FUNCTIONS_FAULT = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)
_FORBIDDEN = frozenset(
    {sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH}
)
_SCHEMA_PRAGMAS = frozenset({"user_version", "application_id"})


class StatementFailed(Exception):
    """A statement of the function failed. Nothing of its transaction was written."""


class Writes:
    """Collects statements and runs them after the function has returned. It only writes; nothing can be read.

    The statements run in the store's own file, in the transaction of the completion record: all of it is on disk in
    the end, or nothing. A statement that fails counts as a failure of the function.
    """

    def __init__(self) -> None:
        self._statements: list[tuple[str, list[Parameters]]] = []

    def execute(self, sql: str, parameters: Parameters = ()) -> None:
        """Add one statement, with `?` or `:name` for its parameters."""
        self._statements.append((sql, [parameters]))

    def executemany(self, sql: str, rows: Iterable[Parameters]) -> None:
        """Add one statement that runs for each row of parameters."""
        self._statements.append((sql, list(rows)))

    def run(self, connection: sqlite3.Connection) -> None:
        """Run the statements in a transaction that others share. Raises StatementFailed."""
        connection.set_authorizer(_authorize)
        try:
            for sql, rows in self._statements:
                for parameters in rows:
                    connection.execute(sql, parameters)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _NOT_THE_FUNCTIONS_FAULT:
                raise
            raise StatementFailed(str(error)) from error
        finally:
            connection.set_authorizer(None)


def _authorize(action: int, name: str | None, value: str | None, *_: str | None) -> int:
    """A function may neither begin nor end a transaction, nor change the version of the file's schema."""
    is_schema = action == sqlite3.SQLITE_PRAGMA and name in _SCHEMA_PRAGMAS and value is not None
    return sqlite3.SQLITE_DENY if is_schema or action in _FORBIDDEN else sqlite3.SQLITE_OK
