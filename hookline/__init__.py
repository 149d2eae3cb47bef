"""Queue-backed ingestion of the callbacks of real-time audio/video clouds.

Write a handler once, and it works for every provider:

    from hookline import worker
    from hookline.events import ParticipantJoined

    @worker(ParticipantJoined, queue="attendance")
    async def attendance(event: ParticipantJoined) -> None: ...
"""

from hookline.workers.api import Backoff, Call, Delivery, Middleware, Opener, Poisoned, Retry, Worker
from hookline.workers.declare import worker

__all__ = ["Backoff", "Call", "Delivery", "Middleware", "Opener", "Poisoned", "Retry", "Worker", "worker"]
