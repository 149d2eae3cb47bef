"""The new version of a worker: it wants two types of events from the same queue."""

from hookline import Delivery, worker
from hookline.events import ParticipantJoined, ParticipantLeft
from tests.chaos.workers.recording import TIMEOUT_S, recorded


@worker(ParticipantJoined, ParticipantLeft, queue="deploy", timeout_s=TIMEOUT_S)
async def deploy(event: ParticipantJoined | ParticipantLeft, delivery: Delivery) -> None:
    async with recorded("deploy", event, delivery):
        pass
