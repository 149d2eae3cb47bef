"""The worker that is measured with a `Delivery`: it takes every event, and records it with its attempt."""

from benchmarks.notes import NOTES, kept
from hookline import Delivery, worker
from hookline.events import Event


@worker(topic="#", queue="bench", state=kept)
async def bench(event: Event, delivery: Delivery) -> None:
    if delivery.attempt:
        NOTES.note(event.id)
