"""Partitions in SQLite: who holds them, and who has declined them. Each step runs in a transaction of `Database`.

After a power cut no process is alive, so that none of this need be on disk.
"""

import sqlite3
from collections.abc import Collection, Sequence

from hookline.workers.store import Assignment
from hookline.workers.stores.assignment import DECLINED_S, Decision, Holder, QueueState, decide


def assign(
    queue: str, owner: str, partitions: Sequence[str], consuming: Collection[str], connection: sqlite3.Connection
) -> Assignment:
    """Divide the partitions, as `decide` says."""
    state = _state(connection, queue)
    decision = decide(state, partitions, owner, consuming)
    connection.execute("INSERT OR REPLACE INTO members VALUES (?, ?, ?)", (queue, owner, state.now))
    _write(connection, queue, owner, state, decision)
    return decision.assignment


def revoke(queue: str, owner: str, partition: str, connection: sqlite3.Connection) -> None:
    connection.execute(
        "DELETE FROM shares WHERE queue = ? AND share = ? AND owner = ?",
        (queue, partition, owner),
    )


def decline(queue: str, owner: str, partition: str, connection: sqlite3.Connection) -> None:
    statement = "INSERT OR REPLACE INTO declined SELECT ?, ?, ?, value FROM lease_clock"
    connection.execute(statement, (queue, partition, owner))


def _state(connection: sqlite3.Connection, queue: str) -> QueueState:
    (now,) = connection.execute("SELECT value FROM lease_clock").fetchone()
    connection.execute("DELETE FROM members WHERE queue = ? AND owner NOT IN (SELECT owner FROM alive)", (queue,))
    connection.execute("DELETE FROM declined WHERE queue = ? AND at < ?", (queue, now - DECLINED_S))
    asked = dict(connection.execute("SELECT owner, asked FROM members WHERE queue = ?", (queue,)))
    rows = connection.execute("SELECT share, owner, reported FROM shares WHERE queue = ?", (queue,))
    holders = {share: Holder(owner, reported) for share, owner, reported in rows}
    rows = connection.execute("SELECT share, owner, at FROM declined WHERE queue = ?", (queue,))
    return QueueState(now, asked, holders, {(share, owner): at for share, owner, at in rows})


def _write(connection: sqlite3.Connection, queue: str, owner: str, state: QueueState, decision: Decision) -> None:
    connection.executemany(
        "UPDATE shares SET reported = ? WHERE queue = ? AND share = ?",
        [(state.now, queue, partition) for partition in decision.reported],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO shares VALUES (?, ?, ?, ?)",
        [(queue, partition, owner, decision.taken_reported) for partition in decision.taken],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO declined VALUES (?, ?, ?, ?)",
        [(queue, partition, holder, state.now) for partition, holder in decision.overdue.items()],
    )
