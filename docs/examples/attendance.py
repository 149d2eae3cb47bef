"""Append who joined and who left to a file, one JSON object a line."""

import asyncio
import json
import os
from pathlib import Path

from hookline import worker
from hookline.events import ParticipantJoined, ParticipantLeft

FILE = Path(os.environ.get("ATTENDANCE_FILE", "attendance.jsonl"))


@worker(ParticipantJoined, ParticipantLeft, queue="attendance")
async def attendance(event: ParticipantJoined | ParticipantLeft) -> None:
    """Write one line. Its id identifies a repeat, if the process dies between writing and settling."""
    what = "joined" if isinstance(event, ParticipantJoined) else "left"
    line = {
        "id": event.id,
        "at": event.occurred_at.isoformat(),
        "room": event.room_id,
        "user": event.user_id,
        what: True,
    }
    await asyncio.to_thread(append, json.dumps(line, ensure_ascii=False))


def append(line: str) -> None:
    """Return once the line is on the disk. It blocks, so it runs in a thread."""
    with FILE.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
