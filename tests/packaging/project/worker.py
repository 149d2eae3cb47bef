"""A worker that uses them all."""

from broker import append
from hookline import worker
from hookline.events import ParticipantJoined
from ingress import shown
from schemas import LINE
from workers import FILE


@worker(ParticipantJoined, queue="attendance")
async def attendance(event: ParticipantJoined) -> None:
    append(FILE, LINE.format(user=shown(event.user_id), room=event.room_id))
