"""The worker that checks.py counts with. It writes down every event, and which container handled it."""

import json
import socket
from pathlib import Path

from hookline import worker
from hookline.events import Event

HOST = socket.gethostname()
HANDLED = Path(f"/var/lib/hookline/handled-{HOST}.jsonl")


@worker(topic="#", queue="counter")
async def counter(event: Event) -> None:
    line = json.dumps({"id": event.id, "source": event.source, "host": HOST})
    with HANDLED.open("a", encoding="utf-8") as file:  # noqa: ASYNC230  a line at a time
        file.write(f"{line}\n")
