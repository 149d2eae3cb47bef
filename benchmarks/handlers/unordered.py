"""The worker that is measured: it takes every event, and notes it."""

from benchmarks.notes import Notes, kept
from schemas.events import Event
from workers import Delivery, worker


@worker(topic="#", queue="bench", state=kept)
async def bench(event: Event, delivery: Delivery[Notes]) -> None:
    delivery.state.note(event.id)
