"""The queues of a worker: its own, its dead letters, and one for each partition if it is ordered."""

from dataclasses import dataclass

from aiormq.abc import AbstractConnection

from hookline.broker.rabbitmq.topology.arguments import KEPT, dead_lettering_to
from hookline.broker.rabbitmq.topology.declaring import DurableQueue, declare_all
from hookline.broker.rabbitmq.topology.register import register
from hookline.schemas import topics

_DELIVERY_LIMIT = 100  # a backstop: workers count attempts themselves, and the default differs between versions
_PARTITIONS_TAKE = 4  # times as long as one queue


@dataclass(frozen=True, slots=True)
class WorkerQueues:
    """The queues of one worker and its binding keys; with `by_partition`, those of an ordered one."""

    queue: str
    patterns: tuple[str, ...]
    by_partition: bool = False

    @property
    def keys(self) -> frozenset[str]:
        """The keys that bind the worker's queue, or its partitions.

        The own queue of an ordered worker has none: it keeps what was there before, and what is put there by name.
        """
        partitions = topics.PARTITION_WORDS if self.by_partition else ("*",)
        return frozenset(topics.binding(pattern, each) for pattern in self.patterns for each in partitions)

    @property
    def declarations(self) -> list[DurableQueue]:
        """Its dead letters, its own queue, and for each partition one with a single active consumer."""
        working = {**dead_lettering_to(topics.dead_name(self.queue)), "x-delivery-limit": _DELIVERY_LIMIT}
        whole = [
            DurableQueue(topics.dead_name(self.queue), KEPT),
            DurableQueue(topics.queue_name(self.queue), working),
        ]
        if not self.by_partition:
            return whole
        arguments = {**working, "x-single-active-consumer": True}
        names = (topics.partition_name(self.queue, each) for each in topics.PARTITION_WORDS)
        return whole + [DurableQueue(name, arguments) for name in names]


async def declare_worker(connection: AbstractConnection, queues: WorkerQueues, timeout_s: float) -> None:
    """Declare a worker's queues.

    Raises SettingsError if one exists in another form, or is missing and may not be declared.
    """
    await register(connection, queues.queue, timeout_s)
    name = topics.queue_name(queues.queue)
    if queues.by_partition:
        name, timeout_s = f"the partitions of {name}", timeout_s * _PARTITIONS_TAKE
    await declare_all(connection, queues.declarations, timeout_s, name)
