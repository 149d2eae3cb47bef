"""An unordered worker."""

from hookline import Delivery, worker
from hookline.events import ParticipantJoined, ParticipantLeft
from tests.chaos.workers.recording import TIMEOUT_S, recorded


@worker(ParticipantJoined, ParticipantLeft, queue="plain", timeout_s=TIMEOUT_S)
async def plain(event: ParticipantJoined | ParticipantLeft, delivery: Delivery) -> None:
    async with recorded("plain", event, delivery):
        pass
