"""`python -m benchmarks.worker_without_sockets`: a worker of the benchmarks in one process, fed with frames in memory.

It is wired as in `hookline worker`, with its SQLite store and that one's threads. RabbitMQ's side delivers a group of
messages in one turn of the event loop, and the next group once the outcomes of all of them are reported. An ordered
worker has some more messages at a time, since many of them wait for others of their subject.
"""

import asyncio
import logging
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import msgspec

from benchmarks.comparing import check_handled
from benchmarks.counted import counted_command
from benchmarks.notes import NOTES
from hookline.broker.rabbitmq import ack_batcher
from hookline.broker.rabbitmq.connection import Use
from hookline.broker.rabbitmq.consumer import RabbitMQQueue, Subscription
from hookline.broker.rabbitmq.wire.encode import envelope_frames, template_of
from hookline.broker.rabbitmq.wire.frame_transport import END, HEAD_BYTES, METHOD, FrameTransport
from hookline.runtime.event_loop import collect_rarely, run_to_end
from hookline.runtime.observing import Observing
from hookline.runtime.outcome_log import OutcomeLog
from hookline.runtime.pools import Pools
from hookline.runtime.roles import Roles
from hookline.schemas import topics
from hookline.schemas.envelope import Envelope
from hookline.settings import Settings, load
from hookline.sqlite.database import Database
from hookline.workers import settler
from hookline.workers.api import Worker
from hookline.workers.normaliser import normaliser
from hookline.workers.ordered_pool import OrderedPool
from hookline.workers.pool import Pool
from hookline.workers.stores.sqlite.store import SqliteStore
from hookline.workers.work import Work

PROGRAMS = {
    "worker": ("benchmarks.handlers.unordered", False),
    "worker with a Delivery": ("benchmarks.handlers.with_delivery", False),
    "worker with metrics": ("benchmarks.handlers.unordered", True),
    "ordered worker": ("benchmarks.handlers.ordered", False),
}
"""The module of each worker, and whether it has metrics."""

_WAITING = 1024  # of an ordered worker
_LOG_EVENTS_PER_S = 1  # so that nearly all are summed up, as at full speed
_COLLECTING_S = 1.0  # instead of 20 ms, since valgrind takes fifty times as long for what comes meanwhile
_TIMEOUT_S = 60.0
_CONTENT_BYTES = 131_064
_MESSAGE_ID, _CONSUMER_TAG = b"0" * 32, "ctag1.0123456789"
_DELIVER = b"\0\x3c\0\x3c"
_frame_head = struct.Struct(">BHI")


class _Server(asyncio.Transport):
    """RabbitMQ's side of the connection. It does nothing with what is written: acknowledgements."""

    def is_closing(self) -> bool:
        return False

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None: ...


class _Connection:
    """What consumers need of aiormq's connection."""

    server_properties = None

    def __init__(self) -> None:
        self.consumed: dict[str, int] = {}
        """The channels on which queues are consumed, by the names of the queues."""
        self.changed = asyncio.Event()
        self._channels = 0

    async def channel(self, **_: Any) -> "_Channel":
        self._channels += 1
        return _Channel(self, self._channels)


class _Channel:
    """What consumers need of aiormq's channel."""

    def __init__(self, connection: _Connection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.closing = asyncio.get_running_loop().create_future()
        self.on_consumer_cancel_callbacks: set[Any] = set()

    async def basic_consume(self, queue: str, *_: Any, **__: Any) -> Any:
        self.connection.consumed[queue] = self.number
        self.connection.changed.set()
        return SimpleNamespace(consumer_tag=_CONSUMER_TAG)

    async def basic_qos(self, **_: Any) -> None: ...
    async def basic_cancel(self, _: str) -> None: ...
    async def basic_nack(self, *_: Any, **__: Any) -> None: ...
    async def close(self) -> None: ...


class _RabbitMQ:
    """RabbitMQ for one worker, in place of a `RabbitMQBroker` and of its connection."""

    def __init__(self) -> None:
        self._connection: Any = _Connection()
        self._frames = FrameTransport(asyncio.Protocol(), asyncio.get_running_loop().time)
        self._frames.connection_made(_Server())
        self._tags: Counter[int] = Counter()

    async def declare_partitions(self, queue: str, patterns: Sequence[str]) -> None: ...

    async def subscribe(
        self, queue: str, patterns: Sequence[str], prefetch: int, partition: str | None = None, *, unsettled_s: float
    ) -> RabbitMQQueue:
        subscription = Subscription(queue, tuple(patterns), prefetch, _TIMEOUT_S, partition, unsettled_s)
        parts: Any = (self, None, subscription, None)
        consumer = RabbitMQQueue(*parts)
        await consumer.open()
        return consumer

    async def keep(self, use: Use) -> None:
        await use(self._connection)

    def transport_of(self, _: object) -> FrameTransport:
        return self._frames

    async def messages(self, worker: Worker[Any], envelopes: Iterable[Envelope]) -> list[bytes]:
        """The frames of envelopes as they are delivered, once the worker consumes all of its queues."""
        queues = 1 if worker.order is None else len(topics.PARTITION_WORDS)
        while len(self._connection.consumed) < queues:
            self._connection.changed.clear()
            await self._connection.changed.wait()
        return [self._message(worker, envelope) for envelope in envelopes]

    def _message(self, worker: Worker[Any], envelope: Envelope) -> bytes:
        name = topics.queue_name(worker.queue)
        if worker.order is not None:
            name = topics.partition_name(worker.queue, topics.partition(envelope.subject))
        channel = self._connection.consumed[name]
        self._tags[channel] += 1
        template = template_of(channel, topics.EXCHANGE, envelope)
        published = b"".join(envelope_frames(template, envelope, _MESSAGE_ID, _CONTENT_BYTES))
        *_, method_bytes = _frame_head.unpack_from(published)
        content = published[HEAD_BYTES + method_bytes + 1 :]  # without Basic.Publish
        return _deliver(channel, self._tags[channel], envelope.routing_key) + content

    def deliver(self, messages: Iterable[bytes]) -> None:
        self._frames.data_received(b"".join(messages))


def _deliver(channel: int, tag: int, routing_key: str) -> bytes:
    """The frame of a Basic.Deliver, of a message that is delivered for the first time."""
    payload = (
        _DELIVER + _short(_CONSUMER_TAG) + struct.pack(">QB", tag, 0) + _short(topics.EXCHANGE) + _short(routing_key)
    )
    return _frame_head.pack(METHOD, channel, len(payload)) + payload + bytes((END,))


def _short(text: str) -> bytes:
    return bytes((len(text),)) + text.encode()


class _Outcomes(OutcomeLog):
    """Counts what is not reported yet. Its clock stands still, so that no second begins anew."""

    def __init__(self) -> None:
        super().__init__(_LOG_EVENTS_PER_S, clock=lambda: 0.0)
        self.missing = 0
        self._reported = asyncio.Event()

    def report(self, queue: str, settled: Sequence[tuple[Work, float]]) -> None:
        super().report(queue, settled)
        self.missing -= len(settled)
        self._reported.set()

    async def wait(self, most: int) -> None:
        """Return once at most so many are missing. Raises TimeoutError."""
        async with asyncio.timeout(_TIMEOUT_S):
            while self.missing > most:
                self._reported.clear()
                await self._reported.wait()


async def handle_all(program: str, folder: Path, envelopes: Sequence[Envelope], count: int, at_a_time: int) -> None:
    """Have a worker handle the first `count` of these envelopes, so many in one turn.

    Raises TimeoutError, or InvalidRun if an event is lost or handled twice.
    """
    module, has_metrics = PROGRAMS[program]
    (worker,) = (each for each in vars(import_module(module)).values() if isinstance(each, Worker))
    settings = load(folder / "hookline.toml", with_sources=True)
    rabbitmq, outcomes, noted = _RabbitMQ(), _Outcomes(), len(NOTES.ids)
    with TemporaryDirectory() as store_folder:
        database = await Database.open(Path(store_folder) / "store.db")
        pool = await _pool(worker, rabbitmq, database, outcomes, settings, has_metrics=has_metrics)
        messages = await rabbitmq.messages(worker, envelopes)
        for first in range(0, count, at_a_time):
            await outcomes.wait(0 if at_a_time == 1 or worker.order is None else _WAITING)
            group = messages[first : min(first + at_a_time, count)]
            outcomes.missing += len(group)
            rabbitmq.deliver(group)
        await outcomes.wait(0)
        await pool.drain(_TIMEOUT_S)
        await pool.close()
        await database.close()
    check_handled(program, NOTES.ids[noted:], [envelope.id for envelope in envelopes[:count]])


async def _pool(
    worker: Worker[Any],
    rabbitmq: _RabbitMQ,
    database: Database,
    outcomes: OutcomeLog,
    settings: Settings,
    *,
    has_metrics: bool,
) -> Pool | OrderedPool:
    admin = settings.admin if has_metrics else msgspec.structs.replace(settings.admin, port=0)
    observing = Observing(msgspec.structs.replace(settings, admin=admin), Roles())
    normalise = normaliser(settings.providers, keep_urls=settings.workers.keep_urls)
    parts: Any = (rabbitmq, SqliteStore(database), normalise, outcomes, observing, settings.workers)
    return await Pools(*parts).pool(worker)


@counted_command(PROGRAMS, __doc__)
def main(program: str, folder: Path, count: int, at_a_time: int) -> None:
    logging.disable()
    collect_rarely()
    ack_batcher.MAX_WAIT_S = settler.SYNC_EVERY_S = _COLLECTING_S
    envelopes = msgspec.msgpack.decode((folder / "envelopes").read_bytes(), type=list[Envelope])
    run_to_end(handle_all(program, folder, envelopes, count, at_a_time))


if __name__ == "__main__":
    main()
