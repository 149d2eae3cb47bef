"""Says which line of a team's code keeps the event loop from running.

A function that blocks, such as `time.sleep` or a driver without `await`, stops everything in its process: other events,
answers to providers, health and metrics. So a thread looks, and names the line while it blocks.
"""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hookline.workers.user_code import running_line

log = logging.getLogger("hookline")

STALLED_S = 1.0
_AGAIN_S = 60.0


@contextmanager
def watching_loop(stalled_s: float = STALLED_S) -> Iterator[None]:
    """Watch the running event loop. A line that blocks it is logged, once a minute for each file."""
    watch = _LoopWatch(asyncio.get_running_loop(), stalled_s)
    try:
        yield
    finally:
        watch.close()


class _LoopWatch:
    def __init__(self, loop: asyncio.AbstractEventLoop, stalled_s: float) -> None:
        self._loop = loop
        self._stalled_s = stalled_s
        self._look_s = stalled_s / 2
        self._watched = threading.get_ident()
        self._logged_s: dict[str, float] = {}
        self._closing = threading.Event()
        self._tick()
        self._thread = threading.Thread(target=self._run, name="event loop watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._next.cancel()
        self._closing.set()
        self._thread.join()

    def _tick(self) -> None:
        self._ticked_s = time.monotonic()
        self._next = self._loop.call_later(self._look_s, self._tick)

    def _run(self) -> None:
        looked_s = time.monotonic()
        while not self._closing.wait(self._look_s):
            before_s, looked_s = looked_s, time.monotonic()
            was_frozen = looked_s - before_s > 2 * self._stalled_s  # the whole process, or the machine
            if not was_frozen and looked_s - self._ticked_s > self._stalled_s + self._look_s:
                self._report(looked_s)

    def _report(self, now_s: float) -> None:
        frame = sys._current_frames().get(self._watched)  # noqa: SLF001  documented, for such uses
        line = None if frame is None else running_line(frame)
        if line is None or now_s - self._logged_s.get(line.path, -_AGAIN_S) < _AGAIN_S:
            return
        self._logged_s[line.path] = now_s
        log.warning(
            "%s:%d blocks this process for more than %g s: no event is handled and no callback answered meanwhile; "
            "await what it waits for, or call it with `await asyncio.to_thread(…)`",
            line.path,
            line.number,
            self._stalled_s,
        )
