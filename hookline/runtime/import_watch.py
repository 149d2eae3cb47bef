"""Says at which line the import of a worker's file waits, such as a connection that it opens at its top level."""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hookline.workers.user_code import running_line

log = logging.getLogger("hookline")

LONG_S = 10.0


@contextmanager
def watching_import(name: str, long_s: float = LONG_S) -> Iterator[None]:
    """Log it once if the block takes longer."""
    watched = threading.get_ident()
    timer = threading.Timer(long_s, _say, (name, watched, long_s))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say(name: str, watched: int, long_s: float) -> None:
    frame = sys._current_frames().get(watched)  # noqa: SLF001  documented, for such uses
    line = None if frame is None else running_line(frame)
    where = "" if line is None else f", and is at {line.path}:{line.number}"
    log.warning(
        "the import of %s takes more than %g s%s: nothing starts before it ends; open what a worker needs in its state",
        name,
        long_s,
        where,
    )
