"""Reads the audit of refused requests, for the command line and the inspector. Its calls block."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from hookline.audit import tables
from hookline.schemas.errors import Unreachable
from hookline.schemas.refusals import RefusalCount, RefusedRequest, StoredRefusal

_request = msgspec.json.Decoder(RefusedRequest)


class RefusalPage(msgspec.Struct, frozen=True):
    """Some refused requests, newest first. `cursor` gets the next page, and is None after the last one."""

    refusals: tuple[StoredRefusal, ...]
    cursor: int | None


class RefusalReader:
    """The refused requests in a file. A file that does not exist holds none. Every call raises Unreachable."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def list(
        self, source: str | None = None, *, reason: str | None = None, limit: int = 50, cursor: int | None = None
    ) -> RefusalPage:
        """The newest refused requests of a source and a reason, or of all; `cursor` comes from the page before.

        The source of requests to an unknown path is empty.
        """
        query = "SELECT id, request FROM refused WHERE 1"
        wanted = {"source": source, "reason": reason}
        chosen = {name: value for name, value in wanted.items() if value is not None}
        query += "".join(f" AND {name} = :{name}" for name in chosen)
        query += "" if cursor is None else " AND id < :cursor"
        values = {**chosen, "cursor": cursor, "limit": limit + 1}
        with self._connection() as connection:
            rows = connection.execute(f"{query} ORDER BY id DESC LIMIT :limit", values).fetchall() if connection else []
        found = tuple(StoredRefusal(number, _request.decode(request)) for number, request in rows[:limit])
        return RefusalPage(found, found[-1].id if len(rows) > limit else None)

    def get(self, number: int) -> StoredRefusal | None:
        """One refused request, or None if it is not there, or no longer."""
        with self._connection() as connection:
            row = connection and connection.execute("SELECT request FROM refused WHERE id = ?", (number,)).fetchone()
        return StoredRefusal(number, _request.decode(row[0])) if row else None

    def counts(self) -> tuple[RefusalCount, ...]:
        """How many requests were refused since the file was made, by source and reason: also those not recorded."""
        with self._connection() as connection:
            rows = (
                connection.execute("SELECT source, reason, count, last_s FROM counted ORDER BY 1, 2").fetchall()
                if connection
                else []
            )
        return tuple(RefusalCount(*row) for row in rows)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection | None]:
        if not self._path.exists():
            yield None
            return
        try:
            with closing(tables.connect_to_read(self._path)) as connection:
                yield connection if tables.are_there(connection) else None
        except (sqlite3.Error, OSError) as error:
            raise Unreachable(f"{self._path} cannot be read: {error}") from None
