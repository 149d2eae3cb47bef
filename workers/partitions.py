"""The partitions that are assigned to this process: consumed, and revoked, as processes come and go."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from hookline.schemas import topics
from hookline.schemas.broker import Queue, Received
from hookline.schemas.errors import HooklineError, Unreachable
from hookline.workers.store import Store

log = logging.getLogger("hookline.workers")

Open: TypeAlias = Callable[[str], Awaitable[Queue]]
"""Opens a consumer on the queue of a partition."""

Arrived: TypeAlias = Callable[[str, Queue, Received], None]
"""Called for each message, with its partition and the queue to settle it in."""

Leave: TypeAlias = Callable[[str, bool], Awaitable[None]]
"""Ends the work on a partition: returns once none of its events is in flight. The flag says to cancel them."""

ASK_S = 1.0


@dataclass(slots=True)
class _Consumer:
    """The consumer of an assigned partition."""

    queue: Queue
    taking: asyncio.Task[None]
    leaving: asyncio.Task[None] | None = None


class Partitions:
    """Asks the store every second which partitions are assigned to this process, and consumes those.

    A surplus partition is left in order: nothing new is taken, events in flight end, the queue is closed, and only then
    is the partition revoked. A partition that was lost, because the lease of this process ended, is left at once.
    """

    def __init__(self, queue: str, store: Store, open_: Open, arrived: Arrived, leave: Leave) -> None:
        self._queue = queue
        self._store = store
        self._open = open_
        self._arrived = arrived
        self._leave = leave
        self._consumers: dict[str, _Consumer] = {}

    async def keep(self) -> None:
        """Follow the assignment until cancelled."""
        while True:
            try:
                await self._assign()
            except HooklineError as error:
                log.warning("worker %s: its partitions cannot be assigned now: %s", self._queue, error)
            await asyncio.sleep(ASK_S)

    async def stop_taking(self) -> None:
        tasks = [task for consumer in self._consumers.values() for task in (consumer.taking, consumer.leaving) if task]
        for consumer in self._consumers.values():
            consumer.taking.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Close every consumer and revoke its partition, so that another process can have it at once."""
        await self.stop_taking()
        await asyncio.gather(*(self._end(partition) for partition in tuple(self._consumers)))

    async def _assign(self) -> None:
        assignment = await self._store.assign(self._queue, topics.PARTITION_WORDS)
        for partition, consumer in tuple(self._consumers.items()):
            if consumer.leaving is None and (partition in assignment.surplus or partition not in assignment.partitions):
                lost = partition not in assignment.partitions
                consumer.taking.cancel()
                consumer.leaving = asyncio.create_task(self._depart(partition, lost=lost))
        new = assignment.partitions - assignment.surplus - self._consumers.keys()
        begun = await asyncio.gather(*(self._begin(partition) for partition in sorted(new)), return_exceptions=True)
        for error in begun:
            if isinstance(error, BaseException):
                raise error

    async def _begin(self, partition: str) -> None:
        queue = await self._open(partition)
        self._consumers[partition] = _Consumer(queue, asyncio.create_task(self._take(partition, queue)))

    async def _take(self, partition: str, queue: Queue) -> None:
        while True:
            self._arrived(partition, queue, await queue.take())

    async def _depart(self, partition: str, *, lost: bool) -> None:
        if lost:
            log.warning("worker %s: another process has taken over partition %s", self._queue, partition)
        await self._leave(partition, lost)
        await self._end(partition)

    async def _end(self, partition: str) -> None:
        await self._consumers[partition].queue.close()
        self._consumers.pop(partition, None)
        with suppress(Unreachable):  # the lease of this process frees it later
            await self._store.revoke(self._queue, partition)
