"""The metrics, as data: docs, dashboard and alert rules are checked against this table.

No label holds text of a sender: sources and queues are named in the settings and by workers, and the others come from
closed lists.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

PREFIX = "hookline_"

FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Buckets for what should take milliseconds."""
SLOW_S = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0)
"""Buckets for what may take minutes or hours."""


class Metric(msgspec.Struct, frozen=True):
    """One metric. A histogram has `buckets`, in its unit."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()


def _counter(name: str, labels: str, meaning: str) -> Metric:
    return Metric(f"{PREFIX}{name}", "counter", "", tuple(labels.split()), meaning)


def _gauge(name: str, labels: str, meaning: str, unit: str = "") -> Metric:
    return Metric(f"{PREFIX}{name}", "gauge", unit, tuple(labels.split()), meaning)


def _histogram(name: str, labels: str, meaning: str, buckets: tuple[float, ...] = FAST_S) -> Metric:
    return Metric(f"{PREFIX}{name}", "histogram", "seconds", tuple(labels.split()), meaning, buckets)


_ALL = (
    # The ingress.
    _counter("received_total", "source", "Genuine callbacks that were accepted, repeats included."),
    _counter("refused_total", "source reason", "Requests that were refused. `source` is `-` for one to no source."),
    _counter("id_conflicts_total", "source", "Callbacks with the id of another event that said something else."),
    _counter("published_total", "via", "Events that became durable: `broker`, or `spool` while RabbitMQ is away."),
    _histogram("answer_seconds", "", "From the head of a callback to its answer, for accepted callbacks."),
    _histogram("confirm_seconds", "", "From publishing an event until it is durable: confirmed, or in the spool."),
    _histogram(
        "provider_delay_seconds",
        "source",
        "From an event at the provider to its receipt, where the provider gives a time. A repeat counts, too.",
        SLOW_S,
    ),
    _gauge(
        "last_received_seconds",
        "source",
        "Age of the latest genuine callback of a source; before the first one, of the process.",
        "seconds",
    ),
    _gauge(
        "broker_fault", "reason", "1 while the queue takes no events: `broker_away`, `broker_alarm`, `broker_silent`, …"
    ),
    # The spool.
    _gauge("spool_events", "", "Events on this machine's disk that RabbitMQ does not have yet."),
    _gauge("spool_bytes", "", "Size of the spool.", "bytes"),
    _gauge("spool_oldest_seconds", "", "Age of the oldest event in the spool.", "seconds"),
    _gauge("spool_usable", "", "1 if the spool takes events, 0 if it is full, too old, or its disk fails."),
    _counter("spool_set_aside_total", "", "Records of the spool that could not be read, and were set aside."),
    # Queues, as this process sees them every 15 seconds.
    _gauge("queue_ready", "queue", "Messages that wait in a queue; of an ordered worker, in all its partitions."),
    _gauge("queue_oldest_seconds", "queue", "How old the oldest waiting message is at most.", "seconds"),
    _gauge("consumers", "queue", "Consumers of a queue in all processes; of an ordered worker, of its partitions."),
    _gauge("dead_letters", "queue", "Dead letters of a queue."),
    _gauge("unrouted", "", "Events that no queue wanted."),
    _counter("unrouted_dropped_total", "", "Unrouted events that were dropped for good: above `unrouted.max_events`."),
    # Workers.
    _counter("fetched_total", "queue", "Messages that this process has taken from a queue."),
    _counter("settled_total", "queue outcome reason", "Deliveries by their outcome: done, again or parked."),
    _gauge("in_flight", "queue", "Deliveries that this process works on."),
    _gauge("unsettled", "queue", "Messages that this process has of the broker and has not settled."),
    _gauge("concurrency", "queue", "How many calls of a worker's function may run in this process at a time."),
    _gauge("running_calls", "queue", "Calls of a worker's function that run in this process now."),
    _gauge("overdue_calls", "queue", "Of these, the calls that run on although their time-out has ended."),
    _gauge("oldest_call_seconds", "queue", "How long the oldest of these calls has run.", "seconds"),
    _gauge("held_subjects", "queue", "Subjects of an ordered worker, such as rooms, that a failed event holds back."),
    _histogram("handler_seconds", "queue", "Run time of a worker's function."),
    _histogram("delivery_seconds", "queue", "From taking a delivery from its queue to its outcome."),
    _histogram("done_after_seconds", "queue", "From the receipt of a callback to its end: done or parked.", SLOW_S),
    _counter(
        "crash_suspects_total",
        "queue",
        "Events that this process has handled alone, because they were in flight in processes that died.",
    ),
    _gauge("breaker_open", "queue", "1 while a queue's breaker is open, because most deliveries went wrong."),
    _counter("breaker_opened_total", "queue", "How often a queue's breaker has opened."),
    # What both rely on.
    _histogram(
        "store_seconds",
        "operation",
        "Answer time of the store: claim, finish, release, and transaction for its begin and commit.",
    ),
    _counter("reconnects_total", "connection", "Connections to RabbitMQ that were lost and are back."),
    _counter("partitions_lost_total", "queue", "Partitions that others took because this process lost its lease."),
    _counter(
        "guard_faults_total", "", "Looks of the topology guard, each ten seconds, at a fault that it could not mend."
    ),
    _counter(
        "bindings_restored_total",
        "queue",
        "Bindings that another tool had removed and the guard has made again; needs `broker.management_url`.",
    ),
    _gauge("ready", "", "1 if /readyz answers 200."),
    _counter(
        "loop_blocked_seconds_total",
        "",
        "Time for which a worker's process handled nothing, because a line of code blocked it or it got no CPU.",
    ),
    _counter("log_dropped_total", "", "Lines of the log that were dropped because they were not read in time."),
    _gauge("build_info", "version python", "Always 1; the labels say what runs."),
)

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}
"""Every metric by its name."""
