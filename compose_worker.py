"""The worker that compose.yaml runs until it is told of yours: says who came and who went.

HOOKLINE_WORKER=./attendance.py docker compose up -d
"""

import logging

from hookline import worker
from hookline.events import ParticipantJoined, ParticipantLeft

log = logging.getLogger("attendance")


@worker(ParticipantJoined, ParticipantLeft, queue="attendance")
async def attendance(event: ParticipantJoined | ParticipantLeft) -> None:
    """Log one line for each."""
    verb = "came to" if isinstance(event, ParticipantJoined) else "left"
    log.info("%r %s %r", event.user_id, verb, event.room_id)
