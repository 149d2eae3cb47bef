"""What queues have done with an event, in SQLite."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime

from hookline.sqlite.database import Database
from hookline.workers.event_states import EventState, claimed_or_tried


class SqliteEventStates:
    """Implements `EventStates`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, event_id: str, queues: Sequence[str]) -> Sequence[EventState]:
        return await self._database.run(
            lambda connection: [_state(connection, queue, event_id) for queue in queues], durable=False
        )


def _state(connection: sqlite3.Connection, queue: str, event_id: str) -> EventState:
    found = connection.execute(_HANDLED, (queue, event_id)).fetchone()
    if found is not None:
        return EventState(queue=queue, state="finished", finished_at=datetime.fromtimestamp(found[0], UTC))
    claim = connection.execute(_CLAIM, (queue, event_id)).fetchone()
    return EventState(queue=queue, state="unknown") if claim is None else claimed_or_tried(queue, *claim)


_HANDLED = "SELECT finished_at FROM handled WHERE queue = ? AND id = ?"
_CLAIM = "SELECT owner, failures, deaths FROM claims WHERE queue = ? AND id = ?"
