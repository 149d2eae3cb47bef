"""What a handler leaves behind: a line when a call begins, and one when it ends or is cancelled."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from zlib import crc32

from hookline import Delivery
from hookline.events import ParticipantJoined, ParticipantLeft

FOLDER = "HOOKLINE_CHAOS_CALLS"
TIMEOUT_S = 5.0
"""Of each call; no call takes half as long by itself."""
_CALLS = count()
_SLOW = {0: 1.5, 1: 0.3, 2: 0.3, 3: 0.05, 4: 0.05, 5: 0.05}
"""Seconds that some of a hundred events take; the others take no time."""


@asynccontextmanager
async def recorded(worker: str, event: ParticipantJoined | ParticipantLeft, delivery: Delivery) -> AsyncIterator[None]:
    """Record a call that lasts as long as its event wants."""
    line: dict[str, Any] = {
        "worker": worker,
        "room": event.room_id,
        "number": int(event.user_id),
        "call": f"{os.getpid()}-{next(_CALLS)}",
        "pid": os.getpid(),
        "attempt": delivery.attempt,
    }
    _append(worker, {**line, "what": "begin"})
    try:
        await asyncio.sleep(_SLOW.get(crc32(f"{event.room_id} {event.user_id}".encode()) % 100, 0))
        yield
    except asyncio.CancelledError:
        _append(worker, {**line, "what": "cancelled"})
        raise
    _append(worker, {**line, "what": "end"}, sync=True)


def _append(worker: str, line: dict[str, Any], *, sync: bool = False) -> None:
    """One write, which no other process can tear. The end of a call is the effect, so it is synced."""
    file = os.open(Path(os.environ[FOLDER]) / f"{worker}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(file, json.dumps({**line, "at": time.monotonic()}).encode() + b"\n")
        if sync:
            os.fdatasync(file)
    finally:
        os.close(file)
