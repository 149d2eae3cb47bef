"""The embedded broker: queues in one SQLite file, for one machine and with nothing to install."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from hookline.aio.causes import kind_and_place
from hookline.aio.lasting_task import start_lasting
from hookline.aio.throttle import Outage
from hookline.broker.embedded import partitions, tables
from hookline.broker.embedded.dead_letters import EmbeddedDeadLetters
from hookline.broker.embedded.history import EmbeddedHistory
from hookline.broker.embedded.publisher import EmbeddedPublisher, Limits
from hookline.broker.embedded.queue_states import EmbeddedQueueStates
from hookline.broker.embedded.retries import EmbeddedRetries
from hookline.schemas import topics
from hookline.schemas.broker import Done, Outcome, Parked, Received
from hookline.schemas.errors import Unreachable
from hookline.sqlite.database import Database

T = TypeVar("T")

log = logging.getLogger("hookline.broker")

_DONE = Done()
_SETTLED_PART = 4  # of the prefetch: the rest keeps the worker busy until more are taken
_PUT_BACK_EVERY_S = 1.0
_POLL_S = 0.1  # how soon a message of another process, or one whose delay has passed, is found


class EmbeddedBroker:
    """Implements `schemas.broker.Broker` on a database that the caller opens and closes."""

    def __init__(self, database: Database, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self._database = database
        self._queues: list[EmbeddedQueue] = []
        self._faults = QueueFaults(database, self._is_consumed)
        self.publisher = EmbeddedPublisher(database, limits, self._wake)
        self.history = EmbeddedHistory(database, limits.retention, limits.max_bytes)
        self.queue_states = EmbeddedQueueStates(database.path)
        self.dead_letters = EmbeddedDeadLetters(database, self._wake)
        self.retries = EmbeddedRetries(database, self._wake)

    @property
    def faults(self) -> list[str]:
        """None: everything is in the file."""
        return []

    async def declare_partitions(self, queue: str, patterns: Sequence[str]) -> None:
        step = partial(partitions.declare, queue=topics.check_queue(queue), patterns=patterns)
        await self._database.run(step)

    async def subscribe(
        self,
        queue: str,
        patterns: Sequence[str],
        prefetch: int,
        partition: str | None = None,
        *,
        unsettled_s: float = 0.0,  # noqa: ARG002  a message stays with a living process
    ) -> "EmbeddedQueue":
        if partition is None:
            name = topics.queue_name(topics.check_queue(queue))
            bindings = {topics.binding(pattern) for pattern in patterns}
            bind = partial(tables.bind, queue=name, patterns=bindings)
            undeclare = partial(partitions.undeclare, queue=queue)
            _, left = await asyncio.gather(self._database.run(bind), self._database.run(undeclare))
            for _ in range(0, left, partitions.MAX_MOVED):  # not until none is left: an ordered process may run still
                await self._database.run(partial(partitions.move_back, queue=queue))
            subscription = EmbeddedQueue(self._database, name, prefetch, tables.take, self._faults)
        else:
            name = topics.partition_name(queue, partition)
            subscription = EmbeddedQueue(self._database, name, prefetch, partitions.take, self._faults)
        self._queues = [*(each for each in self._queues if not each.closed), subscription]
        return subscription

    async def close(self) -> None:
        await self.publisher.close()
        for queue in self._queues:
            await queue.close()
        self._faults.close()

    def _is_consumed(self, name: str) -> bool:
        return any(each.name == name and not each.closed for each in self._queues)

    def _wake(self) -> None:
        for queue in self._queues:
            queue.wake()


class QueueFaults:
    """What failed in the queues of a process, which share a file and its faults.

    `unsure` has the queues in which a step has failed. It may have been written all the same, so this process may own
    messages there that no subscription knows.
    """

    def __init__(self, database: Database, is_consumed: Callable[[str], bool]) -> None:
        self.unsure: set[str] = set()
        self._database = database
        self._is_consumed = is_consumed
        self._unreached: set[str] = set()
        self._outage = Outage()
        self._tasks: set[asyncio.Task[None]] = set()

    def not_reached(self, queue: str, fault: str) -> None:
        self._unreached.add(queue)
        if (due := self._outage.due(fault)) is not None:
            log.error("%s: %s", queue, due)

    def reached(self, queue: str) -> None:
        self._unreached.discard(queue)
        if not self._unreached and self._outage.ends():
            log.info("%s: its file can be used again", queue)

    def left(self, queue: str) -> None:
        """Put back what a closed queue still owns once that can be written: another process may wait behind it."""
        self._unreached.discard(queue)
        if queue in self.unsure:
            task = start_lasting(self._put_back(queue), f"putting back what {queue} has taken")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """What is not put back yet is free once the lease of this process has ended."""
        for task in self._tasks:
            task.cancel()

    async def _put_back(self, queue: str) -> None:
        while queue in self.unsure and not self._is_consumed(queue):  # the next subscription does it, too
            try:
                if await self._database.run(partial(self._release, queue=queue)):
                    self.unsure.discard(queue)
            except Unreachable:
                await asyncio.sleep(_PUT_BACK_EVERY_S)

    def _release(self, connection: sqlite3.Connection, *, queue: str) -> bool:
        """Whether that was done. Belongs to the writer thread, where a new subscription may have come first."""
        if self._is_consumed(queue):
            return False
        tables.release_others(connection, queue=queue, owner=self._database.owner, known=())
        return True


class EmbeddedQueue:
    """Implements `schemas.broker.Queue`: takes up to `prefetch` messages and hands them out one by one.

    Messages that are done are deleted when there are enough of them, or at the next poll: each exchange with the file
    costs the same for one as for many.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        prefetch: int,
        take: Callable[..., list[Received]],
        faults: QueueFaults,
    ) -> None:
        self.name = name
        self._database = database
        self._prefetch = prefetch
        self._take = take
        self._faults = faults
        self._taken: set[int] = set()
        self._buffer: asyncio.Queue[Received] = asyncio.Queue()
        self._settled: list[tuple[int, Outcome]] = []
        self._parking: dict[int, asyncio.Future[bool]] = {}
        self._enough = max(1, prefetch // _SETTLED_PART)
        self._exchanged = 0  # how many of the settled ones are being written
        self._news = asyncio.Event()
        self._closing = False
        self._is_reached = False
        self._feeder = asyncio.create_task(self._feed())

    @property
    def attached(self) -> bool:
        """Whether the file could be read the last time."""
        return self._is_reached and not self._closing

    @property
    def closed(self) -> bool:
        return self._closing

    @property
    def unsettled(self) -> int:
        return len(self._taken) - len(self._settled)

    def wake(self) -> None:
        """Look for messages now, without waiting for the next poll."""
        self._news.set()

    async def take(self) -> Received:
        return await self._buffer.get()

    def take_arrived(self, most: int) -> Sequence[Received]:
        return [self._buffer.get_nowait() for _ in range(min(most, self._buffer.qsize()))]

    def done(self, received: Sequence[Received]) -> None:
        self._settled += [(each.token, _DONE) for each in received]
        if len(self._settled) - self._exchanged >= self._enough:
            self.wake()

    async def settle(self, received: Received, outcome: Outcome) -> bool:
        """Returns at once, or once the message is a dead letter. One that is retried has no copy: it only moves."""
        if isinstance(outcome, Done):
            self.done([received])
            return False
        self._settled.append((received.token, outcome))
        self.wake()
        if not isinstance(outcome, Parked) or self._closing:
            return False
        is_parked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._parking[received.token] = is_parked
        return await is_parked

    def holds(self, received: Received) -> bool:  # noqa: ARG002  all are ours until the queue is closed
        return not self._closing

    async def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self.wake()
        with suppress(Unreachable):
            await self._feeder
            await self._exchange()
            await self._run(partial(tables.release, seqs=tuple(self._taken)))
        self._faults.left(self.name)

    def _tell(self, parked: Collection[int], settled: Sequence[int]) -> None:
        """Tell those that wait for it whether their message was parked."""
        for seq in settled:
            waiting = self._parking.pop(seq, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(seq in parked)

    async def _feed(self) -> None:
        """Carry out outcomes and take new messages until closed, whatever fails meanwhile."""
        while not self._closing:
            self._news.clear()
            try:
                await self._exchange()
                self._faults.reached(self.name)
                self._is_reached = True
            except Exception as error:  # noqa: BLE001  a feeder that ended would leave its worker without messages
                fault = str(error) if isinstance(error, Unreachable) else kind_and_place(error)
                self._faults.not_reached(self.name, fault)
                self._is_reached = False
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._news.wait()

    async def _exchange(self) -> None:
        """Carry out outcomes and fill the buffer up to the prefetch.

        Outcomes that cannot be written are kept for the next call.
        """
        settled = tuple(self._settled)
        room = 0 if self._closing else self._prefetch - len(self._taken) + len(settled)
        known = tuple(self._taken) if self.name in self._faults.unsure else None
        step = partial(tables.exchange, settled=settled, known=known, take=partial(self._take, limit=room))
        self._exchanged = len(settled)
        try:
            messages, parked = await self._run(step, durable=bool(settled))
        finally:
            self._exchanged = 0
        if known is not None:
            self._faults.unsure.discard(self.name)
        del self._settled[: len(settled)]
        self._taken.difference_update(seq for seq, _ in settled)
        if self._parking:
            self._tell(parked, [seq for seq, _ in settled])
        self._taken.update(message.token for message in messages)
        for message in messages:
            self._buffer.put_nowait(message)

    async def _run(self, step: Callable[..., T], *, durable: bool = True) -> T:
        try:
            return await self._database.run(partial(step, queue=self.name, owner=self._database.owner), durable=durable)
        except Unreachable:
            self._faults.unsure.add(self.name)
            raise
