"""Moving messages between queues of a worker that became ordered, or is ordered no more."""

import asyncio

from hookline.aio.lasting_task import start_lasting
from hookline.broker.rabbitmq.consumer import RabbitMQQueue, Subscription
from hookline.schemas import topics
from hookline.schemas.broker import Received
from hookline.schemas.envelope import subject_of

MAX_MOVING = 64


class Forwarding:
    """Moves every message of a queue: from a worker's own queue to its partitions, or back."""

    def __init__(self, queue: RabbitMQQueue, source: Subscription) -> None:
        self._queue = queue
        self._source = source
        self._free = asyncio.Semaphore(MAX_MOVING)
        self._moving: set[asyncio.Task[None]] = set()
        self._task = start_lasting(self._run(), f"moving the messages of {source.queue}")

    async def close(self) -> None:
        """Stop. Messages that were not moved stay in their queue."""
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._queue.close()
        if self._moving:
            await asyncio.wait(self._moving)

    async def _run(self) -> None:
        """Messages are published in the order of arrival, and confirmed in any order."""
        while True:
            await self._free.acquire()
            received = await self._queue.take()
            task = asyncio.create_task(self._queue.move(received, self._target(received)))
            self._moving.add(task)
            task.add_done_callback(self._moved)

    def _moved(self, task: asyncio.Task[None]) -> None:
        self._moving.discard(task)
        self._free.release()

    def _target(self, received: Received) -> str:
        if self._source.partition is not None:
            return topics.queue_name(self._source.queue)
        partition = topics.partition(subject_of(received.headers))
        return topics.partition_name(self._source.queue, partition)
