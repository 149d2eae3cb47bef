"""Write a handler once, and it works for every provider.

from schemas.events import ParticipantJoined
from workers import worker

@worker(ParticipantJoined, queue="attendance")
async def attendance(event: ParticipantJoined) -> None: ...
"""

from workers.api import Backoff, Delivery, Poisoned, Retry, Worker, worker

__all__ = ["Backoff", "Delivery", "Poisoned", "Retry", "Worker", "worker"]
