"""The worker that is measured: it takes every event, and notes it."""

from benchmarks.notes import NOTES, kept
from schemas.events import Event
from workers import worker


@worker(topic="#", queue="bench", state=kept)
async def bench(event: Event) -> None:
    NOTES.note(event.id)
