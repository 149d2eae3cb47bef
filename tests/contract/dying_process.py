"""Takes one event, settles it with a retry, and dies with -9 in between: published again, and not acknowledged yet."""

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
    """The step of the embedded broker's transaction that puts the event among the delayed."""
    _delay(*arguments)
    die()


_delay = tables._delay  # noqa: SLF001  the very point


async def main(address: str, queue: str) -> None:
    async with opened(address) as broker:
        consumer = await broker.subscribe(queue, ("#",), 1)
        received = await consumer.take()
        vars(tables)["_delay"] = die_after_delaying
        AckBatcher.done = die  # type: ignore[method-assign, assignment]  # likewise
        await consumer.settle(received, Again(0.1, 2, "not yet"))
        await consumer.take()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
