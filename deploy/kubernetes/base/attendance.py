"""The worker that worker.yaml runs until you put your own file here: it logs who joins and who leaves."""

import logging

from hookline import worker
from hookline.events import ParticipantJoined, ParticipantLeft

log = logging.getLogger("attendance")


@worker(ParticipantJoined, ParticipantLeft, queue="attendance")
async def attendance(event: ParticipantJoined | ParticipantLeft) -> None:
    """Log one line for each event."""
    verb = "joined" if isinstance(event, ParticipantJoined) else "left"
    log.info("%r %s %r", event.user_id, verb, event.room_id)
