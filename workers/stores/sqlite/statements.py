"""The SQLite store's statements on one queue. Each handles many events at once.

Events are parameters of a statement rather than one JSON text: an id is any text, and JSON in SQLite ends at a NUL.
"""

import math
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from itertools import chain
from operator import attrgetter
from typing import Any

from msgspec.structs import replace

from hookline.workers.store import Acquired, Claim, Duplicate, LeasedElsewhere
from hookline.workers.stores.claim_coalescer import ClaimRelease, ClaimRequest, Completion

_MAX_ROWS = 64  # to a statement
_NEVER_S = -math.inf
_PURGE_EVERY = 1000
_PURGE_AT_MOST = 2000


class StoreStatements:
    """The steps on one queue, for the process `owner`. Every thousand completions delete what is older than `ttl_s`."""

    def __init__(self, queue: str, owner: str, ttl_s: float) -> None:
        self._queue = queue
        self._owner = owner
        self._ttl_s = ttl_s
        self._completed_since_purge = 0

    def claim(self, connection: sqlite3.Connection, requests: Sequence[ClaimRequest]) -> list[Claim]:
        """The claims on events. Of two requests for the same event, the first gets it."""
        subjects = {each.subject for each in requests if each.subject is not None}
        newest = self._newest(connection, subjects) if subjects else {}
        new = 0
        for part in parts(requests):
            rows = flat([(each.event_id, each.number) for each in part])
            claim_new = _with_rows(_CLAIM_NEW, "(?, ?)", len(part), _UNLESS_HANDLED)
            new += connection.execute(claim_new, (self._queue, self._owner, *rows, self._queue)).rowcount
        if new == len(requests):  # as mostly
            return [Acquired(newest_s=newest.get(each.subject)) for each in requests] if newest else [_NEW] * new
        return [
            replace(claim, newest_s=newest.get(request.subject)) if isinstance(claim, Acquired) else claim
            for request, claim in zip(requests, self._claim_again(connection, requests), strict=True)
        ]

    def _claim_again(self, connection: sqlite3.Connection, requests: Sequence[ClaimRequest]) -> list[Claim]:
        """The claims on events, some of which the store knew before. Those on the others are made."""
        known = self._known(connection, requests)
        claims: list[Claim] = []
        again: list[tuple[str | int, ...]] = []
        for request in requests:
            event_id = request.event_id
            claim = known[event_id]
            if isinstance(claim, Acquired):
                known[event_id] = LeasedElsewhere()
                if claim is not _NEW:
                    counts = (claim.deaths, claim.crashes, claim.failures, claim.copy, claim.tried)
                    again.append((event_id, request.number, *counts))
            claims.append(claim)
        for part in parts(again):
            claim_again = _with_rows(_CLAIM_AGAIN, "(?, ?, ?, ?, ?, ?, ?)", len(part))
            connection.execute(claim_again, (self._queue, self._owner, *flat(part)))
        return claims

    def finish(self, connection: sqlite3.Connection, completions: Sequence[Completion]) -> list[None]:
        """Write completion records."""
        self.complete(connection, completions)
        return [None] * len(completions)

    def complete(self, connection: sqlite3.Connection, completions: Sequence[Completion]) -> int:
        """Write completion records. The result is the number of events that were not finished before."""
        new = 0
        for part in parts(sorted(completions, key=attrgetter("event_id"))):
            ids = [each.event_id for each in part]
            connection.execute(_of_events("DELETE FROM claims", len(ids)), (self._queue, *ids))
            new += connection.execute(_with_rows(_HANDLE, "(?)", len(ids)), (self._queue, *ids)).rowcount
        self._note_newest(connection, completions)
        self._purge_after(connection, len(completions))
        return new

    def release(self, connection: sqlite3.Connection, releases: Sequence[ClaimRelease]) -> list[None]:
        """Give up this process's claims on events."""
        for release in releases:
            claim = (*release.key, self._owner, release.number)
            noted = (release.tried, release.tried, release.failures, release.tried, release.copy)
            if connection.execute(_GIVE_UP + _IS_OF, (*noted, *claim)).rowcount:
                connection.execute(_FORGET_IF_NOTHING, release.key)
        return [None] * len(releases)

    def mark_exclusive(self, connection: sqlite3.Connection, event_id: str, number: int) -> bool:
        """Whether this process has the claim, which is marked then."""
        claim = (self._queue, event_id, self._owner, number)
        return connection.execute(_MARK + _IS_OF, claim).rowcount == 1

    def start_anew(self, connection: sqlite3.Connection, event_id: str, number: int, copy: int) -> bool:
        """Whether this process has the claim, of which everything counted is forgotten then."""
        claim = (self._queue, event_id, self._owner, number)
        return connection.execute(_START_ANEW + _IS_OF, (copy, *claim)).rowcount == 1

    def note_attempt(
        self, connection: sqlite3.Connection, event_id: str, number: int, failures: int, tried: int
    ) -> bool:
        """Whether this process has the claim, of which an attempt is noted then."""
        noted, claim = (tried, tried, failures, tried), (self._queue, event_id, self._owner, number)
        return connection.execute(_NOTE_ATTEMPT + _IS_OF, (*noted, *claim)).rowcount == 1

    def _note_newest(self, connection: sqlite3.Connection, completions: Sequence[Completion]) -> None:
        """Note the latest time of each subject. When that was noted is brought up to date only once in a while."""
        latest: dict[str, float] = {}
        for each in completions:
            if each.subject is not None and each.occurred_s > latest.get(each.subject, _NEVER_S):
                latest[each.subject] = each.occurred_s
        for part in parts(sorted(latest)):
            rows = (self._queue, *flat([(subject, latest[subject]) for subject in part]))
            recent_s = _NOTED_EVERY * self._ttl_s
            note = _with_rows(_NOTE_NEWEST, "(?, ?)", len(part), _IF_NOTED_RECENTLY)
            if connection.execute(note, (*rows, recent_s)).rowcount < len(part):
                connection.execute(_with_rows(_NOTE_NEWEST, "(?, ?)", len(part), _AND_NOTE_WHEN), rows)

    def _purge_after(self, connection: sqlite3.Connection, completed: int) -> None:
        self._completed_since_purge += completed
        if self._completed_since_purge >= _PURGE_EVERY:
            self._completed_since_purge = 0
            for statement in _PURGE:
                connection.execute(statement, (self._ttl_s, _PURGE_AT_MOST))

    def _known(self, connection: sqlite3.Connection, requests: Sequence[ClaimRequest]) -> dict[str, Claim]:
        """The answers for the first request of each event, also of a new one, whose claim was made just now.

        A claim that the process already had is no obstacle where the request is `ours`.
        """
        known: dict[str, Claim] = {}
        new, ours = {each.number for each in requests}, {each.event_id for each in requests if each.ours}
        for ids in parts([each.event_id for each in requests]):
            rows = connection.execute(_among(_LOOK_UP, "id", len(ids)), (*ids, self._queue)).fetchall()
            for event_id, owner, number, held, *counts in rows:
                is_mine = owner == self._owner
                if is_mine and number in new:
                    known[event_id] = _NEW
                elif held and not (is_mine and event_id in ours):
                    known[event_id] = LeasedElsewhere()
                else:
                    known[event_id] = _claim(*counts)
            finished = connection.execute(_among(_HANDLED, "id", len(ids)), (*ids, self._queue)).fetchall()
            known |= {event_id: Duplicate() for (event_id,) in finished}
        return known

    def _newest(self, connection: sqlite3.Connection, subjects: Collection[str]) -> dict[str | None, float]:
        """The latest time finished for each subject that has one."""
        newest: dict[str | None, float] = {}
        for part in parts([*subjects]):
            newest |= connection.execute(_among(_LATEST, "subject", len(part)), (*part, self._queue)).fetchall()
        return newest


def free_unknown(
    connection: sqlite3.Connection, owner: str, known: Collection[tuple[str, str]], claimed_before: float
) -> None:
    """Free the owner's claims of before that time by the lease clock, except those that it knows of."""
    statement = "SELECT queue, id, number FROM claims WHERE owner = ? AND claimed < ?"
    rows = connection.execute(statement, (owner, claimed_before)).fetchall()
    numbers = {(queue, event_id): number for queue, event_id, number in rows}
    for queue, event_id in numbers.keys() - set(known):
        release = ClaimRelease(queue, event_id, failures=0, copy=0, number=numbers[queue, event_id])
        StoreStatements(queue, owner, 0).release(connection, [release])


def _claim(died: int, alone: int, deaths: int, crashes: int, failures: int, *numbers: int) -> Claim:
    copy, tried = numbers
    return Acquired(deaths + died, crashes + (died and alone), failures, copy=copy, tried=tried)


def parts(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The rows in parts of what one statement takes."""
    for first in range(0, len(rows), _MAX_ROWS):
        yield rows[first : first + _MAX_ROWS]


def flat(rows: Sequence[Sequence[Any]]) -> list[Any]:
    """The values of rows, as parameters of a statement."""
    return list(chain.from_iterable(rows))


@cache
def insert(into: str, row: str, count: int) -> str:
    """A statement that inserts so many rows."""
    return f"INSERT {into} VALUES {', '.join([row] * count)}"  # noqa: S608  # constants only


@cache
def _with_rows(statement: str, row: str, count: int, rest: str = "") -> str:
    """A statement that inserts from so many rows. What they have in common is a parameter once."""
    return f"{statement} FROM (VALUES {', '.join([row] * count)}) {rest}"


@cache
def _of_events(statement: str, count: int) -> str:
    return f"{statement} WHERE queue = ? AND id IN ({', '.join('?' * count)})"


@cache
def _among(statement: str, key: str, count: int) -> str:
    """A statement about so many events or subjects. SQLite sorts the list of an IN before it looks anything up."""
    asked = f"WITH asked (asked_id) AS (VALUES {', '.join(['(?)'] * count)})"
    return f"{asked} {statement} ON queue = ? AND {key} = asked_id"


_NEW = Acquired()
# A subquery has its value once for all rows.
_LEASE_CLOCK, _NOW = "(SELECT value FROM lease_clock)", "(SELECT now())"
_CLAIM_NEW = f"INSERT OR IGNORE INTO claims SELECT ?, column1, ?, {_LEASE_CLOCK}, 0, 0, 0, 0, column2, 0, 0"
_UNLESS_HANDLED = "LEFT JOIN handled ON queue = ? AND id = column1 WHERE id IS NULL"
_CLAIM_AGAIN = f"""REPLACE INTO claims
    SELECT ?, column1, ?, {_LEASE_CLOCK}, 0, column3, column4, column5, column2, column6, column7"""
_HANDLE = f"INSERT OR IGNORE INTO handled SELECT ?, column1, {_NOW}"
# Columns 4 and 5: whether the claim is held, that is, its owner is alive; whether its owner has died.
_LOOK_UP = """SELECT id, owner, number, owner IN (SELECT owner FROM alive),
    owner IS NOT NULL AND owner NOT IN (SELECT owner FROM alive), alone, deaths, crashes, failures, copy, tried
    FROM asked CROSS JOIN claims"""
_HANDLED = "SELECT id FROM asked CROSS JOIN handled"
# The failures of an attempt with a number are counted once.
_NOTE_ATTEMPT = """UPDATE claims SET failures = failures + CASE WHEN ? = 0 OR tried < ? THEN ? ELSE 0 END,
    tried = max(tried, ?)"""
_GIVE_UP = _NOTE_ATTEMPT + ", owner = NULL, alone = 0, copy = max(copy, ?)"
_MARK = "UPDATE claims SET alone = 1"
_START_ANEW = "UPDATE claims SET deaths = 0, crashes = 0, failures = 0, copy = ?, tried = 0"
# A claim of the owner that is no newer than that of the number.
_IS_OF = " WHERE queue = ? AND id = ? AND owner = ? AND number <= ?"
_FORGET_IF_NOTHING = """DELETE FROM claims WHERE queue = ? AND id = ?
    AND owner IS NULL AND deaths = 0 AND crashes = 0 AND failures = 0 AND copy = 0 AND tried = 0"""
_LATEST = "SELECT subject, occurred_s FROM asked CROSS JOIN newest"
_NOTE_NEWEST = f"INSERT INTO newest SELECT ?, column1, column2, {_NOW}"
# Without a WHERE, SQLite takes ON for that of a join.
_NEWER = "WHERE true ON CONFLICT (queue, subject) DO UPDATE SET occurred_s = max(occurred_s, excluded.occurred_s)"
# The index of `noted_at` costs more to change than the row. So that time may be too early by this part of the TTL, and
# the row is kept for as much longer.
_NOTED_EVERY = 0.01
_IF_NOTED_RECENTLY, _AND_NOTE_WHEN = f"{_NEWER} WHERE noted_at >= {_NOW} - ?", f"{_NEWER}, noted_at = excluded.noted_at"
_PURGE = (
    """DELETE FROM handled WHERE (queue, id) IN (SELECT queue, id FROM handled WHERE finished_at < now() - ?
        ORDER BY finished_at LIMIT ?)""",
    f"""DELETE FROM newest WHERE (queue, subject) IN (SELECT queue, subject FROM newest
        WHERE noted_at < now() - {1 + _NOTED_EVERY} * ? ORDER BY noted_at LIMIT ?)""",  # noqa: S608  of constants
    # Claims that failed or died and were never repeated. The table is small: these, and those in flight.
    """DELETE FROM claims WHERE (queue, id) IN (SELECT queue, id FROM claims
        WHERE claimed < (SELECT value FROM lease_clock) - ? LIMIT ?)""",
)
