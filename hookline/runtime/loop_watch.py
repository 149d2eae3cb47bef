"""Says which line of a team's code keeps the event loop from running, and sees to it that threads run beside it.

A function that blocks, such as `time.sleep` or a driver without `await`, stops everything in its process: other events,
answers to providers, health and metrics. So a thread looks, and names the line while it blocks. A function that awaits
again and again and never sleeps can starve the threads, those of stores and their heartbeats: then the thread does not
come to look.
"""

import asyncio
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from hookline.runtime.event_loop import let_threads_in
from hookline.schemas.process_states import BlockedState
from hookline.workers.user_code import Line, running_line

log = logging.getLogger("hookline")

STALLED_S = 1.0
LOOK_S = 0.5
_AGAIN_S = 60.0
_SHORT_S = 0.1
"""Delays up to that are those of a busy machine."""
WITHIN_S = 60.0
_STARVING_TICKS = 3
"""So often the event loop ticked and the thread did not look: it has not come to run."""


class _Delay(NamedTuple):
    """The event loop was late by `seconds`, since it ran `line`, if that is known."""

    at_s: float
    seconds: float
    line: Line | None


@contextmanager
def watching_loop(stalled_s: float = STALLED_S, look_s: float = LOOK_S) -> Iterator["LoopWatch"]:
    """Watch the running event loop. A line that blocks it is logged, once a minute for each file."""
    watch = LoopWatch(asyncio.get_running_loop(), stalled_s, look_s)
    try:
        yield watch
    finally:
        watch.close()


class LoopWatch:
    """Looks at the event loop once in each `look_s`. `blocked_s` is how long it did not run, in all."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stalled_s: float, look_s: float) -> None:
        self._loop = loop
        self._stalled_s = stalled_s
        self._look_s = look_s
        self._watched = threading.get_ident()
        self._logged_s: dict[str, float] = {}
        self._closing = threading.Event()
        self._delays: deque[_Delay] = deque()
        self._line: Line | None = None
        self.blocked_s = 0.0
        self._ticked_s = time.monotonic()
        self._unseen_ticks = 0
        self._next = loop.call_later(self._look_s, self._tick)
        self._thread = threading.Thread(target=self._run, name="event loop watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._next.cancel()
        self._closing.set()
        self._thread.join()

    def blocked(self) -> BlockedState | None:
        """How much of the last minute the event loop did not run, and the line at which that was seen last."""
        after_s = time.monotonic() - WITHIN_S
        delays = [each for each in self._delays if each.at_s > after_s]
        if not delays:
            return None
        line = next((each.line for each in reversed(delays) if each.line is not None), None)
        share = min(sum(each.seconds for each in delays) / WITHIN_S, 1.0)
        return BlockedState(share=share, line="" if line is None else f"{line.path}:{line.number}")

    def _tick(self) -> None:
        now_s = time.monotonic()
        self._note(now_s, now_s - self._ticked_s - self._look_s)
        self._ticked_s = now_s
        self._unseen_ticks += 1
        if self._unseen_ticks == _STARVING_TICKS:
            let_threads_in()
        self._next = self._loop.call_later(self._look_s, self._tick)

    def _note(self, now_s: float, late_s: float) -> None:
        line, self._line = self._line, None
        if late_s <= _SHORT_S:
            return
        self.blocked_s += late_s
        self._delays.append(_Delay(now_s, late_s, line))
        while self._delays[0].at_s <= now_s - WITHIN_S:
            self._delays.popleft()

    def _run(self) -> None:
        looked_s = time.monotonic()
        while not self._closing.wait(self._look_s):
            self._unseen_ticks = 0
            before_s, looked_s = looked_s, time.monotonic()
            was_frozen = looked_s - before_s > 2 * self._stalled_s  # the whole process, or the machine
            late_s = looked_s - self._ticked_s - self._look_s
            if was_frozen or late_s <= _SHORT_S:
                continue
            frame = sys._current_frames().get(self._watched)  # noqa: SLF001  documented, for such uses
            self._line = None if frame is None else running_line(frame)
            if self._line is not None and late_s > self._stalled_s:
                self._report(self._line, looked_s)

    def _report(self, line: Line, now_s: float) -> None:
        if now_s - self._logged_s.get(line.path, -_AGAIN_S) < _AGAIN_S:
            return
        self._logged_s[line.path] = now_s
        log.warning(
            "%s:%d blocks this process for more than %g s: no event is handled and no callback answered meanwhile; "
            "await what it waits for, or call it with `await asyncio.to_thread(…)`",
            line.path,
            line.number,
            self._stalled_s,
        )
