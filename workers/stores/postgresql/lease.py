"""The name under which a process holds things in PostgreSQL, and the signs of life that keep it."""

import uuid

import psycopg

from hookline.workers.stores.heartbeat import LEASE_S
from hookline.workers.stores.postgresql.pool import unreachable

# After a start of the server nobody had a chance to show up yet; until then everybody lives who lived before.
ALIVE = f"""SELECT owner FROM hookline_owners
    WHERE greatest(seen, pg_postmaster_start_time()) > clock_timestamp() - interval '{LEASE_S:g} s'"""  # noqa: S608
CREATE = "CREATE TABLE IF NOT EXISTS hookline_owners (owner text PRIMARY KEY, seen timestamptz NOT NULL)"
BEAT = """INSERT INTO hookline_owners VALUES (%s, clock_timestamp())
    ON CONFLICT (owner) DO UPDATE SET seen = excluded.seen"""
_FORGET = "DELETE FROM hookline_owners WHERE owner = %s"
_FORGET_OLD = "DELETE FROM hookline_owners WHERE seen < clock_timestamp() - interval '1 day'"


class Owner:
    """Belongs to the heartbeat's thread, but for its name."""

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
        """Die at once rather than of age."""
        if self._connection is not None and not self._connection.closed:
            try:
                self._connection.execute(_FORGET, (self.name,))
            except psycopg.Error:
                return
            finally:
                self._connection.close()
