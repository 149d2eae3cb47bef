"""The tables in PostgreSQL, in numbered steps. The table `hookline_schema` holds the number of the last step done.

A change of the tables is a new step at the end of `STEPS`; a step that has been released never changes. Step 1 finds
the tables where they were created before the steps had numbers.
"""

from collections.abc import Sequence
from typing import LiteralString

from psycopg.errors import InsufficientPrivilege

from hookline.schemas.errors import SettingsError
from hookline.workers.stores.postgresql.pool import Connection

_TABLES: tuple[LiteralString, ...] = (
    "CREATE TABLE IF NOT EXISTS hookline_owners (owner text PRIMARY KEY, seen timestamptz NOT NULL)",
    """CREATE TABLE IF NOT EXISTS hookline_claims (
        queue text NOT NULL, id text NOT NULL, owner text, claimed_at timestamptz NOT NULL, until timestamptz NOT NULL,
        alone boolean NOT NULL DEFAULT false, suspect boolean NOT NULL DEFAULT false,
        crashes integer NOT NULL DEFAULT 0, failures integer NOT NULL DEFAULT 0, PRIMARY KEY (queue, id))""",
    """CREATE TABLE IF NOT EXISTS hookline_handled (
        queue text NOT NULL, id text NOT NULL, finished_at timestamptz NOT NULL, PRIMARY KEY (queue, id))""",
    "CREATE INDEX IF NOT EXISTS hookline_handled_by_age ON hookline_handled (finished_at)",
    """CREATE TABLE IF NOT EXISTS hookline_newest (
        queue text NOT NULL, subject text NOT NULL, occurred_s double precision NOT NULL,
        noted_at timestamptz NOT NULL, PRIMARY KEY (queue, subject))""",
    "CREATE INDEX IF NOT EXISTS hookline_newest_by_age ON hookline_newest (noted_at)",
    """CREATE TABLE IF NOT EXISTS hookline_members (
        queue text NOT NULL, owner text NOT NULL, PRIMARY KEY (queue, owner))""",
    """CREATE TABLE IF NOT EXISTS hookline_shares (
        queue text NOT NULL, share text NOT NULL, owner text NOT NULL, PRIMARY KEY (queue, share))""",
    """CREATE TABLE IF NOT EXISTS hookline_room_events (
        id text PRIMARY KEY, occurred_at timestamptz NOT NULL, event bytea NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS hookline_room_events_by_age ON hookline_room_events (occurred_at)",
)
# The lease clock. The processes before had leases by the wall clock: all have ended.
_LEASE_CLOCK: tuple[LiteralString, ...] = (
    "CREATE TABLE hookline_lease_clock (value double precision NOT NULL, at timestamptz NOT NULL)",
    "INSERT INTO hookline_lease_clock VALUES (0, clock_timestamp())",
    "DELETE FROM hookline_owners",
    "ALTER TABLE hookline_owners ALTER COLUMN seen TYPE double precision USING 0",
    # `claimed` is the time of a claim by the lease clock. A crash is a death, too.
    """ALTER TABLE hookline_claims DROP COLUMN until, DROP COLUMN suspect,
        ADD COLUMN claimed double precision NOT NULL DEFAULT 0, ADD COLUMN deaths integer NOT NULL DEFAULT 0""",
    "UPDATE hookline_claims SET deaths = crashes",
)
# When each process last asked for partitions, when it consumed each, and which it has declined.
_REPORTS: tuple[LiteralString, ...] = (
    "ALTER TABLE hookline_members ADD COLUMN asked double precision NOT NULL DEFAULT 0",
    "ALTER TABLE hookline_shares ADD COLUMN reported double precision NOT NULL DEFAULT 0",
    """CREATE TABLE hookline_declined (queue text NOT NULL, share text NOT NULL, owner text NOT NULL,
        at double precision NOT NULL, PRIMARY KEY (queue, share, owner))""",
)
# Times are in microseconds since 1970, and those of rooms in seconds. `keys` are the event's keys in
# `hookline_event_keys`, with spaces between. The log moves the rows of `hookline_room_events` to these tables when it
# is opened, some at a time.
_EVENT_LOG: tuple[LiteralString, ...] = (
    """CREATE TABLE hookline_events (id text COLLATE "C" PRIMARY KEY, occurred_at bigint NOT NULL,
        received_at bigint NOT NULL, keys text NOT NULL, event bytea NOT NULL)""",
    "CREATE INDEX hookline_events_by_age ON hookline_events (received_at)",
    """CREATE TABLE hookline_event_keys (key text COLLATE "C" NOT NULL, occurred_at bigint NOT NULL,
        id text COLLATE "C" NOT NULL, PRIMARY KEY (key, occurred_at, id))""",
    """CREATE TABLE hookline_rooms (place text COLLATE "C" PRIMARY KEY, name text COLLATE "C" NOT NULL,
        received_at bigint NOT NULL)""",
    "CREATE INDEX hookline_rooms_by_name ON hookline_rooms (name)",
    "CREATE INDEX hookline_rooms_by_age ON hookline_rooms (received_at, place)",
)
# A process numbers its claims.
_CLAIM_NUMBERS: tuple[LiteralString, ...] = ("ALTER TABLE hookline_claims ADD COLUMN number bigint NOT NULL DEFAULT 0",)
# How often each event of the log was delivered again, and when last. Most were not, and have no row.
_REPEATS: tuple[LiteralString, ...] = (
    """CREATE TABLE hookline_event_repeats (
        id text COLLATE "C" PRIMARY KEY, count integer NOT NULL, received_at bigint NOT NULL)""",
    "CREATE INDEX hookline_event_repeats_by_age ON hookline_event_repeats (received_at)",
)
# The number of the newest copy of an event that a worker has passed on.
_COPY_NUMBERS: tuple[LiteralString, ...] = ("ALTER TABLE hookline_claims ADD COLUMN copy bigint NOT NULL DEFAULT 0",)
# The number of the copy that is passed on after the latest attempt that was noted.
_TRIED_NUMBERS: tuple[LiteralString, ...] = ("ALTER TABLE hookline_claims ADD COLUMN tried bigint NOT NULL DEFAULT 0",)
STEPS: tuple[Sequence[LiteralString], ...] = (
    _TABLES,
    _LEASE_CLOCK,
    _REPORTS,
    _EVENT_LOG,
    _CLAIM_NUMBERS,
    _REPEATS,
    _COPY_NUMBERS,
    _TRIED_NUMBERS,
)


async def bring_forward(connection: Connection) -> None:
    """Do the missing steps in one transaction. A process that starts at the same time waits, and finds them done.

    A role that may not create tables needs the right to do so only for a missing step. Raises SettingsError for tables
    that a newer version has written, and for a role without a right.
    """
    try:
        if await _version(connection) < len(STEPS):
            await _do_missing_steps(connection)
    except InsufficientPrivilege as error:
        raise SettingsError(
            f"store.url: PostgreSQL says {error.diag.message_primary!r}: start once with a role that may create "
            "tables, then grant this role SELECT, INSERT, UPDATE and DELETE on all tables hookline_*"
        ) from None


async def _version(connection: Connection) -> int:
    found = await (await connection.execute("SELECT to_regclass('hookline_schema') IS NOT NULL")).fetchone()
    return await _noted_version(connection) if found == (True,) else 0


async def _noted_version(connection: Connection) -> int:
    row = await (await connection.execute("SELECT version, current_database() FROM hookline_schema")).fetchone()
    version, database = row or (0, "")
    if version > len(STEPS):
        raise SettingsError(
            f"store.url: the tables in the PostgreSQL database {database} were written by a newer version of Hookline "
            f"(their schema version is {version}, and this version knows {len(STEPS)}): "
            "install the newer version, or name another database"
        )
    return int(version)


async def _do_missing_steps(connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('hookline tables'))")
        # Also makes this session see a table that another has created since: `to_regclass` alone would not.
        await connection.execute("CREATE TABLE IF NOT EXISTS hookline_schema (version integer NOT NULL)")
        for step in STEPS[await _noted_version(connection) :]:
            for statement in step:
                await connection.execute(statement)
        await connection.execute("DELETE FROM hookline_schema")
        await connection.execute("INSERT INTO hookline_schema VALUES (%s)", (len(STEPS),))
