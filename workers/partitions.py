"""The partitions that are assigned to this process: consumed, and revoked, as processes come and go."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from hookline.aio.pulse import Pulse
from hookline.schemas import topics
from hookline.schemas.broker import Queue, Received
from hookline.schemas.errors import HooklineError, Unreachable
from hookline.schemas.leases import LEASE_S
from hookline.workers.store import Assignment, Store

log = logging.getLogger("hookline.workers")

Open: TypeAlias = Callable[[str], Awaitable[Queue]]
"""Opens a consumer on the queue of a partition."""

Arrived: TypeAlias = Callable[[str, Queue, Sequence[Received]], None]
"""Called for messages that have arrived, with their partition and the queue to settle them in."""

Leave: TypeAlias = Callable[[str, bool], Awaitable[None]]
"""Ends the work on a partition: returns once none of its events is in flight. The flag says to cancel them."""

ASK_S = 1.0
ALONE_S = LEASE_S - 3.0
"""How long a process goes on with its partitions without the store. After its lease, another process has them."""
_MOST_AT_ONCE = 256
DECLINE_S = 30.0
"""How soon a partition is declined again, while it has an event that is not wanted here. A store forgets it later."""


@dataclass(slots=True, eq=False)
class _Consumer:
    """The consumer of an assigned partition. It has no queue while it is being opened, and none once it is closed."""

    taking: asyncio.Task[None]
    queue: Queue | None = None
    leaving: asyncio.Task[None] | None = None
    declined_s: float = float("-inf")

    @property
    def attached(self) -> bool:
        """Whether the broker delivers the messages of the partition to this process."""
        return self.queue is not None and self.queue.attached


class Partitions:
    """Asks the store every second which partitions are assigned to this process, and consumes those.

    A surplus partition is left in order: nothing new is taken, events in flight end, the queue is closed, and only then
    is the partition revoked, again every second until the store has accepted it. So is a partition that another process
    has taken over because it was not consumed here for a while. If the lease of this process may have ended, it is left
    at once. A partition that is declined is surplus once another process may want it. If the store cannot be reached
    for nearly a lease, all partitions are left in order, and taken up again once the store answers.
    """

    def __init__(
        self,
        queue: str,
        store: Store,
        open_: Open,
        arrived: Arrived,
        leave: Leave,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._store = store
        self._open = open_
        self._arrived = arrived
        self._leave = leave
        self._clock = clock
        self._reached_s = clock()
        self._is_reached = True
        self._consumers: dict[str, _Consumer] = {}
        self._declining: set[str] = set()
        self._soon = Pulse()

    @property
    def unsettled(self) -> int:
        """How many messages the partitions' consumers have and have not settled."""
        return sum(each.queue.unsettled for each in self._consumers.values() if each.queue is not None)

    async def keep(self) -> None:
        """Follow the assignment until cancelled."""
        while True:
            await self._ask_once()
            await self._soon.wait(ASK_S)

    def decline(self, partition: str) -> None:
        """Hand a partition over to a process that wants what is not wanted here, if there is one."""
        consumer = self._consumers.get(partition)
        if consumer is not None and self._clock() - consumer.declined_s >= DECLINE_S:
            consumer.declined_s = self._clock()
            self._declining.add(partition)
            self._soon.send()

    async def stop_taking(self) -> None:
        """Return once nothing more is taken, and partitions that were being left have been left."""
        consumers = tuple(self._consumers.values())
        for consumer in consumers:
            consumer.taking.cancel()
        if tasks := [task for each in consumers for task in (each.taking, each.leaving) if task]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Close every consumer and revoke its partition, so that another process can have it at once."""
        await self.stop_taking()
        await asyncio.gather(*(self._end(each, consumer) for each, consumer in tuple(self._consumers.items())))

    async def _ask_once(self) -> None:
        asked_s = self._clock()
        try:
            async with asyncio.timeout(max(ASK_S, self._reached_s + ALONE_S - asked_s)):
                await self._decline_all()
                assignment = await self._store.assign(self._queue, topics.PARTITION_WORDS, self._consuming())
        except (HooklineError, TimeoutError) as error:
            self._not_reached(error)
            return
        has_lease = self._clock() - self._reached_s < ALONE_S  # a process may be frozen while it asks
        self._reached_s, self._is_reached = asked_s, True
        self._follow(assignment, has_lease=has_lease)
        await self._revoke_all(assignment.surplus - self._consumers.keys())

    async def _decline_all(self) -> None:
        for partition in tuple(self._declining):
            await self._store.decline(self._queue, partition)
            self._declining.discard(partition)

    def _not_reached(self, error: Exception) -> None:
        """Log the first failure of several. Leave all partitions before the lease of this process has ended."""
        if self._is_reached:
            reason = "the store does not answer" if isinstance(error, TimeoutError) else error
            log.warning("worker %s: its partitions cannot be assigned now: %s", self._queue, reason)
        self._is_reached = False
        kept = [each for each, consumer in self._consumers.items() if consumer.leaving is None]
        if kept and self._clock() - self._reached_s >= ALONE_S:
            log.error(
                "worker %s: the store is away for too long: its partitions are left until it is back", self._queue
            )
            for partition in kept:
                self._start_leaving(partition, revoke=False)

    def _consuming(self) -> Collection[str]:
        """The partitions whose messages are delivered to this process, also while they are being left."""
        return [partition for partition, consumer in self._consumers.items() if consumer.attached]

    def _follow(self, assignment: Assignment, *, has_lease: bool) -> None:
        """A process that has kept its lease ends its calls: another one that has a partition waits for its claims."""
        for partition, consumer in self._consumers.items():
            _raise_what_ended(consumer.leaving or consumer.taking)
            if consumer.leaving is None:
                if partition not in assignment.partitions:
                    log.warning("worker %s: another process has taken over partition %s", self._queue, partition)
                    self._start_leaving(partition, lost=not has_lease)
                elif partition in assignment.surplus:
                    self._start_leaving(partition)
        for partition in sorted(assignment.partitions - assignment.surplus - self._consumers.keys()):
            self._consumers[partition] = _Consumer(asyncio.create_task(self._consume(partition)))

    async def _revoke_all(self, partitions: Collection[str]) -> None:
        """Revoke partitions that were left before, where that has failed."""
        await asyncio.gather(*(self._revoke(partition) for partition in partitions))

    async def _consume(self, partition: str) -> None:
        consumer = self._consumers[partition]
        try:
            queue = consumer.queue = await self._open(partition)
        except HooklineError as error:
            log.warning("worker %s: partition %s cannot be consumed now: %s", self._queue, partition, error)
            if consumer.leaving is None:
                del self._consumers[partition]
            return
        while True:
            self._arrived(partition, queue, [await queue.take(), *queue.take_arrived(_MOST_AT_ONCE)])

    def _start_leaving(self, partition: str, *, lost: bool = False, revoke: bool = True) -> None:
        consumer = self._consumers[partition]
        consumer.taking.cancel()
        consumer.leaving = asyncio.create_task(self._depart(partition, consumer, lost=lost, revoke=revoke))

    async def _depart(self, partition: str, consumer: _Consumer, *, lost: bool, revoke: bool) -> None:
        await asyncio.wait([consumer.taking])
        await self._leave(partition, lost)
        await self._end(partition, consumer, revoke=revoke)

    async def _end(self, partition: str, consumer: _Consumer, *, revoke: bool = True) -> None:
        """The consumer is forgotten last, so that the partition is not begun again before it is revoked."""
        if consumer.queue is not None:
            await consumer.queue.close()
            consumer.queue = None
        if revoke:
            await self._revoke(partition)
        if self._consumers.get(partition) is consumer:
            del self._consumers[partition]

    async def _revoke(self, partition: str) -> None:
        with suppress(Unreachable):
            await self._store.revoke(self._queue, partition)


def _raise_what_ended(task: "asyncio.Task[None]") -> None:
    """A partition is never kept without taking from it, or leaving it: raise what the task fails with."""
    if task.done() and not task.cancelled():
        task.result()
