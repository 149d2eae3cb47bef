"""The name under which a process holds claims and partitions in PostgreSQL, and its heartbeat."""

import uuid
from typing import Any

import psycopg

from hookline.workers.stores.heartbeat import LEASE_S, MAX_STEP_S
from hookline.workers.stores.postgresql.pool import unreachable

CLOCK = "SELECT value FROM hookline_lease_clock"
ALIVE = f"SELECT owner FROM hookline_owners WHERE seen >= ({CLOCK}) - {LEASE_S:g}"  # noqa: S608  of constants
# One statement, which is a transaction by itself: a process that is frozen between two holds up no other's heartbeat.
BEAT = f"""WITH clock AS (UPDATE hookline_lease_clock SET at = clock_timestamp(),
        value = value + least(greatest(extract(epoch FROM clock_timestamp() - at), 0), {MAX_STEP_S:g}) RETURNING value)
    INSERT INTO hookline_owners SELECT %s, value FROM clock ON CONFLICT (owner) DO UPDATE SET seen = excluded.seen"""  # noqa: S608
_FORGET = "DELETE FROM hookline_owners WHERE owner = %s"
_FORGET_OLD = f"DELETE FROM hookline_owners WHERE seen < ({CLOCK}) - 3600"  # noqa: S608


class Owner:
    """Belongs to the heartbeat's thread, except for its name."""

    def __init__(self, conninfo: str) -> None:
        self.name = uuid.uuid4().hex
        self._conninfo = conninfo
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def beat(self) -> None:
        """Raises Unreachable."""
        with unreachable():
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self._conninfo, autocommit=True)
                self._connection.execute(_FORGET_OLD)
            self._connection.execute(BEAT, (self.name,))

    def end(self) -> None:
        """End the lease at once."""
        if self._connection is not None and not self._connection.closed:
            try:
                self._connection.execute(_FORGET, (self.name,))
            except psycopg.Error:
                return
            finally:
                self._connection.close()
