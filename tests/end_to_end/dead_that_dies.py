"""`hookline`, killed with -9 when it has replayed so many letters: on RabbitMQ published and not acknowledged yet."""

import os
import signal
import sys
from typing import Any

from hookline.broker.embedded import dead_letters as embedded_letters
from hookline.broker.rabbitmq import dead_letters as rabbitmq_letters
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
    letters = int(sys.argv.pop(1))
    die_at(embedded_letters, "_carry_out", letters // EMBEDDED_PAGE)
    die_at(rabbitmq_letters, "_acknowledge", letters // RABBITMQ_PAGE)
    main()
