"""How many deliveries a worker has in flight, and for how long at most."""

import math
from typing import Any

from hookline.schemas.topics import PARTITIONS
from hookline.workers.api import Worker
from hookline.workers.subject_queues import MANY

PREFETCH_FACTOR = 32
"""How many deliveries may be in flight for each that is handled."""

_MAX_PREFETCH = 512  # others cannot handle what this process has fetched, and if it dies, each is a crash suspect
_MIN_OF_PARTITION = 256
_MIN_OF_PARTITION_TO_REORDER = 1024


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


def partition_prefetch(worker: Worker[Any]) -> int:
    """How many events of a partition a process takes: enough that others get past a subject that waits."""
    reorders = worker.order is not None and worker.order.reorder_s
    return max(_MIN_OF_PARTITION_TO_REORDER if reorders else _MIN_OF_PARTITION, 4 * worker.concurrency)


def most_subjects_until_a_call(worker: Worker[Any]) -> int:
    """Of how many subjects events may be called between the claim on an event and its call.

    They were in flight when it was claimed, or when its turn came. The claim of an ordered worker may be one that was
    asked for ahead: then all other subjects with `MANY` events have a turn before, and as many others in between.
    """
    ahead = 0 if worker.order is None else PARTITIONS * partition_prefetch(worker) // MANY
    return 2 * (prefetch(worker) + ahead)


def longest_unsettled_s(worker: Worker[Any], fetched: int) -> float:
    """How long a message may be in the process, if it is the last of so many and every call takes all of its time."""
    return worker.timeout_s * (math.ceil(fetched / worker.concurrency) + 1)
