"""Count the visits of each room in PostgreSQL, every visit exactly once."""

from typing import Any

from psycopg import AsyncConnection

from hookline import Delivery, worker
from hookline.events import ParticipantJoined


@worker(ParticipantJoined, queue="visits", transactional=True)
async def visits(event: ParticipantJoined, delivery: Delivery) -> None:
    """Add one. It is committed together with the record that this event is finished: both, or neither."""
    connection: AsyncConnection[Any] = delivery.transaction
    await connection.execute(
        "INSERT INTO visits (room_id, visits) VALUES (%s, 1) "
        "ON CONFLICT (room_id) DO UPDATE SET visits = visits.visits + 1",
        [event.room_id],
    )
