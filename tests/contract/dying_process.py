"""Takes an event and settles it with a retry, but is killed after publishing the retry and before acknowledging."""

import asyncio
import os
import signal
import sys
from typing import Any

from hookline.broker.embedded import tables
from hookline.broker.rabbitmq.ack_batcher import AckBatcher
from hookline.schemas.broker import Again
from tests.contract.installations import opened


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_after_delaying(*arguments: Any) -> None:
    """Replaces the step of the embedded broker's transaction that delays the event."""
    _delay(*arguments)
    die()


_delay = tables._delay  # noqa: SLF001  it dies within the transaction


async def main(address: str, queue: str) -> None:
    async with opened(address) as broker:
        consumer = await broker.subscribe(queue, ("#",), 1)
        received = await consumer.take()
        vars(tables)["_delay"] = die_after_delaying
        AckBatcher.done = die  # type: ignore[method-assign, assignment]  # it dies before acknowledging
        await consumer.settle(received, Again(0.1, 2, "not yet"))
        await consumer.take()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
