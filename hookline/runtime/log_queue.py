"""A log handler that never waits: a thread writes the lines. What it cannot write in time is dropped and counted."""

import asyncio
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TextIO

MAX_LINES = 10_000
MAX_BYTES = 8 * 2**20
_GATHER_S = 0.005
_END_S = 2.0
_LOOK_S = 0.005


class QueuedHandler(logging.Handler):
    """Writes to a stream, at most `MAX_LINES` and `MAX_BYTES` behind. Once there is room, a line says what was dropped.

    Nobody may read the pipe behind stderr, and its disk may be full or hang. The thread writes to the file itself:
    Python's own buffer of the stream has a lock, which an exit would wait for.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._file = _file_of(stream)
        self._lines: deque[str] = deque()
        self._bytes = 0
        self._dropped = 0
        self.dropped_total = 0
        self._changed = threading.Condition()
        self._is_writing = False
        self._is_closing = False
        self._thread: threading.Thread | None = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Drop what is logged after the end: a thread that Python has stopped may hold a lock for ever."""
        if self._is_closing:
            return False
        return super().handle(record)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n"
        except Exception:  # noqa: BLE001  a line that cannot be formatted must not end what logs it
            self.handleError(record)
            return
        with self._changed:
            if len(self._lines) >= MAX_LINES or self._bytes + len(line) > MAX_BYTES:
                self._drop(1)
                return
            self._lines.append(line)
            self._bytes += len(line)
            if self._thread is None and not self._is_closing:
                self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything is written, for two seconds at most."""
        with self._changed:
            self._changed.wait_for(self._is_idle, _END_S)

    async def written(self, within_s: float) -> None:
        """Wait until everything is written, for this long at most. The loop goes on meanwhile."""
        until_s = time.monotonic() + within_s
        while not self._is_idle() and time.monotonic() < until_s:  # noqa: ASYNC110  the thread has no event of the loop
            await asyncio.sleep(_LOOK_S)

    def close(self) -> None:
        self.flush()
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        super().close()

    def _is_idle(self) -> bool:
        return not (self._lines or self._is_writing) or self._thread is None

    def _drop(self, count: int) -> None:
        self._dropped += count
        self.dropped_total += count

    def _write_all(self) -> None:
        """The thread."""
        while lines := self._next_lines():
            written = self._write("".join(lines))
            with self._changed:
                self._is_writing = False
                if not written:
                    self._drop(len(lines))
                self._changed.notify_all()

    def _next_lines(self) -> Sequence[str]:
        """What waits to be written, with a line about what was dropped before. Nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._is_closing)
            self._is_writing = bool(self._lines)
        time.sleep(_GATHER_S)  # a write of several lines costs as much as one of a single line
        with self._changed:
            lines = [*self._lines]
            self._lines.clear()
            self._bytes = 0
            dropped, self._dropped = self._dropped, 0
        if dropped and lines:
            lines.append(f"{self.format(_about_dropped(dropped))}\n")
        return lines

    def _write(self, text: str) -> bool:
        """Whether it was written."""
        try:
            if self._file is None:
                self._stream.write(text)
            else:
                _write_to(self._file, text.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):  # the reader is gone, the disk is full, or the stream is closed
            return False
        return True


def _file_of(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, AttributeError):  # of a test
        return None


def _write_to(file: int, data: bytes) -> None:
    """Write all of it, however long that takes; also to a file that another program made non-blocking."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(file, rest) :]
        except BlockingIOError:
            select.select([], [file], [], 1.0)


def _about_dropped(count: int) -> logging.LogRecord:
    text = "%d lines of the log were dropped: they came faster than they were read"
    return logging.LogRecord("hookline", logging.WARNING, __file__, 0, text, (count,), None)
