"""Keep a note of every uploaded recording, and show how a function can end."""

import asyncio
import os
from pathlib import Path

from hookline import Backoff, Delivery, Poisoned, Retry, worker
from hookline.events import RecordingUploaded

ARCHIVE = Path(os.environ.get("ARCHIVE", "archive"))


@worker(RecordingUploaded, queue="archive", timeout_s=10, retry=Backoff(first_s=2, attempts=5))
async def archive(event: RecordingUploaded, delivery: Delivery) -> None:
    """Write the file's name under the event's id: writing it twice does no harm."""
    if event.file_name is None:
        raise Poisoned("the provider named no file")  # parked now: another attempt would fail too
    if (ARCHIVE / "closed").exists():
        raise Retry(after_s=60)  # delivered again in a minute; no attempt is used up
    note = f"{event.file_name} (attempt {delivery.attempt})\n"
    await asyncio.to_thread((ARCHIVE / delivery.event_id).write_text, note)  # an OSError: again in 2 s, 5 s, 12.5 s …
