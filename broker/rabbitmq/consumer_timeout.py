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
_TIMED_OUT = "delivery acknowledgement"  # "… on channel 7 timed out. Timeout value used: 1800000 ms. …"
_WHAT_TO_DO = "keep timeout_s, hold_s and reorder_s far below consumer_timeout, or raise that in RabbitMQ"


def server_version(connection: AbstractConnection) -> tuple[int, ...]:
    """The version that the server gives, for example (4, 3, 6); empty if it gives none."""
    numbers = re.match(r"\d+(\.\d+)*", str((connection.server_properties or {}).get("version", "")))
    return tuple(map(int, numbers[0].split("."))) if numbers else ()


def consumer_arguments(version: tuple[int, ...], unsettled_s: float) -> dict[str, Any] | None:
    """What a consumer asks for, if a delivery may be unsettled that long; None where the default fits, or is all."""
    if version < _CONSUMERS_DECIDE_FROM or unsettled_s <= MAX_UNSETTLED_S:
        return None
    return {"x-consumer-timeout": round(unsettled_s * 1000)}


def exceeds_default(version: tuple[int, ...], unsettled_s: float) -> bool:
    """Whether the server may take an event back before it is settled, unless its operator has changed the default."""
    return version < _CONSUMERS_DECIDE_FROM and unsettled_s > MAX_UNSETTLED_S


def with_advice(reason: str) -> str:
    """Why the server closed a channel, and what to do if a delivery on it was unacknowledged for too long."""
    return f"{reason.rstrip('. ')}; {_WHAT_TO_DO}" if _TIMED_OUT in reason else reason
