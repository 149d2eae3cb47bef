"""An event loop that is busy with short turns: it lets go of the interpreter in each, too shortly for other threads."""

import asyncio
import time
from collections.abc import Callable

_TURN_S = 0.0003


async def busy_until(condition: Callable[[], bool], seconds: float) -> None:
    """Be busy until the condition holds, or for so many seconds of this thread's processor time."""
    end_s = time.thread_time() + seconds
    while not condition() and time.thread_time() < end_s:
        turn_end_s = time.thread_time() + _TURN_S
        while time.thread_time() < turn_end_s:
            pass
        await asyncio.sleep(0)
