"""Arguments that queues are declared with. RabbitMQ refuses to change them later."""

from typing import Any

_UNLIMITED = 2**31 - 1

QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}

KEPT: dict[str, Any] = {**QUORUM, "x-delivery-limit": _UNLIMITED}
"""Of a queue that keeps messages until a person takes them. Each look at one counts as a delivery, and RabbitMQ 4.0
drops a message after twenty by default."""

_LOSSLESS: dict[str, Any] = {**QUORUM, "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}


def dead_lettering_to(queue: str) -> dict[str, Any]:
    """Of a queue whose dead letters go to another queue, none lost on the way."""
    return {**_LOSSLESS, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
