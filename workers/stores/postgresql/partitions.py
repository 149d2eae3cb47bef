"""Partitions in PostgreSQL: who holds them, and who has declined them.

Each statement is a transaction by itself: a process that is frozen between two of them holds no lock.
"""

from collections.abc import Collection, Mapping, Sequence

from hookline.workers.store import Assignment
from hookline.workers.stores.assignment import DECLINED_S, Decision, Holder, QueueState, decide
from hookline.workers.stores.postgresql.lease import ALIVE, BEAT, CLOCK
from hookline.workers.stores.postgresql.pool import Connection


async def assign(
    connection: Connection, owner: str, queue: str, partitions: Sequence[str], consuming: Collection[str]
) -> Assignment:
    """Divide the partitions, as `decide` says. What was read may change before it is written, which shows then."""
    await connection.execute(BEAT, (owner,))
    state = await _state(connection, queue)
    decision = decide(state, partitions, owner, consuming)
    await connection.execute(_ASKED, (queue, owner, state.now, state.now, queue, [*decision.reported]))
    mine = decision.assignment.partitions - decision.taken
    taken = await _take(connection, owner, queue, state, decision) if decision.taken else []
    return Assignment(mine.union(taken), decision.assignment.surplus)


async def revoke(connection: Connection, owner: str, queue: str, partition: str) -> None:
    statement = "DELETE FROM hookline_shares WHERE queue = %s AND share = %s AND owner = %s"
    await connection.execute(statement, (queue, partition, owner))


async def decline(connection: Connection, owner: str, queue: str, partition: str) -> None:
    await connection.execute(_DECLINE, (queue, partition, owner))


async def _state(connection: Connection, queue: str) -> QueueState:
    row = await (await connection.execute(_STATE, {"queue": queue})).fetchone()
    now, asked, holders, declined = row or (0.0, None, None, None)
    return QueueState(
        now,
        dict(asked or ()),
        {share: Holder(owner, reported) for share, owner, reported in holders or ()},
        {(share, owner): at for share, owner, at in declined or ()},
    )


async def _take(connection: Connection, owner: str, queue: str, state: QueueState, decision: Decision) -> Sequence[str]:
    before: Mapping[str, Holder] = state.holders
    names = sorted(decision.taken)
    held = [name for name in names if name in before]
    arguments = {
        "queue": queue,
        "owner": owner,
        "now": state.now,
        "reported": decision.taken_reported,
        "free": [name for name in names if name not in before],
        "held": held,
        "holders": [before[name].owner for name in held],
        "reports": [before[name].reported for name in held],
        "overdue": [*decision.overdue.keys()],
        "declining": [*decision.overdue.values()],
    }
    found = await connection.execute(_TAKE, arguments)
    return [name for (name,) in await found.fetchall()]


_STATE = f"""SELECT ({CLOCK}),
    (SELECT json_agg(json_build_array(owner, asked)) FROM hookline_members
        WHERE queue = %(queue)s AND owner IN ({ALIVE})),
    (SELECT json_agg(json_build_array(share, owner, reported)) FROM hookline_shares WHERE queue = %(queue)s),
    (SELECT json_agg(json_build_array(share, owner, at)) FROM hookline_declined
        WHERE queue = %(queue)s AND at >= ({CLOCK}) - {DECLINED_S:g})"""  # noqa: S608  of constants
_ASKED = """WITH asked AS (INSERT INTO hookline_members VALUES (%s, %s, %s)
        ON CONFLICT (queue, owner) DO UPDATE SET asked = excluded.asked)
    UPDATE hookline_shares SET reported = %s WHERE (queue, share) IN (SELECT queue, share FROM hookline_shares
        WHERE queue = %s AND share = ANY(%s) ORDER BY share FOR UPDATE)"""
_TAKE = """WITH free AS (INSERT INTO hookline_shares (queue, share, owner, reported)
        SELECT %(queue)s, share, %(owner)s, %(reported)s FROM unnest(%(free)s::text[]) share ORDER BY share
        ON CONFLICT DO NOTHING RETURNING share),
    held AS (SELECT s.share FROM hookline_shares s
        JOIN unnest(%(held)s::text[], %(holders)s::text[], %(reports)s::float8[]) AS before (share, owner, reported)
        USING (share, owner, reported) WHERE queue = %(queue)s ORDER BY s.share FOR UPDATE OF s),
    taken AS (UPDATE hookline_shares SET owner = %(owner)s, reported = %(reported)s
        WHERE queue = %(queue)s AND share IN (SELECT share FROM held) RETURNING share),
    declined AS (INSERT INTO hookline_declined
        SELECT %(queue)s, share, owner, %(now)s
        FROM unnest(%(overdue)s::text[], %(declining)s::text[]) AS overdue (share, owner)
        ON CONFLICT (queue, share, owner) DO UPDATE SET at = excluded.at)
    SELECT share FROM free UNION ALL SELECT share FROM taken"""
_DECLINE = f"""INSERT INTO hookline_declined SELECT %s, %s, %s, ({CLOCK})
    ON CONFLICT (queue, share, owner) DO UPDATE SET at = excluded.at"""
