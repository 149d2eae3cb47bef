"""`hookline`, killed with SIGKILL right after it has settled a number of pages of a scan of pending retries."""

import inspect
import os
import signal
import sys
from typing import Any

from hookline.broker.embedded import retries as embedded
from hookline.broker.rabbitmq import retries as rabbitmq
from hookline.cli.main import main


def die_after(module: Any, pages: int) -> None:
    """Die before the transaction of the last page is committed, and before RabbitMQ has answered for it."""
    carry_out, left = module._carry_out, pages  # noqa: SLF001  nothing else is at that moment

    def count_down() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def carry_out_and_die(*arguments: Any, **named: Any) -> Any:
        result = carry_out(*arguments, **named)
        count_down()
        return result

    async def carry_out_and_die_later(*arguments: Any, **named: Any) -> Any:
        result = await carry_out(*arguments, **named)
        count_down()
        return result

    module._carry_out = carry_out_and_die_later if inspect.iscoroutinefunction(carry_out) else carry_out_and_die  # noqa: SLF001  see above


if __name__ == "__main__":
    pages = int(sys.argv.pop(1))
    die_after(embedded, pages)
    die_after(rabbitmq, pages)
    main()
