"""The tables of the audit, and the bounds of its file."""

import sqlite3
from pathlib import Path

from hookline.sqlite.private_file import create_private

APPLICATION_ID = int.from_bytes(b"hkrf", "big")
VERSION = 1
PAGE_BYTES = 4096
BUSY_S = 2.0

_TABLES = (
    """CREATE TABLE IF NOT EXISTS refused (
        id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, reason TEXT NOT NULL, at_s REAL NOT NULL,
        bytes INTEGER NOT NULL, request BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS refused_by_source ON refused (source, reason, id)",
    """CREATE TABLE IF NOT EXISTS counted (
        source TEXT NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL, last_s REAL NOT NULL,
        PRIMARY KEY (source, reason)) WITHOUT ROWID""",
)


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the file, which is made if there is none (mode 600). Raises OSError or sqlite3.Error."""
    create_private(path)
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, to a file that exists. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
        _check_owner(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def are_there(connection: sqlite3.Connection) -> bool:
    """Whether the file has its tables: another process may be about to make them."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'counted'").fetchone() is not None


def _prepare(connection: sqlite3.Connection) -> None:
    _check_owner(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")  # after a power cut the last records may be missing
    connection.execute("BEGIN IMMEDIATE")
    for table in _TABLES:
        connection.execute(table)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _check_owner(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError for a file of another program, or of a newer version."""
    connection.execute("BEGIN")  # one view of a file that another process may be making
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    connection.execute("COMMIT")
    if owner != APPLICATION_ID and (owner or version or tables):
        raise sqlite3.DatabaseError("it belongs to another program")
    if version > VERSION:
        raise sqlite3.DatabaseError("a newer version of Hookline has written it")


def bound(connection: sqlite3.Connection, max_bytes: int) -> None:
    """Let the file grow no further than this. SQLite refuses to write beyond it."""
    connection.execute(f"PRAGMA max_page_count = {max_bytes // PAGE_BYTES}")
    connection.execute("PRAGMA wal_autocheckpoint = 64")
    connection.execute(f"PRAGMA journal_size_limit = {64 * PAGE_BYTES}")
