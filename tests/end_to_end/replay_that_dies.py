"""`hookline replay`, killed with SIGKILL after a number of events, in the middle of a page."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hookline.broker.embedded.history import EmbeddedHistory
from hookline.broker.rabbitmq.history import RabbitMQHistory
from hookline.cli.main import main
from hookline.schemas.envelope import Envelope


def die_after(kind: Any, events: int) -> None:
    feed, left = kind.feed, events

    async def feed_and_die(self: Any, queue: str, envelopes: Sequence[Envelope], headers: Mapping[str, str]) -> None:
        nonlocal left
        await feed(self, queue, envelopes[:left], headers)
        left -= len(envelopes)
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    kind.feed = feed_and_die


if __name__ == "__main__":
    number = int(sys.argv.pop(1))
    die_after(EmbeddedHistory, number)
    die_after(RabbitMQHistory, number)
    main()
