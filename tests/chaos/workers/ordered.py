"""An ordered worker."""

from hookline import Delivery, worker
from hookline.events import ParticipantJoined, ParticipantLeft
from tests.chaos.workers.recording import TIMEOUT_S, recorded


@worker(ParticipantJoined, ParticipantLeft, queue="ordered", ordered=True, timeout_s=TIMEOUT_S)
async def ordered(event: ParticipantJoined | ParticipantLeft, delivery: Delivery) -> None:
    async with recorded("ordered", event, delivery):
        pass
