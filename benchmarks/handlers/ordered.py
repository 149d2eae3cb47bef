"""The same, with the events of each subject in order."""

from benchmarks.notes import NOTES, kept
from schemas.events import Event
from workers import worker


@worker(topic="#", queue="bench-ordered", state=kept, ordered=True)
async def bench_ordered(event: Event) -> None:
    NOTES.note(event.id)
