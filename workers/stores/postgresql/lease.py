"""The name under which a process holds claims and partitions in PostgreSQL, and its heartbeat."""

import uuid
from collections.abc import Callable, Collection
from typing import Any

import psycopg

from hookline.schemas.leases import LEASE_S, MAX_STEP_S
from hookline.workers.stores.postgresql.pool import SESSION, unreachable

CLOCK = "SELECT value FROM hookline_lease_clock"
ALIVE = f"SELECT owner FROM hookline_owners WHERE seen >= ({CLOCK}) - {LEASE_S:g}"  # noqa: S608  of constants
# One statement, which is a transaction by itself: a process that is frozen between two holds up no other's heartbeat.
BEAT = f"""WITH clock AS (UPDATE hookline_lease_clock SET at = clock_timestamp(),
        value = value + least(greatest(extract(epoch FROM clock_timestamp() - at), 0), {MAX_STEP_S:g}) RETURNING value)
    INSERT INTO hookline_owners SELECT %s, value FROM clock ON CONFLICT (owner) DO UPDATE SET seen = excluded.seen
    RETURNING seen"""  # noqa: S608
# It waits for no lock: a claim that is being finished or released needs no freeing.
_FREE = """WITH known AS (SELECT * FROM unnest(%s::text[], %s::text[]) AS known (queue, id)),
    lost AS (SELECT queue, id, (deaths, crashes, failures, copy, tried) = (0, 0, 0, 0, 0) AS is_over
        FROM hookline_claims c
        WHERE owner = %s AND claimed < %s AND NOT EXISTS (SELECT FROM known k WHERE (k.queue, k.id) = (c.queue, c.id))
        FOR UPDATE SKIP LOCKED),
    kept AS (UPDATE hookline_claims c SET owner = NULL, alone = false FROM lost
        WHERE (c.queue, c.id) = (lost.queue, lost.id) AND NOT is_over)
    DELETE FROM hookline_claims c USING lost WHERE (c.queue, c.id) = (lost.queue, lost.id) AND is_over"""
_FORGET = "DELETE FROM hookline_owners WHERE owner = %s"
# What is left of processes that died.
_FORGET_OLD = (
    f"DELETE FROM hookline_owners WHERE seen < ({CLOCK}) - 3600",  # noqa: S608
    f"DELETE FROM hookline_members WHERE asked < ({CLOCK}) - 3600",  # noqa: S608
    f"DELETE FROM hookline_declined WHERE at < ({CLOCK}) - 3600",  # noqa: S608
)


class Owner:
    """Belongs to the heartbeat's thread, except for its name. `known` returns the claims that this process knows of.

    `renewed_at` is the lease clock's value at the last heartbeat.
    """

    def __init__(self, conninfo: str, known: Callable[[], Collection[tuple[str, str]]]) -> None:
        self.name = uuid.uuid4().hex
        self._conninfo = conninfo
        self._known = known
        self.renewed_at = 0.0
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def beat(self) -> None:
        """Renew the lease, and free claims of before the heartbeat before that are not known. Raises Unreachable.

        The time of that heartbeat is read before the known claims, so that no newer one is missing.
        """
        renewed_at = self.renewed_at
        known = self._known()
        with unreachable():
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self._conninfo, **SESSION)
                for statement in _FORGET_OLD:
                    self._connection.execute(statement)
            row = self._connection.execute(BEAT, (self.name,)).fetchone()
            self.renewed_at = row[0] if row else 0.0
            queues, ids = [queue for queue, _ in known], [event_id for _, event_id in known]
            self._connection.execute(_FREE, (queues, ids, self.name, min(renewed_at, self.renewed_at)))

    def end(self) -> None:
        """End the lease at once."""
        if self._connection is not None and not self._connection.closed:
            try:
                self._connection.execute(_FORGET, (self.name,))
            except psycopg.Error:
                return
            finally:
                self._connection.close()
