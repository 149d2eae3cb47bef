"""RabbitMQ's consumer timeout: how long a delivery may stay unacknowledged before the server takes it back.

AMQP does not give the setting. Its default is `MAX_UNSETTLED_S` on every supported version. Before 4.3 only the
server's operator can change it. From 4.3 on a consumer of a quorum queue names its own, longer or shorter (seen on
4.3.6: the consumer was cancelled after that time and not before).
"""

import re
from typing import Any

from aiormq.abc import AbstractConnection

from hookline.schemas.broker import MAX_UNSETTLED_S

_CONSUMERS_DECIDE_FROM = (4, 3)
_MARGIN = 3  # a delivery may wait for one that takes as long as itself, and its acknowledgement waits for others


def server_version(connection: AbstractConnection) -> tuple[int, ...]:
    """The version that the server gives, for example (4, 3, 6); empty if it gives none."""
    numbers = re.match(r"\d+(\.\d+)*", str((connection.server_properties or {}).get("version", "")))
    return tuple(map(int, numbers[0].split("."))) if numbers else ()


def consumer_arguments(version: tuple[int, ...], handler_timeout_s: float) -> dict[str, Any] | None:
    """What a consumer asks for, so that a handler may take its time; None where the default will do, or must do."""
    needed_s = _MARGIN * handler_timeout_s
    if version < _CONSUMERS_DECIDE_FROM or needed_s <= MAX_UNSETTLED_S:
        return None
    return {"x-consumer-timeout": round(needed_s * 1000)}


def exceeds_default(version: tuple[int, ...], handler_timeout_s: float) -> bool:
    """Whether the server takes an event back while its handler still may run, unless its operator has changed that."""
    return version < _CONSUMERS_DECIDE_FROM and handler_timeout_s > MAX_UNSETTLED_S
