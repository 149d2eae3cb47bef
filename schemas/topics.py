"""Names that every broker has: topics, routing keys, partitions, exchanges and queues.

A topic is `<provider>.<source>.<entity>.<action>`. The routing key adds the partition of the subject, `….p07`. Each
word consists of `[a-z0-9_-]`, so text from a sender never reaches a routing key unchanged. Names that only RabbitMQ
needs are in `broker.rabbitmq.names`.
"""

import re
from functools import lru_cache
from zlib import crc32

EXCHANGE = "hookline.events"
UNROUTED = "hookline.unrouted"
RECEIVED = "hookline.received"
HISTORY = "hookline.history"
PARTITIONS = 16

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_RESERVED_QUEUES = frozenset({"events", "unrouted", "received", "history"})
_MAX_WORD = 64
_STRANGE = re.compile(r"[^a-z0-9_-]+")
_PATTERN = re.compile(r"(\*|#|[a-z0-9_-]+)(\.(\*|#|[a-z0-9_-]+))*")


def word(text: str) -> str:
    """A topic word from a provider's own type: lower case, at most 64 characters, `-` for all others than allowed."""
    return _STRANGE.sub("-", text[:_MAX_WORD].lower()) or "-"


@lru_cache(maxsize=4096)  # each delivery of an event names its topic
def topic(provider: str, source: str, event_type: str) -> str:
    """The topic of an event; `event_type` is `room.created`, `unknown.<their type>` or `unreadable`."""
    return f"{provider}.{source}.{event_type}"


def partition(subject: str) -> str:
    """The partition word of a subject, `p00` to `p15`: crc32 of its UTF-8, the same in every process and language."""
    return PARTITION_WORDS[crc32(subject.encode()) % PARTITIONS]


PARTITION_WORDS = tuple(f"p{number:02}" for number in range(PARTITIONS))


def routing_key(topic: str, subject: str) -> str:
    """The AMQP routing key of one event."""
    return in_partition(topic, partition(subject))


def in_partition(topic: str, partition: str) -> str:
    """The same for all events of a topic whose subjects are in one partition."""
    return f"{topic}.{partition}"


def binding(pattern: str, partition: str = "*") -> str:
    """The binding key for a topic pattern, in any partition or in one.

    A `#` at the end matches the partition, too: RabbitMQ needs half the lookups for `#` as for `#.*`. Raises ValueError
    for a malformed pattern. A pattern consists of words of `[a-z0-9_-]`, `*` (one word) or `#` (any number of words),
    separated by dots.
    """
    if not _PATTERN.fullmatch(pattern):
        raise ValueError(f"topic {pattern!r} is not words of a-z, 0-9, _ and -, or * or #, separated by dots")
    return pattern if partition == "*" and pattern.endswith("#") else f"{pattern}.{partition}"


@lru_cache(maxsize=1024)
def _pattern_expression(pattern: str) -> re.Pattern[str]:
    expression = ""
    for part in pattern.split("."):
        expression += {"*": r"\.[^.]+", "#": r"(\.[^.]+)*"}.get(part, r"\." + re.escape(part))
    return re.compile(expression)


def matches(pattern: str, key: str) -> bool:
    """Whether a binding key matches a routing key, by the rules of AMQP topic exchanges."""
    return _pattern_expression(pattern).fullmatch(f".{key}") is not None


def check_queue(queue: str) -> str:
    """The name of a worker's queue. Raises ValueError if it is malformed or reserved."""
    if not NAME.fullmatch(queue) or queue in _RESERVED_QUEUES:
        raise ValueError(
            f"queue {queue!r} is not a name: 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit, "
            "and none of 'events', 'unrouted', 'received' and 'history'"
        )
    return queue


def queue_name(queue: str) -> str:
    """The broker's name for a worker's queue."""
    return f"hookline.{queue}"


def short_name(name: str) -> str:
    """The worker's name for a queue, given the broker's name."""
    return name.removeprefix("hookline.")


def partition_name(queue: str, partition: str) -> str:
    """The broker's name for the queue of one partition of an ordered worker."""
    return f"hookline.{queue}.{partition}"


def whole_name(name: str) -> str:
    """The broker's name for a worker's queue, given that name or the one of a partition."""
    whole, _, last = name.rpartition(".")
    return whole if last in PARTITION_WORDS else name


def dead_name(queue: str) -> str:
    """The broker's name for the dead letters of a worker's queue."""
    return f"hookline.{queue}.dead"
