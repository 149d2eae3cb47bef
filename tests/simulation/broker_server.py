"""RabbitMQ's quorum queues in memory.

Messages that were delivered and not settled return to the front of their queue in their order when the channel ends, or
to the back when they are requeued. The active consumer of a partition's queue is the one that came first. A message
that was returned too often becomes a dead letter.
"""

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any

from hookline.schemas import topics
from hookline.schemas.envelope import Envelope, to_headers
from hookline.schemas.errors import Unreachable
from tests.simulation.network import FASTEST_S, SLOWEST_S, STEP_S, Host, NetworkPath

SILENT_S = 20.0
"""After this time the server ends the connection of a client of which it hears nothing."""
DELIVERY_LIMIT = 100
_tags = count()


@dataclass(frozen=True, slots=True)
class Message:
    """A message in a queue. `returns` counts how often it was given back."""

    headers: Mapping[str, Any]
    content_type: str
    body: bytes
    attempt: int = 1
    returns: int = 0
    notes: Mapping[str, str] = field(default_factory=dict)


class CopyWatch:
    """What tests learn of the copies that processes pass on. The default looks at nothing."""

    def passed_on(self, owner: str, copy: Message, reason: str) -> None:
        """A copy of a message that was not handled is in its queue."""

    def parked(self, owner: str, copy: Message) -> None:
        """A copy of a message is a dead letter."""


class QueueNotFound(Unreachable):
    """There is no queue of this name."""


class Stream:
    """One direction of a connection: what is sent first arrives first, and nothing arrives while the path is cut."""

    def __init__(self, path: NetworkPath, context: Context, *, is_slow: bool = False) -> None:
        self._path = path
        self._context = context
        self._is_slow = is_slow
        self._last_s = 0.0

    def send(self, arrived: Callable[..., object], *arguments: Any) -> None:
        loop = self._path.host.loop
        now_s = loop.time()
        if self._path.cut_until_s <= now_s and self._last_s <= now_s and not self._is_slow:
            loop.call_soon(arrived, *arguments, context=self._context)
            return
        arrives_s = now_s + random.uniform(FASTEST_S, SLOWEST_S) if self._is_slow else now_s  # noqa: S311  no secret
        self._last_s = max(self._last_s + STEP_S, arrives_s, self._path.cut_until_s + STEP_S)
        loop.call_at(self._last_s, arrived, *arguments, context=self._context)


@dataclass(eq=False, slots=True)
class Channel:
    """A consumer. `is_open` is what the server knows, `lost` what the client does."""

    owner: str
    prefetch: int
    deliveries: Stream
    arrived: Callable[["Channel", Message, int], None]
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    queue: "ServerQueue | None" = None
    unsettled: dict[int, Message] = field(default_factory=dict)
    is_open: bool = True

    def ack(self, tag: int) -> None:
        if self.is_open and self.queue is not None and self.unsettled.pop(tag, None) is not None:
            self.queue.pump()

    def end(self) -> None:
        """Return what is unsettled, before the next consumer becomes active. The client learns of it."""
        if not self.is_open:
            return
        self.is_open = False
        self.deliveries.send(self.lost.set)
        if self.queue is not None:
            self.queue.channels.remove(self)
            self.queue.give_back(list(self.unsettled.values()))
            self.unsettled.clear()
            self.queue.pump()


@dataclass(eq=False, slots=True)
class ServerQueue:
    name: str
    dead_name: str
    is_partition: bool
    server: "BrokerServer"
    ready: deque[Message] = field(default_factory=deque)
    channels: list[Channel] = field(default_factory=list)

    @property
    def delayed(self) -> int:
        """How many messages wait for a retry."""
        return len(self.server.delayed[self.name])

    @property
    def depth(self) -> int:
        """How many messages it has in all, those that wait for a retry included."""
        return len(self.ready) + self.delayed + sum(len(each.unsettled) for each in self.channels)

    def put(self, message: Message) -> None:
        self.ready.append(message)
        self.pump()

    def pump(self) -> None:
        """Deliver to the consumers in turn, or to the only active one."""
        while self.ready and (channel := self._next()) is not None:
            message, tag = self.ready.popleft(), next(_tags)
            channel.unsettled[tag] = message
            channel.deliveries.send(channel.arrived, channel, message, tag)

    def _next(self) -> Channel | None:
        eligible = self.channels[:1] if self.is_partition else self.channels
        free = [each for each in eligible if len(each.unsettled) < each.prefetch]
        if not free:
            return None
        if len(self.channels) > 1 and not self.is_partition:
            self.channels.remove(free[0])  # it is the last in turn now
            self.channels.append(free[0])
        return free[0]

    def give_back(self, messages: Sequence[Message]) -> None:
        """Put messages back, in their order: in front, or behind the others."""
        returned = [replace(message, returns=message.returns + 1) for message in messages]
        for message in returned:
            if message.returns > DELIVERY_LIMIT:
                self.server.park(self.dead_name, replace(message, notes={"reason": "delivery_limit"}))
        kept = [message for message in returned if message.returns <= DELIVERY_LIMIT]
        if self.server.requeues_behind and not self.is_partition:
            self.ready.extend(kept)
        else:
            self.ready.extendleft(reversed(kept))


class BrokerServer:
    """One server. `host` says when it is away. `requeues_behind`: as RabbitMQ does without a delivery limit."""

    def __init__(self, host: Host, *, requeues_behind: bool = False, watch: CopyWatch | None = None) -> None:
        self.host = host
        self.watch = watch or CopyWatch()
        self.requeues_behind = requeues_behind
        self.is_read_in_groups = False  # a read of a client's socket finds several deliveries
        self.queues: dict[str, ServerQueue] = {}
        self.dead: dict[str, list[Message]] = {}
        self.unrouted: list[Message] = []
        self.gone: set[str] = set()
        self.delayed: defaultdict[str, list[Message]] = defaultdict(list)
        self._wishes: dict[str, dict[str, frozenset[str]]] = {}

    def declare(self, queue: str, owner: str, keys: Mapping[str, frozenset[str]]) -> None:
        """Declare a worker's queues, bound by their keys. A key lasts while one process wishes it."""
        self.dead.setdefault(topics.dead_name(queue), [])
        for name, wished in keys.items():
            is_partition = name != topics.queue_name(queue)
            self.queues.setdefault(name, ServerQueue(name, topics.dead_name(queue), is_partition, self))
            self._wishes.setdefault(name, {})[owner] = wished

    def publish(self, envelope: Envelope) -> list[str]:
        """The names of the queues that have it now."""
        message = Message(to_headers(envelope), envelope.content_type, envelope.body)
        names = [
            name
            for name, wishes in self._wishes.items()
            if any(topics.matches(key, envelope.routing_key) for keys in wishes.values() for key in keys)
        ]
        if not names:
            self.unrouted.append(message)
        for name in names:
            self.queues[name].put(message)
        return names

    def delete(self, name: str) -> list[Message]:
        """Delete a queue, with its bindings. Returns what was in it; what waits for a retry is kept."""
        queue = self.queues.pop(name)
        del self._wishes[name]
        lost = [*queue.ready, *(message for each in queue.channels for message in each.unsettled.values())]
        for channel in queue.channels:
            channel.unsettled.clear()
        for channel in [*queue.channels]:
            channel.end()
        return lost

    def consume(self, name: str, channel: Channel) -> None:
        """Raises QueueNotFound."""
        if name not in self.queues:
            raise QueueNotFound(name)
        if channel.is_open and channel.owner not in self.gone:
            channel.queue = self.queues[name]
            channel.queue.channels.append(channel)
            channel.queue.pump()

    def retry(self, name: str, message: Message, delay_s: float) -> None:
        """Put a message into a queue after a delay."""
        self.delayed[name].append(message)
        asyncio.get_running_loop().call_later(delay_s, self._delay_is_over, name, message, context=self.host.context)

    def park(self, dead_name: str, message: Message) -> None:
        self.dead[dead_name].append(message)

    def messages(self) -> Iterator[Message]:
        """All that workers have, or will get, and all dead letters."""
        for queue in self.queues.values():
            yield from queue.ready
            for channel in queue.channels:
                yield from channel.unsettled.values()
        yield from chain(*self.delayed.values(), *self.dead.values())

    def end_connection(self, owner: str) -> None:
        """A process has ended. What it sent before is carried out, except that it consumes."""
        self.gone.add(owner)
        for channel in self.channels(owner):
            channel.end()

    def channels(self, owner: str | None = None) -> list[Channel]:
        """The channels of one process, or of all."""
        return [each for queue in self.queues.values() for each in queue.channels if owner in {None, each.owner}]

    def _delay_is_over(self, name: str, message: Message) -> None:
        """A message whose queue does not exist waits for it: RabbitMQ does not deliver it to nowhere at least once."""
        if name in self.queues:
            self.delayed[name].remove(message)
            self.queues[name].put(message)
        else:
            asyncio.get_running_loop().call_later(1.0, self._delay_is_over, name, message, context=self.host.context)
