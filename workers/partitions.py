"""The partitions of an ordered worker that this process holds: taken and let go as processes come and go."""

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
"""Consume from the queue of a partition."""

Arrived: TypeAlias = Callable[[str, Queue, Received], None]
"""Told of each message that is taken, with its partition and the queue to settle it in."""

Leave: TypeAlias = Callable[[str, bool], Awaitable[None]]
"""Stop with a partition: return once nothing of it is in hand. If told so, do not wait for what is, but give it up."""

ASK_S = 1.0


@dataclass(slots=True)
class _Tenure:
    """A partition while it is ours."""

    queue: Queue
    taking: asyncio.Task[None]
    leaving: asyncio.Task[None] | None = None


class Partitions:
    """Asks the store every second which partitions are this process's, and takes what comes in those.

    A partition that others wait for is left in order: nothing new is taken, what is in hand ends, the queue is closed,
    and only then may another process have it. One that is lost (this process was taken for dead) is left at once.
    """

    def __init__(self, queue: str, store: Store, open_: Open, arrived: Arrived, leave: Leave) -> None:
        self._queue = queue
        self._store = store
        self._open = open_
        self._arrived = arrived
        self._leave = leave
        self._tenures: dict[str, _Tenure] = {}

    async def keep(self) -> None:
        """Hold what is ours, until cancelled."""
        while True:
            try:
                await self._assign()
            except HooklineError as error:
                log.warning("worker %s: its partitions cannot be divided now: %s", self._queue, error)
            await asyncio.sleep(ASK_S)

    async def stop_taking(self) -> None:
        tasks = [task for tenure in self._tenures.values() for task in (tenure.taking, tenure.leaving) if task]
        for tenure in self._tenures.values():
            tenure.taking.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Give back what was taken, so that another process can have it at once."""
        await self.stop_taking()
        await asyncio.gather(*(self._end(partition) for partition in tuple(self._tenures)))

    async def _assign(self) -> None:
        held = await self._store.assign(self._queue, topics.PARTITION_WORDS)
        for partition, tenure in tuple(self._tenures.items()):
            if tenure.leaving is None and (partition in held.surplus or partition not in held.partitions):
                lost = partition not in held.partitions
                tenure.taking.cancel()
                tenure.leaving = asyncio.create_task(self._depart(partition, lost=lost))
        new = held.partitions - held.surplus - self._tenures.keys()
        begun = await asyncio.gather(*(self._begin(partition) for partition in sorted(new)), return_exceptions=True)
        for error in begun:
            if isinstance(error, BaseException):
                raise error

    async def _begin(self, partition: str) -> None:
        queue = await self._open(partition)
        self._tenures[partition] = _Tenure(queue, asyncio.create_task(self._take(partition, queue)))

    async def _take(self, partition: str, queue: Queue) -> None:
        while True:
            self._arrived(partition, queue, await queue.take())

    async def _depart(self, partition: str, *, lost: bool) -> None:
        if lost:
            log.warning("worker %s: another process has taken over partition %s", self._queue, partition)
        await self._leave(partition, lost)
        await self._end(partition)

    async def _end(self, partition: str) -> None:
        await self._tenures[partition].queue.close()
        self._tenures.pop(partition, None)
        with suppress(Unreachable):  # then it is free when this process has ended
            await self._store.revoke(self._queue, partition)
