"""The workers' side of the reference broker: a client that treats the model server as ours treats RabbitMQ."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, assert_never

from hookline.aio.retry_delays import RetryDelays
from hookline.schemas import topics
from hookline.schemas.broker import Again, Done, Outcome, Parked, Received
from hookline.schemas.copies import as_next_copy
from hookline.schemas.dead_letters import EVENTS
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable, Unreachable
from tests.simulation.broker_server import BrokerServer, Channel, Message, QueueNotFound, Stream
from tests.simulation.network import NetworkPath

TIMEOUT_S = 10.0
RECONNECT = RetryDelays(first_s=1.0, max_s=5.0)
_READ_EVERY_S = 0.005
_PASS_ON = RetryDelays(first_s=1.0, max_s=30.0)


@dataclass(frozen=True, slots=True)
class Token:
    channel: Channel
    tag: int
    message: Message


class ModelQueue:
    """Implements `schemas.broker.Queue`, as `RabbitMQQueue` does: it consumes again after its channel was lost."""

    def __init__(
        self, broker: "ModelBroker", name: str, dead_name: str, prefetch: int, declare: Callable[[], object]
    ) -> None:
        self._broker = broker
        self._declare = declare
        self._name = name
        self._dead_name = dead_name
        self._prefetch = prefetch
        self._buffer: deque[Received] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._reading: asyncio.TimerHandle | None = None
        self._channel = broker.channel(prefetch, self._arrived)
        self._is_attached = False
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Raises Unreachable."""
        await self._attach()
        self._task = asyncio.create_task(self._stay_attached())

    async def take(self) -> Received:
        while True:
            while self._buffer:
                received = self._buffer.popleft()
                if self.holds(received):
                    return received
            await self._arrival()

    def take_arrived(self, most: int) -> Sequence[Received]:
        taken = [self._buffer.popleft() for _ in range(min(most, len(self._buffer)))]
        return [received for received in taken if self.holds(received)]

    def done(self, received: Sequence[Received]) -> None:
        for each in received:
            self._broker.acknowledge(each.token)

    async def settle(self, received: Received, outcome: Outcome) -> bool:
        token: Token = received.token
        server, owner = self._broker.server, self._broker.owner
        match outcome:
            case Done():
                self._broker.acknowledge(token)
                return False
            case Again():
                again = replace(_copy_of(token.message), attempt=outcome.attempt, returns=0)
                reason, delay_s = outcome.reason, max(0.0, outcome.delay_s)

                def retry() -> None:
                    server.retry(self._name, again, delay_s)
                    server.watch.passed_on(owner, again, reason)

                return await self._pass_on(token, retry)
            case Parked():
                dead = replace(token.message, notes=_death_notes(outcome))

                def park() -> None:
                    server.park(self._dead_name, dead)
                    server.watch.parked(owner, dead)

                return await self._pass_on(token, park)
            case _:
                assert_never(outcome)

    @property
    def attached(self) -> bool:
        return self._is_attached and not self._channel.lost.is_set()

    @property
    def unsettled(self) -> int:
        return len(self._buffer)

    def holds(self, received: Received) -> bool:
        token: Token = received.token
        return not token.channel.lost.is_set()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._channel.lost.set()
        self._broker.send(self._channel.end)

    async def _attach(self) -> None:
        self._is_attached = False
        self._channel = channel = self._broker.channel(self._prefetch, self._arrived)
        try:
            await self._consume(channel)
        except BaseException:  # the server may have carried it out
            channel.lost.set()
            self._broker.send(channel.end)
            raise
        self._is_attached = True

    async def _consume(self, channel: Channel) -> None:
        """A deleted queue is declared again."""

        def consume() -> None:
            self._broker.server.consume(self._name, channel)

        try:
            await self._broker.path.ask(consume)
        except QueueNotFound:
            await self._broker.path.ask(self._declare)
            await self._broker.path.ask(consume)

    async def _stay_attached(self) -> None:
        while True:
            await self._channel.lost.wait()
            for failures in count(1):
                await asyncio.sleep(RECONNECT.delay_s(failures))
                try:
                    await self._attach()
                except Unreachable:
                    continue
                break

    def _arrived(self, channel: Channel, message: Message, tag: int) -> None:
        token = Token(channel, tag, message)
        self._buffer.append(Received(message.headers, message.content_type, message.body, message.attempt, token))
        if not self._broker.server.is_read_in_groups:
            self._wake()
        elif self._reading is None:
            self._reading = asyncio.get_running_loop().call_later(_READ_EVERY_S, self._read)

    def _read(self) -> None:
        """A read of the socket finds several messages."""
        self._reading = None
        for _ in range(len(self._buffer)):
            self._wake()

    async def _arrival(self) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._waiting.append(woken)
        try:
            await woken
        except asyncio.CancelledError:
            if not woken.cancelled():  # the delivery goes to the next in line
                self._wake()
            elif woken in self._waiting:
                self._waiting.remove(woken)
            raise

    def _wake(self) -> None:
        while self._waiting:
            woken = self._waiting.popleft()
            if not woken.done():
                woken.set_result(None)
                return

    async def _pass_on(self, token: Token, put: Callable[[], None]) -> bool:
        """Publish with a confirm, then acknowledge. A publish without a confirm is repeated: there may be two then."""
        for failures in count(1):
            if token.channel.lost.is_set():
                break
            try:
                await self._broker.path.ask(put)
            except Unreachable:
                await _wait(token.channel.lost, _PASS_ON.delay_s(failures))
            else:
                self._broker.acknowledge(token)
                return True
        return False


class ModelBroker:
    """Implements the workers' side of `schemas.broker.Broker`, and `publish`: one process at the model server.

    `lost` is the share of acknowledgements that are lost with their channel.
    """

    def __init__(self, server: BrokerServer, path: NetworkPath, owner: str, context: Context) -> None:
        self.server = server
        self.path = path
        self.owner = owner
        self.publisher = self
        self.lost = 0.0
        self._context = context
        self._requests = Stream(path, server.host.context, is_slow=True)
        self._queues: list[ModelQueue] = []

    @property
    def ready(self) -> bool:
        return True

    async def publish(self, envelope: Envelope) -> None:
        try:
            await self.path.ask(lambda: self.server.publish(envelope))
        except Unreachable as error:
            raise NotDurable(str(error)) from error

    async def declare_partitions(self, queue: str, patterns: Sequence[str]) -> None:
        keys = _partition_keys(queue, patterns, topics.PARTITION_WORDS)
        await self.path.ask(lambda: self.server.declare(queue, self.owner, keys))

    async def subscribe(
        self,
        queue: str,
        patterns: Sequence[str],
        prefetch: int,
        partition: str | None = None,
        *,
        unsettled_s: float = 0.0,  # noqa: ARG002  the model server waits for as long as it takes
    ) -> ModelQueue:
        name = topics.queue_name(topics.check_queue(queue))
        keys: Mapping[str, frozenset[str]] = {name: frozenset(map(topics.binding, patterns))}
        if partition is not None:
            name = topics.partition_name(queue, partition)
            keys = _partition_keys(queue, patterns, [partition])

        def declare() -> None:
            self.server.declare(queue, self.owner, keys)

        if partition is None:
            await self.path.ask(declare)
        consumer = ModelQueue(self, name, topics.dead_name(queue), prefetch, declare)
        await consumer.open()
        self._queues.append(consumer)
        return consumer

    async def close(self) -> None:
        for queue in self._queues:
            await queue.close()

    def channel(self, prefetch: int, arrived: Callable[[Channel, Message, int], None]) -> Channel:
        return Channel(self.owner, prefetch, Stream(self.path, self._context), arrived)

    def acknowledge(self, token: Token) -> None:
        """The channel may end first: then all that was not acknowledged on it is delivered again."""
        is_lost = self.lost and random.random() < self.lost  # noqa: S311  no secret
        if is_lost:
            token.channel.end()
        else:
            self.send(token.channel.ack, token.tag)

    def send(self, effect: Callable[..., object], *arguments: Any) -> None:
        """A request without an answer, in the order of the others."""
        self._requests.send(effect, *arguments)


def _partition_keys(queue: str, patterns: Sequence[str], partitions: Iterable[str]) -> Mapping[str, frozenset[str]]:
    return {
        topics.partition_name(queue, each): frozenset(topics.binding(pattern, each) for pattern in patterns)
        for each in partitions
    }


def _copy_of(message: Message) -> Message:
    return replace(message, headers=as_next_copy(message.headers))


def _death_notes(parked: Parked) -> Mapping[str, str]:
    notes = {"reason": parked.reason, "detail": parked.detail, "attempts": str(parked.attempts)}
    return {**notes, EVENTS: ",".join(parked.events)} if parked.events else notes


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
