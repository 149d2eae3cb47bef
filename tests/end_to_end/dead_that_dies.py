"""`hookline`, killed with SIGKILL after a number of replays, before RabbitMQ gets the last acknowledgements."""

import os
import signal
import sys
from typing import Any

from hookline.broker.embedded import dead_letters as embedded
from hookline.broker.rabbitmq import dead_letters as rabbitmq
from hookline.cli.main import main

EMBEDDED_PAGE = 200
RABBITMQ_PAGE = 16


def die_at(module: Any, name: str, times: int) -> None:
    function, left = getattr(module, name), times

    def counting(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)

    setattr(module, name, counting)


if __name__ == "__main__":
    replays = int(sys.argv.pop(1))
    die_at(embedded, "_carry_out", replays // EMBEDDED_PAGE)
    die_at(rabbitmq, "_acknowledge", replays // RABBITMQ_PAGE)
    main()
