"""What queues have done with an event, in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from hookline.workers.event_states import EventState, claimed_or_tried
from hookline.workers.stores.postgresql import schema
from hookline.workers.stores.postgresql.pool import Connection, ConnectionPool, connection_settings


class PostgresqlEventStates:
    """Implements `EventStates`."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, url: str, timeout_s: float) -> "PostgresqlEventStates":
        """Raises Unreachable, or SettingsError as the store does."""
        pool = ConnectionPool(connection_settings(url, timeout_s), 1, timeout_s)
        try:
            await pool.open()
            await pool.run(schema.bring_forward)
        except BaseException:
            await pool.close()
            raise
        return cls(pool)

    async def close(self) -> None:
        await self._pool.close()

    async def of(self, event_id: str, queues: Sequence[str]) -> Sequence[EventState]:
        return await self._pool.run(partial(_states, event_id=event_id, queues=queues))


async def _states(connection: Connection, *, event_id: str, queues: Sequence[str]) -> list[EventState]:
    wanted = {"id": event_id, "queues": [*queues]}
    handled: dict[str, datetime] = dict(await (await connection.execute(_HANDLED, wanted)).fetchall())
    claims = {queue: claim for queue, *claim in await (await connection.execute(_CLAIMS, wanted)).fetchall()}
    found = []
    for queue in queues:
        if queue in handled:
            found.append(EventState(queue=queue, state="finished", finished_at=handled[queue]))
        elif queue in claims:
            found.append(claimed_or_tried(queue, *claims[queue]))
        else:
            found.append(EventState(queue=queue, state="unknown"))
    return found


_HANDLED = "SELECT queue, finished_at FROM hookline_handled WHERE id = %(id)s AND queue = ANY(%(queues)s)"
_CLAIMS = """SELECT queue, owner, failures, deaths FROM hookline_claims
    WHERE id = %(id)s AND queue = ANY(%(queues)s)"""
