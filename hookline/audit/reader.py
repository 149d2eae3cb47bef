"""Reads the audit of refused requests, for the command line and the inspector. Its calls block."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from hookline.audit import tables
from hookline.schemas.errors import Unreachable
from hookline.schemas.refusals import RefusalCount, RefusedRequest, StoredRefusal
from hookline.sqlite.faults import is_there

_request = msgspec.json.Decoder(RefusedRequest)
_CONDITIONS = {
    "source": "source = :source",
    "reason": "reason = :reason",
    "since_s": "at_s >= :since_s",
    "until_s": "at_s <= :until_s",
    "cursor": "id < :cursor",
}


class RefusalPage(msgspec.Struct, frozen=True):
    """Some refused requests, newest first. `cursor` gets the next page, and is None after the last one."""

    refusals: tuple[StoredRefusal, ...]
    cursor: int | None


class RefusalFilter(msgspec.Struct, frozen=True):
    """Which refused requests are wanted. None means any; times are Unix seconds, and both ends are included.

    The source of requests to an unknown path is empty.
    """

    source: str | None = None
    reason: str | None = None
    since_s: float | None = None
    until_s: float | None = None


ALL = RefusalFilter()


class RefusalReader:
    """The refused requests in a file. A file that does not exist holds none. Every call raises Unreachable."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def list(self, wanted: RefusalFilter = ALL, *, limit: int = 50, cursor: int | None = None) -> RefusalPage:
        """The newest of the refused requests that are wanted; `cursor` comes from the page before."""
        values = {**msgspec.structs.asdict(wanted), "cursor": cursor}
        query = "SELECT id, request FROM refused WHERE 1"
        query += "".join(f" AND {_CONDITIONS[name]}" for name, value in values.items() if value is not None)
        values["limit"] = limit + 1
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
        if not is_there(self._path):
            yield None
            return
        try:
            with closing(tables.connect_to_read(self._path)) as connection:
                yield connection if tables.are_there(connection) else None
        except (sqlite3.Error, OSError) as error:
            raise Unreachable(f"{self._path} cannot be read: {error}") from None
