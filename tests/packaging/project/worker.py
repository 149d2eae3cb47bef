"""A worker that uses them all."""

from hookline import worker
from hookline.events import ParticipantJoined

try:
    from broker import append
    from ingress import shown
    from schemas import LINE
    from workers import FILE
except ImportError as error:
    raise RuntimeError("another package hides the modules of this project") from error


@worker(ParticipantJoined, queue="attendance")
async def attendance(event: ParticipantJoined) -> None:
    append(FILE, LINE.format(user=shown(event.user_id), room=event.room_id))
