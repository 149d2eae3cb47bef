"""The old version of a worker: it wants one type of event."""

from hookline import Delivery, worker
from hookline.events import ParticipantJoined
from tests.chaos.workers.recording import TIMEOUT_S, recorded


@worker(ParticipantJoined, queue="deploy", timeout_s=TIMEOUT_S)
async def deploy(event: ParticipantJoined, delivery: Delivery) -> None:
    async with recorded("deploy", event, delivery):
        pass
