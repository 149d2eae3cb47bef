"""Signals that come before a process that serves can handle them: its modules take a second to load."""

import os
import signal
from types import FrameType

SERVING = frozenset({"ingress", "run", "worker"})
"""The commands that run until they are stopped."""

_STDIN = 0


def handle_early_signals() -> None:
    """End the process at SIGTERM or SIGINT with exit code 0: nothing has begun that must be finished.

    Process 1 of a container would not notice them without a handler. SIGHUP says that a terminal is gone, and ends the
    process, too; without a terminal it waits for `admit_hangup`.
    """
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    if os.isatty(_STDIN):
        signal.signal(signal.SIGHUP, _end)
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])


def admit_hangup() -> None:
    """Deliver SIGHUP, and one that has come earlier, to the handler that is set now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)  # an exception would be raised in the middle of whatever is loading
