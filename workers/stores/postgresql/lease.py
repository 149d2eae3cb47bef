"""The name under which a process holds claims and partitions in PostgreSQL, and its heartbeat."""

import uuid

import psycopg

from hookline.workers.stores.heartbeat import LEASE_S
from hookline.workers.stores.postgresql.pool import unreachable

# After a start of the server, every process counts as alive for one lease, so that it can send a heartbeat.
ALIVE = f"""SELECT owner FROM hookline_owners
    WHERE greatest(seen, pg_postmaster_start_time()) > clock_timestamp() - interval '{LEASE_S:g} s'"""  # noqa: S608
BEAT = """INSERT INTO hookline_owners VALUES (%s, clock_timestamp())
    ON CONFLICT (owner) DO UPDATE SET seen = excluded.seen"""
_FORGET = "DELETE FROM hookline_owners WHERE owner = %s"
_FORGET_OLD = "DELETE FROM hookline_owners WHERE seen < clock_timestamp() - interval '1 day'"


class Owner:
    """Belongs to the heartbeat's thread, except for its name."""

    def __init__(self, conninfo: str) -> None:
        self.name = uuid.uuid4().hex
        self._conninfo = conninfo
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None

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
