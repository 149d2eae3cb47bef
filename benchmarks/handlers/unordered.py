"""The worker that is measured: it takes every event, and records it."""

from benchmarks.notes import NOTES, kept
from hookline import worker
from hookline.events import Event


@worker(topic="#", queue="bench", state=kept)
async def bench(event: Event) -> None:
    NOTES.note(event.id)
