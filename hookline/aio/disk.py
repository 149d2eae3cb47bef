"""Waiting for the disk."""

import fcntl
import os

_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone does not reach the platter there


def sync(descriptor: int) -> None:
    """Return once the data of a file is on disk, which blocks the thread. Raises OSError."""
    if _FULL_SYNC is None:
        os.fdatasync(descriptor)
    else:
        fcntl.fcntl(descriptor, _FULL_SYNC)
