"""Creates a SQLite file that only its owner can read."""

import os
from pathlib import Path


def create_private(path: Path) -> None:
    """Create the file (mode 600) if there is none. Raises OSError.

    A file that exists is never opened here. Closing any descriptor of a file releases all POSIX locks that the process
    has on it (https://www.sqlite.org/howtocorrupt.html, 2.2). SQLite would not know: another process could take itself
    for the last one, and delete the write-ahead log to which this one still writes.
    """
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
