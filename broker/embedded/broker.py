"""The embedded broker: queues in one SQLite file, for one machine and with nothing to install."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from hookline.aio.completion import Completion
from hookline.aio.deadlines import Deadlines, time_out
from hookline.broker.embedded import history_tables, partitions, tables
from hookline.broker.embedded.dead_letters import EmbeddedDeadLetters
from hookline.broker.embedded.history import EmbeddedHistory
from hookline.broker.embedded.queue_states import EmbeddedQueueStates
from hookline.broker.embedded.retries import EmbeddedRetries
from hookline.broker.embedded.write_probe import WriteProbe
from hookline.schemas import topics
from hookline.schemas.broker import NOTHING_KEPT, Confirm, Done, Outcome, Parked, Received, Retention
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable, Unreachable
from hookline.sqlite.database import Database

log = logging.getLogger("hookline.broker")

_SETTLED_PART = 4  # of the prefetch: the rest keeps the worker busy until more are taken
_POLL_S = 0.1  # how soon a message of another process, or one whose delay has passed, is found
_HEADERS_BYTES = 1024  # about what an envelope takes beside its body
_DROP_BESIDES = 64  # the history drops more than is stored, so that it can shrink


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits beyond which a publish is refused: envelopes and bytes in flight, seconds to write, bytes on disk.

    In flight is what the writer holds, also after its publish has timed out. The history has a limit of its own, which
    comes on top of `max_bytes`.
    """

    max_in_flight: int = 1000
    publish_timeout_s: float = 5.0
    max_bytes: int = 10 * 2**30
    retention: Retention = NOTHING_KEPT
    max_bytes_in_flight: int = 32 * 2**20


class EmbeddedBroker:
    """Implements `schemas.broker.Broker` on a database that the caller opens and closes."""

    def __init__(self, database: Database, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self._database = database
        self._queues: list[EmbeddedQueue] = []
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
    """Implements `schemas.broker.Publisher`. Events published during one transaction are written in the next."""

    def __init__(self, database: Database, limits: Limits, wake: Callable[[], None]) -> None:
        self._database = database
        self._limits = limits
        self._wake = wake
        self._router = tables.Router()
        self._writing = Deadlines[asyncio.Future[None]](limits.publish_timeout_s, time_out)
        self._is_writable = True
        self._probe = WriteProbe(database, limits.max_bytes)

    @property
    def ready(self) -> bool:
        return not self.reason

    @property
    def reason(self) -> str:
        return "overloaded" if self._is_full else self._probe.lasting

    @property
    def _is_full(self) -> bool:
        database, limits = self._database, self._limits
        return database.unwritten >= limits.max_in_flight or database.unwritten_bytes >= limits.max_bytes_in_flight

    async def publish(self, envelope: Envelope) -> None:
        await self.begin(envelope)

    def begin(self, envelope: Envelope) -> Confirm:
        if self._is_full:
            raise NotDurable("too many events are being written")
        confirmed = Completion()
        try:
            written = self._database.share(self._store, envelope, size=len(envelope.body) + _HEADERS_BYTES)
        except Unreachable as error:
            raise self._refusal(error) from None
        self._writing.start(written)
        written.add_done_callback(partial(self._settle, confirmed))
        return confirmed

    async def close(self) -> None:
        """Return once the events in flight are written or timed out."""
        while writing := [written for written in self._writing.running if not written.done()]:
            await asyncio.wait(writing)
        self._writing.close()
        await self._probe.close()

    def _settle(self, confirmed: Completion, written: "asyncio.Future[None]") -> None:
        self._writing.stop(written)
        error = written.exception()
        if error is None:
            self._is_writable = True
            self._probe.succeeded()
            self._wake()
        elif isinstance(error, NotDurable | Unreachable | TimeoutError):
            self._probe.failed(error)
            error = self._refusal(error)
        if confirmed.done():  # its caller has stopped waiting
            return
        if error is None:
            confirmed.set_result(None)
        else:
            confirmed.set_exception(error)

    def _refusal(self, error: NotDurable | Unreachable | TimeoutError) -> NotDurable:
        match error:
            case NotDurable():
                return error
            case TimeoutError():
                return NotDurable("the event was not written in time")
            case _:
                self._log_once(error)
                return NotDurable("the event could not be written")

    def _store(self, connection: sqlite3.Connection, envelopes: Sequence[Envelope]) -> list[Exception | None]:
        """Store events if there is room. Old history is dropped either way."""
        limits = self._limits
        history_tables.drop(connection, retention=limits.retention, at_most=2 * len(envelopes) + _DROP_BESIDES)
        try:
            tables.check_room(connection, limits.max_bytes)
        except NotDurable as error:
            return [error] * len(envelopes)
        self._router.store(connection, envelopes=envelopes, retention=limits.retention)
        return [None] * len(envelopes)

    def _log_once(self, error: Unreachable) -> None:
        """Log the first error until a write succeeds, rather than one per event."""
        if self._is_writable:
            log.error("events cannot be written: %s", error)
            self._is_writable = False


class EmbeddedQueue:
    """Implements `schemas.broker.Queue`: takes up to `prefetch` messages and hands them out one by one.

    Messages that are done are deleted when there are enough of them, or at the next poll: each exchange with the file
    costs the same for one as for many.
    """

    def __init__(self, database: Database, name: str, prefetch: int, take: Callable[..., list[Received]]) -> None:
        self._database = database
        self._name = name
        self._prefetch = prefetch
        self._take = take
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

    async def settle(self, received: Received, outcome: Outcome) -> bool:
        """Returns at once, or once the message is a dead letter. One that is retried has no copy: it only moves."""
        self._settled.append((received.token, outcome))
        if len(self._settled) - self._exchanged >= self._enough or not isinstance(outcome, Done):
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
            step = partial(tables.release, queue=self._name, owner=self._database.owner, seqs=tuple(self._taken))
            await self._database.run(step)

    def _tell(self, parked: Collection[int], settled: Sequence[int]) -> None:
        """Tell those that wait for it whether their message was parked."""
        for seq in settled:
            waiting = self._parking.pop(seq, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(seq in parked)

    async def _feed(self) -> None:
        """Carry out outcomes and take new messages until closed."""
        while not self._closing:
            self._news.clear()
            try:
                await self._exchange()
                self._is_reached = True
            except Unreachable as error:
                log.error("%s: %s", self._name, error)
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
        step = partial(
            tables.exchange,
            queue=self._name,
            owner=self._database.owner,
            settled=settled,
            take=partial(self._take, limit=room),
        )
        self._exchanged = len(settled)
        try:
            messages, parked = await self._database.run(step, durable=bool(settled))
        finally:
            self._exchanged = 0
        del self._settled[: len(settled)]
        self._taken.difference_update(seq for seq, _ in settled)
        if self._parking:
            self._tell(parked, [seq for seq, _ in settled])
        self._taken.update(message.token for message in messages)
        for message in messages:
            self._buffer.put_nowait(message)
