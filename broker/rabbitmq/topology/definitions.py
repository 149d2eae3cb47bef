"""What should exist on RabbitMQ in the form of its own definitions, for an operator who imports them."""

from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from hookline.broker.rabbitmq.names import REGISTER
from hookline.broker.rabbitmq.topology.arguments import KEPT
from hookline.broker.rabbitmq.topology.declaring import (
    Declaration,
    DurableExchange,
    DurableQueue,
    ExchangeBinding,
    QueueBinding,
)
from hookline.broker.rabbitmq.topology.exchanges import EVENT_EXCHANGE
from hookline.broker.rabbitmq.topology.wanted import Wanting, wanted
from hookline.schemas.broker import Retention

Definitions = Mapping[str, list[dict[str, Any]]]


def definitions(workers: Iterable[Wanting], retention: Retention, vhost: str) -> Definitions:
    """Exchanges, queues and bindings in this vhost, without users and permissions."""
    found: dict[str, list[dict[str, Any]]] = {"exchanges": [], "queues": [], "bindings": []}
    for each in (DurableQueue(REGISTER, KEPT), *wanted(workers, retention)):
        kind, definition = _definition(each)
        found[kind].append({"vhost": vhost, **definition})
    return found


def event_exchange(vhost: str) -> Definitions:
    """The exchange of all events, for a topic permission: RabbitMQ 4.3 takes none for an exchange that is not there."""
    kind, definition = _definition(EVENT_EXCHANGE)
    return {kind: [{"vhost": vhost, **definition}]}


def _definition(each: Declaration) -> tuple[str, dict[str, Any]]:
    match each:
        case DurableExchange(name, kind, arguments):
            shape = {"durable": True, "auto_delete": False, "internal": False, "arguments": dict(arguments)}
            return "exchanges", {"name": name, "type": kind, **shape}
        case DurableQueue(name, arguments):
            return "queues", {"name": name, "durable": True, "auto_delete": False, "arguments": dict(arguments)}
        case QueueBinding(name, exchange, key):
            return "bindings", _binding(exchange, name, "queue", key)
        case ExchangeBinding(name, source):
            return "bindings", _binding(source, name, "exchange", "")
        case _:
            assert_never(each)


def _binding(source: str, destination: str, kind: str, key: str) -> dict[str, Any]:
    return {
        "source": source,
        "destination": destination,
        "destination_type": kind,
        "routing_key": key,
        "arguments": {},
    }
