"""The exchanges that all events pass, the queue of unrouted events, and the history."""

import math
from typing import Any

from aiormq.abc import AbstractConnection

from hookline.broker.rabbitmq.topology.arguments import KEPT
from hookline.broker.rabbitmq.topology.declaring import (
    Declaration,
    DurableExchange,
    DurableQueue,
    ExchangeBinding,
    QueueBinding,
    declare_all,
)
from hookline.schemas import topics
from hookline.schemas.broker import Retention

SHARED_EXCHANGES = (topics.EXCHANGE, topics.UNROUTED, topics.RECEIVED)
SHARED = (*SHARED_EXCHANGES, topics.HISTORY)
"""The names that `declare_exchanges` declares; `topics.UNROUTED` names both an exchange and a queue."""

_SEGMENTS = 20  # RabbitMQ drops whole segments, so the size of the history varies by one of them
_MAX_SEGMENT_BYTES = 500 * 10**6
_ANOTHER_RETENTION = (
    "let history.max_age_s and history.max_bytes be what they were, or delete the stream, and what it keeps with it"
)

EVENT_EXCHANGE = DurableExchange(topics.EXCHANGE, "topic", {"alternate-exchange": topics.UNROUTED})
_EVENTS: tuple[Declaration, ...] = (
    DurableExchange(topics.UNROUTED, "fanout"),
    DurableQueue(topics.UNROUTED, KEPT),
    QueueBinding(topics.UNROUTED, topics.UNROUTED),
    EVENT_EXCHANGE,
)


async def declare_exchanges(
    connection: AbstractConnection, retention: Retention, timeout_s: float, forbidden: set[Declaration] | None = None
) -> None:
    """Declare the exchange of all events, the queue of unrouted events, and the history if it is enabled.

    Raises SettingsError if one exists in another form, or is missing and may not be declared.
    """
    await declare_all(connection, _EVENTS, timeout_s, topics.EXCHANGE, forbidden=forbidden)
    if retention.enabled:
        history = _history(retention)
        await declare_all(connection, history, timeout_s, topics.HISTORY, _ANOTHER_RETENTION, forbidden)


def declarations_of_exchanges(retention: Retention) -> tuple[Declaration, ...]:
    """What `declare_exchanges` declares."""
    return (*_EVENTS, *(_history(retention) if retention.enabled else ()))


def _history(retention: Retention) -> tuple[Declaration, ...]:
    """The stream of everything received, and the exchange that feeds both the stream and the event exchange.

    A stream does not sync what it takes, so an event must never be routed to the stream alone. If the stream were bound
    to the event exchange, an event that no worker wants would count as routed. The stream is bound to an exchange in
    front of it instead: the event exchange still routes to its own queues, or to the unrouted queue, and the confirm
    waits for all of them.
    """
    arguments: dict[str, Any] = {
        "x-queue-type": "stream",
        "x-max-age": f"{math.ceil(retention.max_age_s)}s",
        "x-max-length-bytes": retention.max_bytes,
        "x-stream-max-segment-size-bytes": min(retention.max_bytes // _SEGMENTS, _MAX_SEGMENT_BYTES),
    }
    return (
        DurableExchange(topics.RECEIVED, "fanout"),
        ExchangeBinding(topics.EXCHANGE, topics.RECEIVED),
        DurableQueue(topics.HISTORY, arguments),
        QueueBinding(topics.HISTORY, topics.RECEIVED),
    )
