"""The layout of the SQLite file, in numbered steps. `PRAGMA user_version` holds the number of the last step done.

One file normally holds the embedded broker, the store and the event log, so one number stands for all of their tables.
A change of the layout is a new step at the end of `STEPS`; a step that has been released never changes.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from hookline.schemas.errors import SettingsError

Step: TypeAlias = Callable[[sqlite3.Connection], None]

APPLICATION_ID = int.from_bytes(b"hook", "big")
"""Says in the file's header whose `user_version` it is (https://www.sqlite.org/pragma.html#pragma_application_id)."""


def version(connection: sqlite3.Connection, path: Path) -> int:
    """The number of the last step done; 0 for an empty file, and for one written before the steps had numbers.

    Raises SettingsError for a file that a newer version or another program has written.
    """
    found, owner = _pragma(connection, "user_version"), _pragma(connection, "application_id")
    if found and owner != APPLICATION_ID:
        raise SettingsError(
            f"{path} is the database of another program (its user_version is {found}): "
            "name another file in broker.url and store.url"
        )
    if found > len(STEPS):
        raise SettingsError(
            f"{path} was written by a newer version of Hookline (its schema version is {found}, and this version "
            f"knows {len(STEPS)}): install the newer version, or name another file in broker.url and store.url"
        )
    return found


def bring_forward(connection: sqlite3.Connection, path: Path) -> None:
    """Do the missing steps in one transaction. A process that starts at the same time waits, and finds them done."""
    if version(connection, path) == len(STEPS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in STEPS[version(connection, path) :]:
            step(connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(STEPS)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


_TABLES = (
    # Processes, and when each was last seen; from step 2 on by the lease clock.
    "CREATE TABLE IF NOT EXISTS owners (owner TEXT PRIMARY KEY, seen REAL NOT NULL) WITHOUT ROWID",
    # The embedded broker: `envelopes.waiting` counts the rows of `deliveries`, `delayed`, `dead` and `history`.
    """CREATE TABLE IF NOT EXISTS envelopes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, routing_key TEXT NOT NULL, headers TEXT NOT NULL,
        content_type TEXT NOT NULL, body BLOB NOT NULL, waiting INTEGER NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS bindings (
        queue TEXT NOT NULL, pattern TEXT NOT NULL, PRIMARY KEY (queue, pattern)) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS bindings_version (version INTEGER NOT NULL)",
    "INSERT INTO bindings_version SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM bindings_version)",
    """CREATE TABLE IF NOT EXISTS deliveries (
        queue TEXT NOT NULL, seq INTEGER NOT NULL, attempt INTEGER NOT NULL, owner TEXT,
        PRIMARY KEY (queue, seq)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS delayed (
        queue TEXT NOT NULL, ready_at REAL NOT NULL, seq INTEGER NOT NULL, attempt INTEGER NOT NULL,
        PRIMARY KEY (queue, ready_at, seq)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS dead (
        queue TEXT NOT NULL, seq INTEGER NOT NULL, attempts INTEGER NOT NULL, reason TEXT NOT NULL,
        detail TEXT NOT NULL, parked_at REAL NOT NULL, PRIMARY KEY (queue, seq)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS replayed (
        queue TEXT NOT NULL, seq INTEGER NOT NULL, replays INTEGER NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (queue, seq)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS history (
        received_s REAL NOT NULL, seq INTEGER NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (received_s, seq)) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS history_size (bytes INTEGER NOT NULL)",
    "INSERT INTO history_size SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM history_size)",
    # The store.
    """CREATE TABLE IF NOT EXISTS claims (
        queue TEXT NOT NULL, id TEXT NOT NULL, owner TEXT, until REAL NOT NULL, alone INTEGER NOT NULL,
        crashes INTEGER NOT NULL, failures INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (queue, id)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS handled (
        queue TEXT NOT NULL, id TEXT NOT NULL, finished_at REAL NOT NULL, PRIMARY KEY (queue, id)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS handled_by_age ON handled (finished_at)",
    """CREATE TABLE IF NOT EXISTS newest (
        queue TEXT NOT NULL, subject TEXT NOT NULL, occurred_s REAL NOT NULL, noted_at REAL NOT NULL,
        PRIMARY KEY (queue, subject)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS newest_by_age ON newest (noted_at)",
    """CREATE TABLE IF NOT EXISTS members (
        queue TEXT NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (queue, owner)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS shares (
        queue TEXT NOT NULL, share TEXT NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (queue, share)) WITHOUT ROWID""",
    # The room log, whose rows the event log takes over.
    """CREATE TABLE IF NOT EXISTS room_events (
        id TEXT PRIMARY KEY, occurred_at REAL NOT NULL, event BLOB NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS room_events_by_age ON room_events (occurred_at)",
)


def _create_tables(connection: sqlite3.Connection) -> None:
    """Create what is missing: a file written before the steps had numbers has some of the tables, or all."""
    for statement in _TABLES:
        connection.execute(statement)
    if "failures" not in {column[1] for column in connection.execute("PRAGMA table_info(claims)")}:
        connection.execute("ALTER TABLE claims ADD COLUMN failures INTEGER NOT NULL DEFAULT 0")


def _add_lease_clock(connection: sqlite3.Connection) -> None:
    """Judge leases by a clock of the file's own. The processes before had theirs by the wall clock: all have ended.

    `claims.claimed` is the time of a claim by that clock.
    """
    connection.execute("CREATE TABLE lease_clock (value REAL NOT NULL, at REAL NOT NULL)")
    connection.execute("INSERT INTO lease_clock VALUES (0, 0)")
    connection.execute("DELETE FROM owners")
    connection.execute("ALTER TABLE claims RENAME TO old_claims")
    connection.execute(
        """CREATE TABLE claims (
        queue TEXT NOT NULL, id TEXT NOT NULL, owner TEXT, claimed REAL NOT NULL, alone INTEGER NOT NULL,
        deaths INTEGER NOT NULL, crashes INTEGER NOT NULL, failures INTEGER NOT NULL,
        PRIMARY KEY (queue, id)) WITHOUT ROWID"""
    )
    connection.execute(
        "INSERT INTO claims SELECT queue, id, owner, 0, alone, crashes, crashes, failures FROM old_claims"
    )
    connection.execute("DROP TABLE old_claims")


def _add_events_of_replays(connection: sqlite3.Connection) -> None:
    """`replayed.events` holds the ids of the events to handle, of a message whose other events are finished.

    It is NULL where all are to be handled. `replayed.at` is 0 for a message that was parked and not replayed yet.
    """
    connection.execute("ALTER TABLE replayed ADD COLUMN events TEXT")


def _add_reports(connection: sqlite3.Connection) -> None:
    """Note when each process last asked for partitions, when it consumed each, and which it has declined."""
    connection.execute("ALTER TABLE members ADD COLUMN asked REAL NOT NULL DEFAULT 0")
    connection.execute("ALTER TABLE shares ADD COLUMN reported REAL NOT NULL DEFAULT 0")
    connection.execute(
        """CREATE TABLE declined (queue TEXT NOT NULL, share TEXT NOT NULL, owner TEXT NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (queue, share, owner)) WITHOUT ROWID"""
    )


_EVENT_LOG = (
    # Times are in microseconds since 1970, and those of rooms in seconds. `keys` are the event's keys in
    # `logged_event_keys`, with spaces between.
    """CREATE TABLE logged_events (
        id TEXT NOT NULL UNIQUE, occurred_at INTEGER NOT NULL, received_at INTEGER NOT NULL, keys TEXT NOT NULL,
        event BLOB NOT NULL)""",
    "CREATE INDEX logged_events_by_age ON logged_events (received_at)",
    """CREATE TABLE logged_event_keys (
        key TEXT NOT NULL, occurred_at INTEGER NOT NULL, id TEXT NOT NULL,
        PRIMARY KEY (key, occurred_at, id)) WITHOUT ROWID""",
    """CREATE TABLE logged_rooms (
        place TEXT PRIMARY KEY, room_id TEXT NOT NULL, received_at INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX logged_rooms_by_id ON logged_rooms (room_id)",
    "CREATE INDEX logged_rooms_by_age ON logged_rooms (received_at, place)",
)


def _add_event_log(connection: sqlite3.Connection) -> None:
    """The log moves the rows of `room_events` to these tables when it is opened, some at a time."""
    for statement in _EVENT_LOG:
        connection.execute(statement)


def _add_retry_clock(connection: sqlite3.Connection) -> None:
    """Judge delays by the monotonic clock: `delayed.ready_at` is its time plus `retry_clock.offset`.

    `at` and `wall` are the times of the last heartbeat, by which a restart of the machine shows. The row comes with the
    first process that opens the file, and lets the times of before mean the same.
    """
    connection.execute("CREATE TABLE retry_clock (offset REAL NOT NULL, at REAL NOT NULL, wall REAL NOT NULL)")


def _add_claim_numbers(connection: sqlite3.Connection) -> None:
    """A process numbers its claims."""
    connection.execute("ALTER TABLE claims ADD COLUMN number INTEGER NOT NULL DEFAULT 0")


def _add_repeats(connection: sqlite3.Connection) -> None:
    """How often each event of the log was delivered again, and when last. Most were not, and have no row."""
    connection.execute(
        """CREATE TABLE logged_repeats (
        id TEXT PRIMARY KEY, count INTEGER NOT NULL, received_at INTEGER NOT NULL) WITHOUT ROWID"""
    )
    connection.execute("CREATE INDEX logged_repeats_by_age ON logged_repeats (received_at)")


def _add_retry_errors(connection: sqlite3.Connection) -> None:
    """Keep why a message waits for its next attempt, as a person reads it. Older processes may write `delayed` still.

    A row goes and moves with its message, also where an older process moves that.
    """
    connection.execute(
        """CREATE TABLE retry_errors (queue TEXT NOT NULL, seq INTEGER NOT NULL, reason TEXT NOT NULL,
        error TEXT NOT NULL, PRIMARY KEY (queue, seq)) WITHOUT ROWID"""
    )
    connection.execute(
        """CREATE TRIGGER retry_is_over AFTER DELETE ON delayed
        BEGIN DELETE FROM retry_errors WHERE queue = old.queue AND seq = old.seq; END"""
    )
    connection.execute(
        """CREATE TRIGGER retry_is_moved AFTER UPDATE OF queue ON delayed
        BEGIN UPDATE OR REPLACE retry_errors SET queue = new.queue WHERE queue = old.queue AND seq = old.seq; END"""
    )


def _add_copy_numbers(connection: sqlite3.Connection) -> None:
    """The number of the newest copy of an event that a worker has passed on."""
    connection.execute("ALTER TABLE claims ADD COLUMN copy INTEGER NOT NULL DEFAULT 0")


def _add_tried_numbers(connection: sqlite3.Connection) -> None:
    """The number of the copy that is passed on after the latest attempt that was noted."""
    connection.execute("ALTER TABLE claims ADD COLUMN tried INTEGER NOT NULL DEFAULT 0")


def _keep_subjects_by_age(connection: sqlite3.Connection) -> None:
    """Keep the rows of subjects in the order in which these came, so that those of today's rooms are neighbours.

    In the order of their names there would be a page to write for nearly every event. The indexes are made in the end:
    with a million subjects, a row at a time takes twice as long, in which other processes cannot write.
    """
    connection.execute("ALTER TABLE newest RENAME TO old_newest")
    connection.execute("DROP INDEX newest_by_age")
    connection.execute(
        """CREATE TABLE newest (
        queue TEXT NOT NULL, subject TEXT NOT NULL, occurred_s REAL NOT NULL, noted_at REAL NOT NULL)"""
    )
    connection.execute("INSERT INTO newest SELECT * FROM old_newest ORDER BY noted_at")
    connection.execute("DROP TABLE old_newest")
    connection.execute("CREATE UNIQUE INDEX newest_by_subject ON newest (queue, subject)")
    connection.execute("CREATE INDEX newest_by_age ON newest (noted_at)")


STEPS: tuple[Step, ...] = (
    _create_tables,
    _add_lease_clock,
    _add_events_of_replays,
    _add_reports,
    _add_event_log,
    _add_retry_clock,
    _add_claim_numbers,
    _add_repeats,
    _add_retry_errors,
    _add_copy_numbers,
    _add_tried_numbers,
    _keep_subjects_by_age,
)
