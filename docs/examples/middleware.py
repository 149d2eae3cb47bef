"""Two functions around a worker's function: one measures it, one skips some events."""

import logging
import time

from hookline import Call, Delivery, Middleware, worker
from hookline.events import CanonicalEvent, ParticipantJoined

log = logging.getLogger("welcome")


def timing(call: Call) -> Call:
    """Log how long each event took, failed ones included."""

    async def timed(event: CanonicalEvent, delivery: Delivery) -> None:
        started = time.perf_counter()
        try:
            await call(event, delivery)
        finally:
            log.info("%s took %.1f ms", delivery.topic, 1000 * (time.perf_counter() - started))

    return timed


def not_in(*rooms: str) -> Middleware:
    """Skip the events of some rooms: they are done without calling the function."""

    def build(call: Call) -> Call:
        async def step(event: CanonicalEvent, delivery: Delivery) -> None:
            if getattr(event, "room_id", None) not in rooms:
                await call(event, delivery)

        return step

    return build


@worker(ParticipantJoined, queue="welcome", middleware=[timing, not_in("test", "staging")])
async def welcome(event: ParticipantJoined) -> None:
    """Greet a participant."""
    log.info("welcome, %r", event.user_id)
