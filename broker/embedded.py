"""The embedded broker: queues in one SQLite file, for one machine and with nothing to install."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from broker import embedded_history_tables as history_tables
from broker import embedded_partitions as partitions
from broker import embedded_tables as tables
from broker.embedded_history import EmbeddedHistory
from broker.embedded_letters import EmbeddedLetters
from broker.sqlite import Database
from schemas import topics
from schemas.broker import NOTHING_KEPT, Outcome, Received, Retention
from schemas.envelope import Envelope
from schemas.errors import NotDurable, Unreachable

log = logging.getLogger("hookline.broker")

_POLL_S = 0.1  # how soon a message from another process, or one whose delay is over, is seen
_DROP_BESIDES = 64  # so that the history also shrinks, while it drops more than is stored


@dataclass(frozen=True, slots=True)
class Limits:
    """What the embedded broker takes on before it refuses: envelopes being written, seconds to write, bytes on disk.

    What is kept for replay may take the bytes of its own limit besides.
    """

    max_in_flight: int = 1000
    publish_timeout_s: float = 5.0
    max_bytes: int = 10 * 2**30
    retention: Retention = NOTHING_KEPT


class EmbeddedBroker:
    """Implements `schemas.broker.Broker` on a database that somebody else opens and closes."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._queues: list[EmbeddedQueue] = []
        self.publisher = EmbeddedPublisher(database, limits, self._wake)
        self.history = EmbeddedHistory(database, limits.retention, limits.max_bytes)
        self.letters = EmbeddedLetters(database, self._wake)

    @classmethod
    async def open(cls, database: Database, limits: Limits | None = None) -> "EmbeddedBroker":
        await database.run(tables.create)
        return cls(database, limits or Limits())

    async def declare_partitions(self, queue: str, patterns: Sequence[str]) -> None:
        step = partial(partitions.declare, queue=topics.check_queue(queue), patterns=patterns)
        await self._database.run(step)

    async def subscribe(
        self, queue: str, patterns: Sequence[str], prefetch: int, partition: str | None = None
    ) -> "EmbeddedQueue":
        if partition is None:
            name = topics.queue_name(topics.check_queue(queue))
            bindings = {topics.binding(pattern) for pattern in patterns}
            bind = partial(tables.bind, queue=name, patterns=bindings)
            undeclare = partial(partitions.undeclare, queue=queue)
            await asyncio.gather(self._database.run(bind), self._database.run(undeclare))
            subscription = EmbeddedQueue(self._database, name, prefetch, tables.take)
        else:
            name = topics.partition_name(queue, partition)
            subscription = EmbeddedQueue(self._database, name, prefetch, partitions.take)
        self._queues = [*(each for each in self._queues if not each.closed), subscription]
        return subscription

    async def close(self) -> None:
        await self.publisher.close()
        for queue in self._queues:
            await queue.close()

    def _wake(self) -> None:
        for queue in self._queues:
            queue.wake()


class EmbeddedPublisher:
    """Collects what is published while the last batch is being written, and writes it as the next."""

    def __init__(self, database: Database, limits: Limits, wake: Callable[[], None]) -> None:
        self._database = database
        self._limits = limits
        self._wake = wake
        self._router = tables.Router()
        self._pending: deque[tuple[Envelope, asyncio.Future[None]]] = deque()
        self._in_flight = 0
        self._writer: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        return self._in_flight < self._limits.max_in_flight

    async def publish(self, envelope: Envelope) -> None:
        if not self.ready:
            raise NotDurable("too many events are being written")
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((envelope, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        self._in_flight += 1
        try:
            async with asyncio.timeout(self._limits.publish_timeout_s):
                await written
        except TimeoutError:
            raise NotDurable("the event was not written in time") from None
        finally:
            self._in_flight -= 1

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer

    async def _write(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, deque()
            failure: Exception | None = None
            try:
                await self._store([envelope for envelope, _ in batch])
            except (Unreachable, NotDurable) as error:
                log.error("events could not be written: %s", error)
                failure = NotDurable("the event could not be written")
            _resolve([written for _, written in batch], failure)
            self._wake()

    async def _store(self, envelopes: list[Envelope]) -> None:
        """Both steps share a transaction; but if there is no room, the history is dropped all the same."""
        limits = self._limits
        drop = partial(history_tables.drop, retention=limits.retention, at_most=2 * len(envelopes) + _DROP_BESIDES)
        store = partial(self._router.store, envelopes=envelopes, max_bytes=limits.max_bytes, retention=limits.retention)
        await asyncio.gather(self._database.run(drop), self._database.run(store))


def _resolve(futures: list[asyncio.Future[None]], failure: Exception | None) -> None:
    for future in futures:
        if future.done():  # its publisher stopped waiting
            continue
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(failure)


class EmbeddedQueue:
    """Takes messages ahead, up to `prefetch`, and hands them out one by one."""

    def __init__(self, database: Database, name: str, prefetch: int, take: Callable[..., list[Received]]) -> None:
        self._database = database
        self._name = name
        self._prefetch = prefetch
        self._take = take
        self._taken: set[int] = set()
        self._buffer: asyncio.Queue[Received] = asyncio.Queue()
        self._settled: list[tuple[int, Outcome]] = []
        self._news = asyncio.Event()
        self._closing = False
        self._feeder = asyncio.create_task(self._feed())

    @property
    def closed(self) -> bool:
        return self._closing

    def wake(self) -> None:
        """Look for messages now rather than at the next poll."""
        self._news.set()

    async def take(self) -> Received:
        return await self._buffer.get()

    async def settle(self, received: Received, outcome: Outcome) -> None:
        self._settled.append((received.token, outcome))
        self.wake()

    def holds(self, received: Received) -> bool:  # noqa: ARG002  all are ours, or none
        return not self._closing

    async def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self.wake()
        with suppress(Unreachable):
            await self._feeder
            await self._write_down()
            step = partial(tables.release, queue=self._name, owner=self._database.owner, seqs=tuple(self._taken))
            await self._database.run(step)

    async def _feed(self) -> None:
        """Write down outcomes and take new messages, until closed."""
        while not self._closing:
            self._news.clear()
            try:
                await self._write_down()
                found = await self._fill()
            except Unreachable as error:
                log.error("%s: %s", self._name, error)
                found = 0
            if not found:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_S):
                        await self._news.wait()

    async def _write_down(self) -> None:
        """Carry out the outcomes so far; those that cannot be written now are tried again."""
        settled = tuple(self._settled)
        if settled:
            step = partial(tables.settle, queue=self._name, owner=self._database.owner, settled=settled)
            await self._database.run(step)
            del self._settled[: len(settled)]
            self._taken.difference_update(seq for seq, _ in settled)

    async def _fill(self) -> int:
        room = self._prefetch - len(self._taken)
        if room <= 0:
            return 0
        step = partial(self._take, queue=self._name, owner=self._database.owner, limit=room)
        messages = await self._database.run(step)
        self._taken.update(message.token for message in messages)
        for message in messages:
            self._buffer.put_nowait(message)
        return len(messages)
