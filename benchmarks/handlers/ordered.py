"""The same, with the events of each subject in order."""

from benchmarks.notes import Notes, kept
from schemas.events import Event
from workers import Delivery, worker


@worker(topic="#", queue="bench-ordered", state=kept, ordered=True)
async def bench_ordered(event: Event, delivery: Delivery[Notes]) -> None:
    delivery.state.note(event.id)
