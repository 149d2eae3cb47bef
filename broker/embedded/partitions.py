"""Partitions of an ordered worker in the embedded broker. Each step runs in a transaction of `Database`.

Each partition is a queue. The worker's own queue has no bindings, but a message that is put there by name (a replayed
dead letter or a past event) is moved to its partition.
"""

import sqlite3
from collections.abc import Sequence
from itertools import takewhile

from hookline.broker.embedded import tables
from hookline.schemas import topics
from hookline.schemas.broker import Received

MAX_MOVED = 500
"""In one step: others can write between the steps."""
_TABLES = ("deliveries", "delayed")


def declare(connection: sqlite3.Connection, *, queue: str, patterns: Sequence[str]) -> None:
    """Bind a worker's partitions, and unbind its own queue."""
    tables.bind(connection, queue=topics.queue_name(queue), patterns=set())
    for partition in topics.PARTITION_WORDS:
        bindings = {topics.binding(pattern, partition) for pattern in patterns}
        tables.bind(connection, queue=topics.partition_name(queue, partition), patterns=bindings)


def undeclare(connection: sqlite3.Connection, *, queue: str) -> int:
    """Unbind the partitions of a worker that is no longer ordered. The result is how many messages they have."""
    left = 0
    for partition in topics.PARTITION_WORDS:
        name = topics.partition_name(queue, partition)
        tables.bind(connection, queue=name, patterns=set())
        for table in _TABLES:
            left += connection.execute(f"SELECT count(*) FROM {table} WHERE queue = ?", (name,)).fetchone()[0]  # noqa: S608
    return left


def move_back(connection: sqlite3.Connection, *, queue: str) -> None:
    """Move up to `MAX_MOVED` messages of the partitions of a worker that is no longer ordered to its queue."""
    whole = topics.queue_name(queue)
    left = MAX_MOVED
    for partition in topics.PARTITION_WORDS:
        name = topics.partition_name(queue, partition)
        for table in _TABLES:
            some = f"SELECT seq FROM {table} WHERE queue = ? LIMIT ?"  # noqa: S608
            rows = connection.execute(some, (name, left)).fetchall()
            for (seq,) in rows:
                _move(connection, table, seq, name, whole)
            left -= len(rows)


def take(connection: sqlite3.Connection, *, queue: str, owner: str, limit: int) -> list[Received]:
    """Up to `limit` messages of one partition for this owner, oldest first, none behind one that another owner has.

    The owner of the first partition also moves messages of the worker's own queue to their partitions.
    """
    whole = topics.whole_name(queue)
    if queue == f"{whole}.{topics.PARTITION_WORDS[0]}":
        _move_to_partitions(connection, whole)
    tables.make_ready(connection, queue, limit)
    rows = connection.execute(
        "SELECT d.owner IN (SELECT owner FROM alive), d.seq, d.attempt, e.headers, e.content_type, e.body, r.replays, "
        "r.at, r.events FROM deliveries d JOIN envelopes e USING (seq) "
        "LEFT JOIN replayed r ON r.queue = ? AND r.seq = d.seq "
        "WHERE d.queue = ? AND d.owner IS NOT ? ORDER BY d.seq LIMIT ?",
        (whole, queue, owner, limit),
    ).fetchall()
    return tables.own(connection, queue, owner, [row[1:] for row in takewhile(lambda row: not row[0], rows)])


def _move_to_partitions(connection: sqlite3.Connection, whole: str) -> None:
    """Includes messages that another process took before the worker was ordered. Their outcomes there are ignored."""
    for table in _TABLES:
        rows = connection.execute(
            f"SELECT seq, routing_key FROM {table} JOIN envelopes USING (seq) WHERE queue = ? LIMIT ?",  # noqa: S608
            (whole, MAX_MOVED),
        ).fetchall()
        for seq, key in rows:
            _move(connection, table, seq, whole, f"{whole}.{key.rpartition('.')[2]}")


def _move(connection: sqlite3.Connection, table: str, seq: int, source: str, target: str) -> None:
    release = ", owner = NULL" if table == "deliveries" else ""
    statement = f"UPDATE OR IGNORE {table} SET queue = ?{release} WHERE queue = ? AND seq = ?"  # noqa: S608
    if not connection.execute(statement, (target, source, seq)).rowcount:
        connection.execute(f"DELETE FROM {table} WHERE queue = ? AND seq = ?", (source, seq))  # noqa: S608
        tables.forget(connection, source, [seq])
