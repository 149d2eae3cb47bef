"""The PostgreSQL store's statements. Every time in them is the server's."""

from collections.abc import Sequence

from hookline.workers.store import Acquired, Claim, Duplicate, LeasedElsewhere
from hookline.workers.stores.claim_coalescer import ClaimRelease, ClaimRequest, Completion
from hookline.workers.stores.postgresql.lease import ALIVE, CLOCK
from hookline.workers.stores.postgresql.pool import Connection, Cursor
from hookline.workers.stores.subject_key import subject_key

_PURGE_AT_MOST = 2000


async def claim(connection: Connection, owner: str, requests: Sequence[ClaimRequest]) -> list[Claim]:
    """One claim for each request, in order."""
    ours = [request for request in requests if request.ours]
    if ours:
        await connection.execute(_GIVE_UP, (*_keys(ours), owner))
    queues, ids = _keys(requests)
    arguments = {"queues": queues, "ids": ids, "numbers": [each.number for each in requests], "owner": owner}
    timed = [each for each in requests if each.subject is not None]
    # Nothing is fetched before the end. The statements then go out together with the end of their transaction: a
    # process that is frozen meanwhile locks no claim against others.
    async with connection.pipeline():
        claimed = await connection.execute(_CLAIM, arguments)
        # A later statement sees all that was finished before the claim was made; a completion deletes the claim.
        finished = await connection.execute(_FINISHED, _keys(requests))
        noted = await _newest(connection, timed) if timed else None
    newest = {(row[0], row[1]): row[2] for row in await noted.fetchall()} if noted is not None else {}
    mine = {
        (queue, event_id): Acquired(deaths, crashes, failures, newest.get((queue, event_id)), copy, tried)
        for queue, event_id, deaths, crashes, failures, copy, tried in await claimed.fetchall()
    }
    duplicates = set(await finished.fetchall())
    if needless := [request for request in requests if request.key in duplicates & mine.keys()]:
        await connection.execute(_DELETE, _keys(needless))
    keys = [request.key for request in requests]
    return [Duplicate() if key in duplicates else mine.get(key, LeasedElsewhere()) for key in keys]


async def finish(connection: Connection, completions: Sequence[Completion]) -> int:
    """Write completion records, in the open transaction if there is one. The result is the number of new ones."""
    timed = [each for each in completions if each.subject is not None]
    if not timed:
        return (await connection.execute(_FINISH, _keys(completions))).rowcount
    subjects = [subject_key(each.subject or "") for each in timed]
    newest = (_keys(timed)[0], subjects, [each.occurred_s for each in timed])
    return (await connection.execute(_FINISH_AND_NOTE, (*_keys(completions), *newest))).rowcount


async def release(connection: Connection, owner: str, release: ClaimRelease) -> None:
    failures = (release.tried, release.tried, release.failures)
    claim, numbers = (*release.key, owner, release.number), (release.copy, release.tried)
    await connection.execute(_RELEASE, (*failures, *numbers, *claim, *failures, *numbers))


async def note_attempt(
    connection: Connection, owner: str, key: tuple[str, str], number: int, failures: int, tried: int
) -> bool:
    """Whether the owner has the claim, of which an attempt is noted then."""
    arguments = (tried, tried, failures, tried, *key, owner, number)
    return (await connection.execute(_NOTE_ATTEMPT, arguments)).rowcount == 1


async def mark_exclusive(connection: Connection, owner: str, key: tuple[str, str], number: int) -> bool:
    """Whether the owner has the claim, which is marked then."""
    statement = f"UPDATE hookline_claims SET alone = true WHERE {_IS_OF}"  # noqa: S608  of constants
    return (await connection.execute(statement, (*key, owner, number))).rowcount == 1


async def start_anew(connection: Connection, owner: str, key: tuple[str, str], number: int, copy: int) -> bool:
    """Whether the owner has the claim, of which everything counted is forgotten then."""
    return (await connection.execute(_START_ANEW, (copy, *key, owner, number))).rowcount == 1


async def forget(connection: Connection, queue: str, event_ids: Sequence[str]) -> None:
    await connection.execute("DELETE FROM hookline_handled WHERE queue = %s AND id = ANY(%s)", (queue, [*event_ids]))


async def purge(connection: Connection, ttl_s: float) -> None:
    """Delete a bounded number of rows that are older than that."""
    for statement in _PURGE:
        await connection.execute(statement, (ttl_s, _PURGE_AT_MOST))


async def _newest(connection: Connection, requests: Sequence[ClaimRequest]) -> Cursor:
    """Finds the latest time of each subject, by queue and event id of the request."""
    subjects = [subject_key(each.subject or "") for each in requests]
    return await connection.execute(_NEWEST, (*_keys(requests), subjects))


def _keys(rows: Sequence[ClaimRequest] | Sequence[Completion]) -> tuple[list[str], list[str]]:
    return [row.queue for row in rows], [row.event_id for row in rows]


# Rows are locked in the order of their keys, so that groups of several processes never deadlock. A claim that this
# statement does not see may have an owner that it does not see yet. Times do not tell: the server's clock may be set
# back.
_CLAIM = f"""INSERT INTO hookline_claims AS c (queue, id, owner, claimed_at, claimed, number)
    SELECT queue, id, %(owner)s, now(), ({CLOCK}), number
    FROM unnest(%(queues)s::text[], %(ids)s::text[], %(numbers)s::bigint[]) AS requested (queue, id, number)
    WHERE NOT EXISTS (SELECT FROM hookline_handled h WHERE (h.queue, h.id) = (requested.queue, requested.id))
    ORDER BY queue, id
    ON CONFLICT (queue, id) DO UPDATE SET owner = excluded.owner, claimed_at = now(), claimed = excluded.claimed,
        number = excluded.number,
        deaths = c.deaths + (c.owner IS NOT NULL)::int,
        crashes = c.crashes + (c.owner IS NOT NULL AND c.alone)::int, alone = false
    WHERE c.owner IS NULL
        OR (c.owner <> excluded.owner AND c.owner NOT IN ({ALIVE}) AND EXISTS (SELECT FROM hookline_claims seen
            WHERE (seen.queue, seen.id, seen.owner, seen.number) = (c.queue, c.id, c.owner, c.number)))
    RETURNING queue, id, deaths, crashes, failures, copy, tried"""  # noqa: S608  of constants
_REQUESTED = "SELECT * FROM unnest(%s::text[], %s::text[]) AS requested (queue, id)"
_FINISHED = f"SELECT queue, id FROM hookline_handled JOIN ({_REQUESTED}) requested USING (queue, id)"  # noqa: S608
_DELETE = f"""DELETE FROM hookline_claims WHERE (queue, id) IN (SELECT queue, id FROM hookline_claims
    JOIN ({_REQUESTED}) requested USING (queue, id) ORDER BY queue, id FOR UPDATE OF hookline_claims)"""  # noqa: S608
_GIVE_UP = f"""UPDATE hookline_claims c SET owner = NULL FROM ({_REQUESTED}) requested
    WHERE (c.queue, c.id) = (requested.queue, requested.id) AND owner = %s"""  # noqa: S608
# One statement is a transaction by itself: one round trip to the server instead of four.
_REQUESTED_AND_DELETED = f"""WITH requested AS ({_REQUESTED}),
    deleted AS (DELETE FROM hookline_claims WHERE (queue, id) IN (SELECT queue, id FROM hookline_claims
        JOIN requested USING (queue, id) ORDER BY queue, id FOR UPDATE OF hookline_claims))"""  # noqa: S608
_NOTED = """noted AS (INSERT INTO hookline_newest AS n SELECT queue, subject, max(occurred_s), now()
        FROM unnest(%s::text[], %s::text[], %s::float8[]) AS noted (queue, subject, occurred_s)
        GROUP BY queue, subject ORDER BY queue, subject
        ON CONFLICT (queue, subject) DO UPDATE
        SET occurred_s = greatest(n.occurred_s, excluded.occurred_s), noted_at = now())"""
_HANDLED = """INSERT INTO hookline_handled SELECT queue, id, now() FROM requested ORDER BY queue, id
    ON CONFLICT DO NOTHING"""
_FINISH = f"{_REQUESTED_AND_DELETED} {_HANDLED}"
_FINISH_AND_NOTE = f"{_REQUESTED_AND_DELETED}, {_NOTED} {_HANDLED}"
_NEWEST = """SELECT queue, id, occurred_s FROM hookline_newest
    JOIN unnest(%s::text[], %s::text[], %s::text[]) AS requested (queue, id, subject) USING (queue, subject)"""
# A claim of the owner that is no newer than that of the number.
_IS_OF = "queue = %s AND id = %s AND owner = %s AND number <= %s"
_START_ANEW = f"""UPDATE hookline_claims SET deaths = 0, crashes = 0, failures = 0, copy = %s, tried = 0
    WHERE {_IS_OF}"""  # noqa: S608
# The failures of an attempt with a number are counted once.
_FAILURES = "failures + CASE WHEN %s = 0 OR tried < %s THEN %s ELSE 0 END"
_NOTE_ATTEMPT = f"""UPDATE hookline_claims SET failures = {_FAILURES}, tried = greatest(tried, %s)
    WHERE {_IS_OF}"""  # noqa: S608
_RELEASE = f"""WITH mine AS (
        SELECT queue, id,
            (deaths, crashes, {_FAILURES}, greatest(copy, %s), greatest(tried, %s)) = (0, 0, 0, 0, 0) AS is_over
        FROM hookline_claims WHERE {_IS_OF} FOR UPDATE),
    kept AS (UPDATE hookline_claims c
        SET owner = NULL, alone = false, failures = {_FAILURES}, copy = greatest(copy, %s), tried = greatest(tried, %s)
        FROM mine WHERE (c.queue, c.id) = (mine.queue, mine.id) AND NOT is_over)
    DELETE FROM hookline_claims c USING mine WHERE (c.queue, c.id) = (mine.queue, mine.id) AND is_over"""  # noqa: S608  of constants
_PURGE = tuple(
    f"""DELETE FROM hookline_{table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM hookline_{table}
    WHERE {column} < now() - %s * interval '1 s' ORDER BY {column} LIMIT %s FOR UPDATE SKIP LOCKED))"""  # noqa: S608
    for table, column in (("handled", "finished_at"), ("newest", "noted_at"), ("claims", "claimed_at"))
)
