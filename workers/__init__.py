"""Write a handler once, and it works for every provider.

from schemas.events import ParticipantJoined
from workers import worker

@worker(ParticipantJoined, queue="attendance")
async def attendance(event: ParticipantJoined) -> None: ...
"""

from workers.api import Backoff, Call, Delivery, Middleware, Opener, Poisoned, Retry, Worker
from workers.declare import worker

__all__ = ["Backoff", "Call", "Delivery", "Middleware", "Opener", "Poisoned", "Retry", "Worker", "worker"]
