"""Declares and fills Hookline's queues on either broker, through the product's own parts."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, TypeVar

import uvloop

from hookline.broker.spool.opening import SpoolSettings, spooling_publisher
from hookline.runtime.installation import Installation
from hookline.schemas.broker import Broker, Confirm
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable
from hookline.settings import Settings

T = TypeVar("T")

QUEUE = "bench"
ORDERED_QUEUE = "bench-ordered"
_AT_A_TIME = 500


def make_queue(settings: Settings) -> None:
    """Declare the queue of the unordered worker, bound to every event."""
    run_async(_make_queue(settings))


async def _make_queue(settings: Settings) -> None:
    async with _broker(settings) as broker:
        queue = await broker.subscribe(QUEUE, ["#"], prefetch=1)
        await queue.close()


def make_partitions(settings: Settings) -> None:
    """Declare the queues of the ordered worker, bound to every event."""
    run_async(_make_partitions(settings))


async def _make_partitions(settings: Settings) -> None:
    async with _broker(settings) as broker:
        await broker.declare_partitions(ORDERED_QUEUE, ["#"])


def fill(settings: Settings, envelopes: Iterable[Envelope]) -> None:
    """Publish envelopes; return once all are durable."""
    run_async(_fill(settings, envelopes))


async def _fill(settings: Settings, envelopes: Iterable[Envelope]) -> None:
    remaining = iter(envelopes)
    async with _broker(settings) as broker:
        while batch := list(islice(remaining, _AT_A_TIME)):
            await asyncio.gather(*(broker.publisher.publish(envelope) for envelope in batch))


def spool(settings: Settings, envelopes: Iterable[Envelope]) -> None:
    """Put envelopes into the spool of an installation, as while RabbitMQ is away; return once all are on disk."""
    run_async(_spool(settings, envelopes))


async def _spool(settings: Settings, envelopes: Iterable[Envelope]) -> None:
    folder, spool = settings.path.parent / settings.spool.path, settings.spool
    limits = SpoolSettings(folder, spool.after_s, spool.max_bytes, spool.max_age_s, max_draining=1)
    publisher = spooling_publisher(_Away(), limits)
    await publisher.open()
    remaining = iter(envelopes)
    while batch := list(islice(remaining, _AT_A_TIME)):
        await asyncio.gather(*map(publisher.publish, batch))
    await publisher.close()


class _Away:
    """Implements Primary: no broker."""

    reason = "broker_away"

    def begin(self, envelope: Envelope) -> Confirm:  # noqa: ARG002  of the protocol
        raise NotDurable("away")


@asynccontextmanager
async def _broker(settings: Settings) -> AsyncIterator[Broker]:
    async with Installation(settings) as installation:
        yield await installation.broker()


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop, as all programs of the benchmarks do."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
