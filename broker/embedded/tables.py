"""The tables of the embedded broker, and the steps on them. Each step runs in a transaction of `Database`.

An envelope is stored once. Each queue that wants it has a row in `deliveries` (waiting, or taken by an owner), in
`delayed` (waiting for its next attempt) or in `dead`. `envelopes.waiting` counts these rows and that of the history.
The envelope is deleted with the last one. `replayed` has a row for each dead letter that was replayed.
"""

import logging
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import msgspec

from hookline.broker.embedded import history_tables as history
from hookline.schemas import topics
from hookline.schemas.broker import Again, Done, Outcome, Parked, Received, Retention
from hookline.schemas.dead_letters import EVENTS, REPLAYED_AT, REPLAYS
from hookline.schemas.envelope import Envelope, to_headers
from hookline.schemas.errors import NotDurable, Obstacle
from hookline.schemas.retries import end_of

log = logging.getLogger("hookline.broker")

Row: TypeAlias = tuple[int, int, str, str, bytes, int | None, float | None, str | None]
"""A message: its number, attempt, headers, content type, body, the number and time of replays, events to handle."""

_MAX_ROWS = 64  # to an INSERT
_MAX_READY = 1000
_MAX_KEYS = 4096
_MAX_LOGGED_TOPICS = 64
_encode = msgspec.json.Encoder().encode
_decode_headers = msgspec.json.Decoder(dict[str, Any]).decode

_STATE = """SELECT version, (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'envelopes'), bytes,
    page_count * page_size FROM bindings_version, history_size, pragma_page_count, pragma_page_size"""
OF_QUEUE = "queue IN (SELECT value FROM json_each(:queues))"
"""Holds for a worker's own queue and for its partitions, with the parameters of `of_queue`. Each is looked up."""
_FREE_BYTES = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size"
_INSERT_DELIVERIES = "INSERT INTO deliveries SELECT ?, value, 1, NULL FROM json_each(?)"
_DUE = "(SELECT * FROM delayed WHERE queue = ? AND ready_at <= ? ORDER BY ready_at, seq LIMIT ?)"
_PUT_BACK_DUE = f"INSERT INTO deliveries SELECT queue, seq, attempt, NULL FROM {_DUE}"  # noqa: S608  a constant
_FORGET_DUE = f"""DELETE FROM delayed
    WHERE (queue, ready_at, seq) IN (SELECT queue, ready_at, seq FROM {_DUE})"""  # noqa: S608  a constant
_OWN = "UPDATE deliveries SET owner = ? WHERE queue = ? AND seq IN (SELECT value FROM json_each(?))"
_RELEASE_OTHERS = """UPDATE deliveries SET owner = NULL
    WHERE queue = ? AND owner = ? AND seq NOT IN (SELECT value FROM json_each(?))"""
_OURS = """SELECT json_group_array(d.seq) FROM json_each(?) AS asked CROSS JOIN deliveries d
    ON d.queue = ? AND d.seq = asked.value WHERE d.owner = ?"""
_NOTE_EVENTS = """INSERT INTO replayed VALUES (?, ?, 0, 0, ?)
    ON CONFLICT DO UPDATE SET events = excluded.events"""
_FORGET_REPLAYS = "DELETE FROM replayed WHERE queue = ? AND seq IN (SELECT value FROM json_each(?))"
_FORGET_LAST = "DELETE FROM envelopes WHERE waiting <= 1 AND seq IN (SELECT value FROM json_each(?))"
_FORGET_ONE_OF_SEVERAL = "UPDATE envelopes SET waiting = waiting - 1 WHERE seq IN (SELECT value FROM json_each(?))"


class State(NamedTuple):
    """What storing envelopes depends on, in one statement: each costs a thread Python's global lock several times."""

    bindings_version: int
    last: int
    """The number of the newest envelope; 0 before the first."""
    history_bytes: int
    file_bytes: int


def state(connection: sqlite3.Connection) -> State:
    return State(*connection.execute(_STATE).fetchone())


def bind(connection: sqlite3.Connection, *, queue: str, patterns: set[str]) -> None:
    """Bind a queue to exactly these patterns."""
    rows = connection.execute("SELECT pattern FROM bindings WHERE queue = ?", (queue,))
    if {pattern for (pattern,) in rows} != patterns:
        connection.execute("DELETE FROM bindings WHERE queue = ?", (queue,))
        connection.executemany("INSERT INTO bindings VALUES (?, ?)", [(queue, pattern) for pattern in patterns])
        # Random, so that no router has seen the number in a transaction that was rolled back.
        connection.execute("UPDATE bindings_version SET version = random()")


def bound_to(connection: sqlite3.Connection, *, queue: str) -> frozenset[str]:
    """The binding keys of a worker's queue and of its partitions; none if there is no such queue."""
    rows = connection.execute(f"SELECT pattern FROM bindings WHERE {OF_QUEUE}", of_queue(queue))  # noqa: S608  a constant
    return frozenset(pattern for (pattern,) in rows)


def of_queue(name: str) -> dict[str, str]:
    """The parameters of `OF_QUEUE` for a worker's own queue of this name."""
    return {"name": name, "queues": _listed([name, *(f"{name}.{word}" for word in topics.PARTITION_WORDS)])}


def put(connection: sqlite3.Connection, queue: str, envelope: tuple[str, str, str, bytes]) -> None:
    """Store an envelope (routing key, headers, content type and body) for one queue."""
    statement = "INSERT INTO envelopes (routing_key, headers, content_type, body, waiting) VALUES (?, ?, ?, ?, 1)"
    seq = connection.execute(statement, envelope).lastrowid
    connection.execute("INSERT INTO deliveries VALUES (?, ?, 1, NULL)", (queue, seq))


class Router:
    """Stores envelopes for the queues that want them. Caches the queues of a routing key until a binding changes."""

    def __init__(self) -> None:
        self._version = 0
        self._bindings: list[tuple[str, str]] = []
        self._wanted_by: dict[str, tuple[str, ...]] = {}
        self._logged: dict[str, set[str]] = {}

    def store(
        self, connection: sqlite3.Connection, found: State, *, envelopes: Sequence[Envelope], retention: Retention
    ) -> None:
        self._refresh(connection, found.bindings_version)
        rows: list[tuple[int, str, str, str, bytes, int]] = []
        deliveries: defaultdict[str, list[int]] = defaultdict(list)
        kept = int(retention.enabled)
        for seq, envelope in enumerate(envelopes, found.last + 1):
            key = envelope.routing_key
            queues = self._queues(key)
            headers = _encode(to_headers(envelope)).decode()
            rows.append((seq, key, headers, envelope.content_type, envelope.body, len(queues) + kept))
            for queue in queues:
                deliveries[queue].append(seq)
        for part in _parts(rows):
            connection.execute(_insert_envelopes(len(part)), list(chain.from_iterable(part)))
        for queue, seqs in deliveries.items():
            connection.execute(_INSERT_DELIVERIES, (queue, _listed(seqs)))
        if kept:
            history.keep(connection, [_kept(row, envelope) for row, envelope in zip(rows, envelopes, strict=True)])

    def _refresh(self, connection: sqlite3.Connection, version: int) -> None:
        if version != self._version:
            self._version = version
            self._bindings = connection.execute("SELECT queue, pattern FROM bindings").fetchall()
            self._wanted_by.clear()

    def _queues(self, key: str) -> tuple[str, ...]:
        queues = self._wanted_by.get(key)
        if queues is None:
            wanting = {queue for queue, pattern in self._bindings if topics.matches(pattern, key)}
            if len(self._wanted_by) >= _MAX_KEYS:
                self._wanted_by.clear()
            queues = self._wanted_by[key] = tuple(sorted(wanting)) or (topics.UNROUTED,)
            if queues == (topics.UNROUTED,):
                self._log_unwanted(key.rpartition(".")[0])
        return queues

    def _log_unwanted(self, topic: str) -> None:
        """Log each topic once. A sender may make up names of types without end, so the topics of a source are few."""
        source = ".".join(topic.split(".", 2)[:2])
        logged = self._logged.setdefault(source, set())
        if topic in logged or len(logged) > _MAX_LOGGED_TOPICS:
            return
        logged.add(topic)
        if len(logged) > _MAX_LOGGED_TOPICS:
            log.info("no queue wants more topics of %s, which are no longer named", source)
        else:
            log.info("no queue wants %s; its events are kept in %s", topic, topics.UNROUTED)


def _parts(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(rows), _MAX_ROWS):
        yield rows[first : first + _MAX_ROWS]


@cache
def _insert_envelopes(count: int) -> str:
    return f"INSERT INTO envelopes VALUES {', '.join(['(?, ?, ?, ?, ?, ?)'] * count)}"  # noqa: S608  # no text of others


def _listed(values: Sequence[int | str]) -> str:
    """Numbers or names as one JSON parameter, for one statement about all of them."""
    return _encode(values).decode()


def _kept(row: tuple[int, str, str, str, bytes, int], envelope: Envelope) -> tuple[float, int, int]:
    seq, key, headers, content_type, body, _ = row
    return envelope.received_at.timestamp(), seq, len(key) + len(headers) + len(content_type) + len(body)


def check_room(connection: sqlite3.Connection, found: State, max_bytes: int) -> None:
    """Raises NotDurable if the file has reached its limit. The history has a limit of its own."""
    if found.file_bytes <= max_bytes:
        return
    (free_bytes,) = connection.execute(_FREE_BYTES).fetchone()
    if found.file_bytes - free_bytes > max_bytes + history.size_bytes(connection):
        raise NotDurable("the embedded broker has reached its size limit", Obstacle.REFUSED)


def exchange(
    connection: sqlite3.Connection,
    *,
    queue: str,
    owner: str,
    settled: Sequence[tuple[int, Outcome]],
    known: Sequence[int] | None,
    take: Callable[..., list[Received]],
) -> tuple[list[Received], set[int]]:
    """Carry out outcomes, then take messages. The result is what was taken, and the numbers of what was parked.

    With `known`, other messages that the owner has are first returned to the queue.
    """
    if known is not None:
        release_others(connection, queue=queue, owner=owner, known=known)
    parked = settle(connection, queue=queue, owner=owner, settled=settled)
    return take(connection, queue=queue, owner=owner), parked


def take(connection: sqlite3.Connection, *, queue: str, owner: str, limit: int) -> list[Received]:
    """Up to `limit` messages for this owner, oldest first, that no living owner has and whose delay has passed."""
    make_ready(connection, queue, limit)
    rows = connection.execute(
        "SELECT d.seq, d.attempt, e.headers, e.content_type, e.body, r.replays, r.at, r.events "
        "FROM deliveries d JOIN envelopes e USING (seq) LEFT JOIN replayed r ON r.queue = d.queue AND r.seq = d.seq "
        "WHERE d.queue = ? AND (d.owner IS NULL OR d.owner NOT IN (SELECT owner FROM alive)) ORDER BY d.seq LIMIT ?",
        (queue, limit),
    ).fetchall()
    return own(connection, queue, owner, rows)


def make_ready(connection: sqlite3.Connection, queue: str, limit: int) -> None:
    """Move messages whose delay has passed to the queue: at least `limit` if there are as many, so that all get there.

    Very many are not moved at once, because nobody else could write meanwhile.
    """
    (now_s,) = connection.execute("SELECT offset + monotonic() FROM retry_clock").fetchone()
    due = (queue, now_s, max(limit, _MAX_READY))  # the same for both statements, so that none is lost
    if connection.execute(_PUT_BACK_DUE, due).rowcount:
        connection.execute(_FORGET_DUE, due)


def own(connection: sqlite3.Connection, queue: str, owner: str, rows: Sequence[Row]) -> list[Received]:
    """Make the messages of these rows the owner's, and return them."""
    if rows:
        connection.execute(_OWN, (owner, queue, _listed([row[0] for row in rows])))
    return [
        Received(with_replays(_decode_headers(headers), replays, at_s, events), kind, body, attempt, seq, is_moved=True)
        for seq, attempt, headers, kind, body, replays, at_s, events in rows
    ]


def with_replays(
    headers: Mapping[str, Any], replays: int | None, replayed_s: float | None, events: str | None
) -> Mapping[str, Any]:
    """The headers of a message as a worker sees them: with its replays, and the events that are still to be handled."""
    if replays is None:  # as with nearly all
        return headers
    noted = dict(headers)
    if replayed_s:
        noted |= {REPLAYS: str(replays), REPLAYED_AT: datetime.fromtimestamp(replayed_s, UTC).isoformat()}
    return noted if events is None else noted | {EVENTS: events}


def release(connection: sqlite3.Connection, *, queue: str, owner: str, seqs: Sequence[int]) -> None:
    """Return messages to the queue, unchanged."""
    connection.executemany(
        "UPDATE deliveries SET owner = NULL WHERE queue = ? AND seq = ? AND owner = ?",
        [(queue, seq, owner) for seq in seqs],
    )


def release_others(connection: sqlite3.Connection, *, queue: str, owner: str, known: Sequence[int]) -> None:
    """Return messages that the owner has to the queue, except these."""
    connection.execute(_RELEASE_OTHERS, (queue, owner, _listed(known)))


def settle(
    connection: sqlite3.Connection, *, queue: str, owner: str, settled: Sequence[tuple[int, Outcome]]
) -> set[int]:
    """Carry out outcomes. Those of messages that another owner has taken since are ignored.

    The result has the numbers of the messages that are parked.
    """
    done: list[int] = []
    parked: set[int] = set()
    for seq, outcome in settled:
        match outcome:
            case Done():
                done.append(seq)
            case Again():
                if _remove(connection, queue, owner, [seq]):
                    _delay(connection, queue, seq, outcome)
            case Parked():
                if _remove(connection, queue, owner, [seq]):
                    _park(connection, queue, seq, outcome)
                if _is_dead(connection, queue, seq):  # also since a call that was written, and answered with an error
                    parked.add(seq)
    if done:
        forget(connection, queue, _remove(connection, queue, owner, done))
    return parked


def _remove(connection: sqlite3.Connection, queue: str, owner: str, seqs: Sequence[int]) -> list[int]:
    """Delete the owner's messages from the queue; return their numbers."""
    (ours,) = connection.execute(_OURS, (_listed(seqs), queue, owner)).fetchone()
    connection.execute(
        "DELETE FROM deliveries WHERE queue = ? AND seq IN (SELECT value FROM json_each(?))", (queue, ours)
    )
    removed: list[int] = msgspec.json.decode(ours)
    return removed


def forget(connection: sqlite3.Connection, queue: str, seqs: Sequence[int]) -> None:
    """Delete the envelopes that this queue, which has no row of them any more, was the last to need."""
    listed = _listed(seqs)
    connection.execute(_FORGET_REPLAYS, (topics.whole_name(queue), listed))
    if connection.execute(_FORGET_LAST, (listed,)).rowcount < len(seqs):
        connection.execute(_FORGET_ONE_OF_SEVERAL, (listed,))


def _delay(connection: sqlite3.Connection, queue: str, seq: int, again: Again) -> None:
    row = (queue, again.delay_s, seq, again.attempt)
    connection.execute("INSERT INTO delayed SELECT ?, offset + monotonic() + ?, ?, ? FROM retry_clock", row)
    error = (queue, seq, again.reason, end_of(again.kept_error))
    connection.execute("INSERT OR REPLACE INTO retry_errors VALUES (?, ?, ?, ?)", error)


def _is_dead(connection: sqlite3.Connection, queue: str, seq: int) -> bool:
    row = (topics.whole_name(queue), seq)
    return connection.execute("SELECT 1 FROM dead WHERE queue = ? AND seq = ?", row).fetchone() is not None


def _park(connection: sqlite3.Connection, queue: str, seq: int, parked: Parked) -> None:
    detail = parked.detail.encode(errors="backslashreplace").decode()  # the text of an error may hold lone surrogates
    row = (topics.whole_name(queue), seq, parked.attempts, parked.reason, detail)
    connection.execute("INSERT INTO dead VALUES (?, ?, ?, ?, ?, now())", row)
    if parked.events:
        connection.execute(_NOTE_EVENTS, (row[0], seq, ",".join(parked.events)))
