"""How many deliveries a worker has in flight, and for how long at most."""

import math
from typing import Any

from hookline.workers.api import Worker

PREFETCH_FACTOR = 32
"""How many deliveries may be in flight for each that is handled."""

_MAX_PREFETCH = 512  # others cannot handle what this process has fetched, and if it dies, each is a crash suspect


def prefetch(worker: Worker[Any]) -> int:
    """How many deliveries a process has in flight at most, while calls are short: more than it handles at a time.

    While some are handled, others are claimed or completed, so that the store is asked for many at once.
    """
    return max(worker.concurrency, min(PREFETCH_FACTOR * worker.concurrency, _MAX_PREFETCH))


def prefetch_while_slow(worker: Worker[Any]) -> int:
    """How many deliveries a process has in flight while calls are long: the next one is there when a call ends.

    More would be kept from other processes, and would have died with this one if it is killed.
    """
    return 2 * worker.concurrency


def longest_unsettled_s(worker: Worker[Any], fetched: int) -> float:
    """How long a message may be in the process, if it is the last of so many and every call takes all of its time."""
    return worker.timeout_s * (math.ceil(fetched / worker.concurrency) + 1)
