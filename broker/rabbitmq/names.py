"""Names of the queues that only RabbitMQ needs. Those that every broker has are in `schemas.topics`."""

from hookline.schemas import topics

REGISTER = "hookline._queues"  # no worker's queue begins with _


def retry_name(queue: str, delay_ms: int) -> str:
    """The queue in which failed deliveries of a worker wait for `delay_ms`."""
    return f"{topics.queue_name(queue)}.retry.{delay_ms}ms"


def bindings_name(queue: str) -> str:
    """The queue that keeps the note of a worker's bindings."""
    return f"{topics.queue_name(queue)}.bindings"


def lock_name(resource: str) -> str:
    """The exclusive queue that locks a resource, for example the bindings of a worker's queue."""
    return f"hookline.{resource}.lock"


def scan_of(queue: str) -> str:
    """The resource to lock while the dead letters of a queue, or the unrouted events, are gone through."""
    return f"{queue}.dead_letters"


def bound_name(queue: str, key: str) -> str:
    """The queue of a worker that a binding key binds: the one of a partition if the key ends with a partition word."""
    last = key.rpartition(".")[2]
    return topics.partition_name(queue, last) if last in topics.PARTITION_WORDS else topics.queue_name(queue)
