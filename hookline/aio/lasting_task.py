"""Tasks that run for as long as what they belong to, and whose end nobody awaits."""

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any

from hookline.aio.causes import kind_and_place

log = logging.getLogger("hookline")


def start_lasting(running: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
    """Start a task. If it ends by an error, the log says so at once, and not when garbage is collected, or never."""
    task = asyncio.create_task(running)
    task.add_done_callback(partial(_log_end, what))
    return task


def _log_end(what: str, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s ended by %s: restart the process", what, kind_and_place(error))
