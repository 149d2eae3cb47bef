"""The history tables of the embedded broker, and the steps on them: which envelopes are kept for replay.

`envelopes.waiting` counts a row of `history` like a row of a queue. The key is the time of receipt, so reading from a
time on and dropping the oldest cost the same however much is kept.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from hookline.schemas.broker import Retention

_ROW_BYTES = 128  # per envelope, besides its texts


@dataclass(frozen=True, slots=True)
class Kept:
    """An envelope of the history with its place in the order."""

    place: tuple[float, int]
    headers: str
    content_type: str
    body: bytes


def keep(connection: sqlite3.Connection, rows: Sequence[tuple[float, int, int]]) -> None:
    """Keep envelopes that were just stored: the time of receipt, the number, and the bytes of the texts of each.

    The caller has counted the history in `envelopes.waiting`.
    """
    sized = [(received_s, seq, size + _ROW_BYTES) for received_s, seq, size in rows]
    connection.executemany("INSERT INTO history VALUES (?, ?, ?)", sized)
    connection.execute("UPDATE history_size SET bytes = bytes + ?", (sum(row[2] for row in sized),))


def drop(connection: sqlite3.Connection, *, retention: Retention, at_most: int) -> None:
    """Drop the oldest envelopes that exceed the age or the size to keep, also after the history was switched off."""
    size = size_bytes(connection)
    (earliest_s,) = connection.execute("SELECT now() - ?", (retention.max_age_s,)).fetchone()
    dropped: list[tuple[float, int]] = []
    before = size
    for received_s, seq, row_bytes in connection.execute(
        "SELECT received_s, seq, bytes FROM history ORDER BY received_s, seq LIMIT ?", (at_most,)
    ):
        if received_s >= earliest_s and size <= retention.max_bytes:
            break
        size -= row_bytes
        dropped.append((received_s, seq))
    if dropped:
        numbers = [(seq,) for _, seq in dropped]
        connection.executemany("DELETE FROM history WHERE received_s = ? AND seq = ?", dropped)
        connection.executemany("UPDATE envelopes SET waiting = waiting - 1 WHERE seq = ?", numbers)
        connection.executemany("DELETE FROM envelopes WHERE seq = ? AND waiting <= 0", numbers)
        connection.execute("UPDATE history_size SET bytes = bytes - ?", (before - size,))


def size_bytes(connection: sqlite3.Connection) -> int:
    """The size of the history."""
    (size,) = connection.execute("SELECT bytes FROM history_size").fetchone()
    return int(size)


def is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM history LIMIT 1").fetchone() is None


def read(
    connection: sqlite3.Connection, *, after: tuple[float, int], until_s: float, last: int, limit: int
) -> list[Kept]:
    """The next envelopes after a place that were received until `until_s` and have a number up to `last`."""
    rows = connection.execute(
        "SELECT h.received_s, h.seq, e.headers, e.content_type, e.body FROM history h JOIN envelopes e USING (seq) "
        "WHERE (h.received_s, h.seq) > (?, ?) AND h.received_s <= ? AND h.seq <= ? "
        "ORDER BY h.received_s, h.seq LIMIT ?",
        (*after, until_s, last, limit),
    ).fetchall()
    return [Kept((received_s, seq), headers, kind, body) for received_s, seq, headers, kind, body in rows]


def last(connection: sqlite3.Connection) -> int:
    """The number of the newest envelope; 0 before the first."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'envelopes'").fetchone()
    return int(row[0]) if row else 0
